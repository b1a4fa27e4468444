"""Rollouts of on-device environments: one scan, a group per task."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.envs import types

ApplyFn = Callable[[Any, types.Observation], chex.Array]
# Chooses actions [K] from keys [K] and logits [K, A].
Chooser = Callable[[chex.PRNGKey, chex.Array], chex.Array]

# Folded into a rollout's key for its world's chance; its actions take the folds
# by the step, which are far below.
_WORLD_STREAM = 0x776F726C


@chex.dataclass(frozen=True)
class Rollouts:
  """M rollouts of each of B tasks, padded to T steps."""

  observation: types.Observation  # leaves [B, M, T, ...], what was acted on
  state_keys: chex.Array  # uint32 [B, M, T + 1, 2], fingerprint of each state
  action: chex.Array  # int32 [B, M, T]
  log_prob: chex.Array  # float32 [B, M, T], at sampling, in nats
  reward: chex.Array  # float32 [B, M, T]
  action_valid: chex.Array  # bool [B, M, T]
  mask: chex.Array  # bool [B, M, T], True where there is a step
  success: chex.Array  # bool [B, M]
  episode_return: chex.Array  # float32 [B, M]
  # float32 [B, M, T], cost of each step in the environment's unit, 0 in
  # padding; None: every step costs 1.
  cost: chex.Array | None = None
  # uint32 [B, 2], fingerprint of each task; None: not known.
  task_key: chex.Array | None = None
  # Leaves [B, ...], the tasks, and uint32 [B, ...], the data of the keys that
  # they were played with, from which `replay` has every state; None: not known.
  task: Any = None
  play_key: chex.Array | None = None


def sample_action(keys: chex.PRNGKey, logits: chex.Array) -> chex.Array:
  """Draws int32 [K] from the policy's distribution, keys [K], logits [K, A]."""
  return jax.vmap(jax.random.categorical)(keys, logits)


def greedy_action(keys: chex.PRNGKey, logits: chex.Array) -> chex.Array:
  """Takes the most probable action, int32 [K], of logits [K, A]."""
  del keys
  return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def _apply_in_chunks(apply_fn, params, observation, alive, chunk_size):
  """Logits [K, A] of the rollouts that are alive, the others' being 0."""
  number = alive.shape[0]
  order = jnp.argsort(~alive, stable=True).astype(jnp.int32)
  # Past the end dynamic_slice would step back; index K is dropped below.
  order = jnp.pad(order, (0, chunk_size), constant_values=number)
  count = jnp.sum(alive, dtype=jnp.int32)

  def rows_at(first):
    rows = jax.lax.dynamic_slice(order, (first,), (chunk_size,))
    return rows, jax.tree.map(lambda leaf: leaf[rows], observation)

  shape = jax.eval_shape(lambda: apply_fn(params, rows_at(0)[1]))

  def add_chunk(carry):
    first, logits = carry
    rows, part = rows_at(first)
    logits = logits.at[rows].set(apply_fn(params, part), mode="drop")
    return first + chunk_size, logits

  empty = jnp.zeros((number, shape.shape[-1]), shape.dtype)
  return jax.lax.while_loop(
    lambda carry: carry[0] < count, add_chunk, (jnp.int32(0), empty)
  )[1]


def start_rollouts(
  environment: types.Environment,
  tasks: Any,
  keys: chex.PRNGKey,
  *,
  rollouts_per_task: int,
) -> tuple[Any, types.Observation, chex.PRNGKey]:
  """Where M rollouts of each of B tasks start.

  Args:
    environment: as for `collect_rollouts`.
    tasks: as for `collect_rollouts`.
    keys: as for `collect_rollouts`.
    rollouts_per_task: M.

  Returns:
    States and observations, leaves [B * M, ...], and PRNG keys [B * M] of what
    each rollout draws.
  """
  num_rollouts = jax.tree.leaves(tasks)[0].shape[0] * rollouts_per_task
  reset_keys, play_keys = jnp.unstack(jax.vmap(jax.random.split)(keys), axis=1)
  state, observation = jax.vmap(environment.reset)(reset_keys, tasks)
  action_keys = jax.vmap(
    lambda play_key: jax.random.split(play_key, rollouts_per_task)
  )(play_keys).reshape(num_rollouts)
  state, observation = jax.tree.map(
    lambda leaf: jnp.repeat(leaf, rollouts_per_task, axis=0),
    (state, observation),
  )
  with_chance = getattr(environment, "with_chance", None)
  if with_chance is not None:
    world_keys = jax.vmap(jax.random.fold_in, (0, None))(
      action_keys, _WORLD_STREAM
    )
    state = jax.vmap(with_chance)(state, world_keys)
  return state, observation, action_keys


def collect_rollouts(
  environment: types.Environment,
  apply_fn: ApplyFn,
  params: Any,
  tasks: Any,
  keys: chex.PRNGKey,
  *,
  rollouts_per_task: int,
  choose: Chooser = sample_action,
  chunk_size: int = 0,
) -> Rollouts:
  """Plays every task M times from the same start.

  Where the world's steps have chance in them, that is, where the environment
  has `with_chance(state, key)`, each rollout's start is given a key of its own:
  rollouts of one task start alike and slip apart.

  Rollouts that have ended are carried along and masked; once all have ended
  the remaining iterations of the scan do nothing.

  Args:
    environment: gives reset, step, state_key and the horizon T; where it has
      them, with_chance and task_fingerprint.
    apply_fn: `(params, observation) -> logits`, float32 [..., A].
    params: the policy's parameters.
    tasks: pytree of B tasks, leaves [B, ...].
    keys: PRNG keys [B]. The world's own randomness at reset is shared by a
      group's rollouts; actions, and chance in the steps, are drawn
      independently. What is drawn for a task depends on its key alone, so
      batches may be cut anywhere.
    rollouts_per_task: M.
    choose: chooses the actions; the policy's own distribution by default.
    chunk_size: apply the policy to the rollouts that have not ended, so many at
      a time, so that the cost follows the steps there really are. That suits a
      CPU; 0 applies it to all at once, which suits an accelerator.

  Returns:
    Rollouts.

  Raises:
    ValueError: `chunk_size` is negative.
  """
  if chunk_size < 0:
    raise ValueError(f"chunk_size must be at least 0, got {chunk_size}")
  num_tasks = jax.tree.leaves(tasks)[0].shape[0]
  num_rollouts = num_tasks * rollouts_per_task
  chex.assert_shape(keys, (num_tasks,))
  state, observation, action_keys = start_rollouts(
    environment, tasks, keys, rollouts_per_task=rollouts_per_task
  )
  step = jax.vmap(environment.step)
  state_key = jax.vmap(environment.state_key)

  def act(carry, time):
    state, observation, alive, success = carry
    if chunk_size:
      logits = _apply_in_chunks(
        apply_fn, params, observation, alive, chunk_size
      )
    else:
      logits = apply_fn(params, observation)
    time_keys = jax.vmap(jax.random.fold_in, (0, None))(action_keys, time)
    chosen = choose(time_keys, logits)
    log_probs = jax.nn.log_softmax(logits)
    log_prob = jnp.take_along_axis(log_probs, chosen[:, None], axis=1)[:, 0]
    following, seen, reward, terminated, truncated, info = step(state, chosen)
    record = {
      "observation": observation,
      "action": chosen.astype(jnp.int32),
      "log_prob": jnp.where(alive, log_prob, 0.0),
      "reward": jnp.where(alive, reward, 0.0).astype(jnp.float32),
      "action_valid": info.action_valid | ~alive,
      "mask": alive,
      "cost": jnp.where(alive, info.cost, 0.0).astype(jnp.float32),
      "state_key": state_key(following),
    }
    success = success | (alive & info.success)
    alive = alive & ~terminated & ~truncated
    return (following, seen, alive, success), record

  start = (
    state,
    observation,
    jnp.ones((num_rollouts,), bool),
    jnp.zeros((num_rollouts,), bool),
  )
  shapes = jax.eval_shape(act, start, jnp.int32(0))[1]

  def rest(carry, time):
    del time
    nothing = jax.tree.map(
      lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes
    )
    return carry, nothing

  def act_or_rest(carry, time):
    return jax.lax.cond(jnp.any(carry[2]), act, rest, carry, time)

  (_, _, _, success), records = jax.lax.scan(
    act_or_rest, start, jnp.arange(environment.spec.horizon)
  )

  def by_group(leaf):
    leaf = jnp.swapaxes(leaf, 0, 1)
    return leaf.reshape((num_tasks, rollouts_per_task) + leaf.shape[1:])

  records = jax.tree.map(by_group, records)
  first = state_key(state).reshape(num_tasks, rollouts_per_task, 1, 2)
  fingerprint = getattr(environment, "task_fingerprint", None)
  return Rollouts(
    observation=records["observation"],
    state_keys=jnp.concatenate([first, records["state_key"]], axis=2),
    action=records["action"],
    log_prob=records["log_prob"],
    reward=records["reward"],
    action_valid=records["action_valid"],
    mask=records["mask"],
    success=success.reshape(num_tasks, rollouts_per_task),
    episode_return=jnp.sum(records["reward"], axis=2),
    cost=records["cost"],
    task_key=None if fingerprint is None else jax.vmap(fingerprint)(tasks),
    task=tasks,
    play_key=jax.random.key_data(keys),
  )


def informative_groups(rollouts: Rollouts) -> chex.Array:
  """Bool [B]: the returns of the group's rollouts are not all equal."""
  returns = rollouts.episode_return
  return jnp.max(returns, axis=1) != jnp.min(returns, axis=1)


def collect_informative_rollouts(
  collect: Callable[[chex.PRNGKey], Rollouts],
  key: chex.PRNGKey,
  *,
  max_resamples: int,
) -> tuple[Rollouts, chex.Array]:
  """Dynamic sampling: replaces groups whose returns are all equal.

  Draws fresh batches until every group of the batch is informative or the
  limit is reached; the groups that are still uninformative then lose their
  mask, so that they enter neither credit nor loss.

  Args:
    collect: draws tasks and their Rollouts from a key.
    key: PRNG key.
    max_resamples: further batches at most.

  Returns:
    Rollouts, and int32 [], the number of batches drawn.

  Reference: arXiv 2503.14476 (DAPO), dynamic sampling.
  """

  def lacking(carry):
    _, useful, drawn = carry
    return (drawn <= max_resamples) & ~jnp.all(useful)

  def draw(carry):
    kept, useful, drawn = carry
    fresh = collect(jax.random.fold_in(key, drawn))
    fresh_useful = informative_groups(fresh)
    # The k-th uninformative place takes the k-th informative fresh group.
    num_groups = useful.shape[0]
    supply = jnp.argsort(~fresh_useful, stable=True)
    wanted = jnp.cumsum(~useful) - 1
    from_fresh = supply[jnp.clip(wanted, 0, num_groups - 1)]
    replace = ~useful & (wanted < jnp.sum(fresh_useful))

    def choose(old, new):
      shape = (num_groups,) + (1,) * (old.ndim - 1)
      return jnp.where(replace.reshape(shape), new[from_fresh], old)

    return jax.tree.map(choose, kept, fresh), useful | replace, drawn + 1

  first = collect(jax.random.fold_in(key, 0))
  kept, useful, drawn = jax.lax.while_loop(
    lacking, draw, (first, informative_groups(first), jnp.int32(1))
  )
  mask = kept.mask & useful[:, None, None]
  return kept.replace(mask=mask), drawn  # type: ignore[attr-defined]
