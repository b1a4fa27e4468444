"""The third phase: PPO epochs over minibatches of the steps.

Rollouts end early, so most of a padded [B, M, T] batch may be empty. Valid
steps are shuffled to the front and worked off in chunks of a fixed size, with a
loop count that depends on how many there are: static shapes, one trace, and a
cost that follows the steps there really are.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from graphgpo_jax import losses
from graphgpo_jax.policy import partition, partition_rules
from graphgpo_jax.training import guard
from graphgpo_jax.training import mesh as mesh_lib
from graphgpo_jax.training import state as state_lib

TrainState = state_lib.TrainState
Aggregate = Callable[[chex.Array, chex.Array], chex.Array]


def row_weights(aggregate: Aggregate, mask: chex.Array) -> chex.Array:
  """Weight of each step in an aggregation.

  Every aggregation is linear in the per-step losses, so its gradient at 0 are
  its weights: sum_r w_r l_r = aggregate(l, mask), for any chunks of the sum.

  Args:
    aggregate: `(values [K, T], mask [K, T]) -> scalar`, linear in values.
    mask: bool [K, T].

  Returns:
    float32 [K, T], 0 where masked.
  """
  zeros = jnp.zeros(mask.shape, jnp.float32)
  weights = jax.grad(lambda values: aggregate(values, mask))(zeros)
  return jnp.where(mask, weights, 0.0)


def make_optimise(
  apply_fn: Callable[[Any, Any], chex.Array],
  optimizer: optax.GradientTransformation,
  *,
  num_epochs: int = 1,
  num_minibatches: int = 1,
  chunk_size: int = 256,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  dual_clip: float | None = None,
  kl_coefficient: float = 0.0,
  entropy_coefficient: float = 0.0,
  kl: Callable[..., chex.Array] = losses.kl_k3,
  aggregate: Aggregate = losses.token_mean,
  mesh: jax.sharding.Mesh | None = None,
  rules: partition_rules.Rules = partition_rules.ENVIRONMENT_POLICY,
) -> Callable[..., tuple[TrainState, dict[str, chex.Array]]]:
  """Builds the phase that turns advantages into new parameters.

  Args:
    apply_fn: `(params, observation) -> logits`.
    optimizer: optax transformation.
    num_epochs: passes over the steps.
    num_minibatches: optimiser steps per pass.
    chunk_size: steps whose activations a device holds at once; gradients of
      a minibatch are summed over its chunks.
    clip_low: the ratio is clipped below 1 - clip_low.
    clip_high: the ratio is clipped above 1 + clip_high.
    dual_clip: bound on the loss of negative advantages; None for none.
    kl_coefficient: weight of the KL to `state.reference_params`.
    entropy_coefficient: weight of the entropy bonus.
    kl: KL estimator `(log_prob, reference_log_prob) -> per step`.
    aggregate: per-step losses [B * M, T] and their mask to a scalar.
    mesh: devices that share the work; None for one. Each takes a chunk at a
      time, and the state lies in parts where `mesh.state_shardings` says. They
      differ from one device in the order of float32 sums alone.
    rules: how a mesh cuts the parameters.

  Returns:
    `optimise(state, rollouts, advantage, key) -> (state, metrics)`. Where all
    advantages are 0 the parameters and the optimiser stay as they were, and
    only `state.step` goes on.

  Raises:
    ValueError: a count is not positive, or `dual_clip` not above 1.
  """
  for name, value in (
    ("num_epochs", num_epochs),
    ("num_minibatches", num_minibatches),
    ("chunk_size", chunk_size),
  ):
    if value < 1:
      raise ValueError(f"{name} must be at least 1, got {value}")
  if dual_clip is not None and dual_clip <= 1.0:
    raise ValueError(f"dual_clip={dual_clip} must exceed 1")

  def chunk_loss(params, reference_params, rows, weights):
    logits = apply_fn(params, rows["observation"])
    log_prob = losses.log_prob(logits, rows["action"])
    valid = weights > 0
    # A chunk may reach past the valid steps, where anything may stand.
    old_log_prob, advantage = losses.mask_inputs(
      valid, rows["log_prob"], rows["advantage"]
    )
    surrogate = losses.clipped_surrogate(
      log_prob,
      old_log_prob,
      advantage,
      clip_low=clip_low,
      clip_high=clip_high,
      dual_clip=dual_clip,
    )
    entropy = losses.entropy(logits)
    reference_kl = jnp.zeros_like(surrogate)
    if kl_coefficient:
      reference_logits = apply_fn(reference_params, rows["observation"])
      reference = losses.log_prob(reference_logits, rows["action"])
      reference_kl = kl(log_prob, jax.lax.stop_gradient(reference))
    per_step = (
      surrogate + kl_coefficient * reference_kl - entropy_coefficient * entropy
    )

    def weigh(values):
      return jnp.sum(weights * jnp.where(valid, values, 0.0))

    clipped = losses.is_clipped(
      log_prob,
      old_log_prob,
      advantage,
      clip_low=clip_low,
      clip_high=clip_high,
      dual_clip=dual_clip,
    )
    metrics = {
      "loss/policy": weigh(surrogate),
      "loss/entropy": weigh(entropy),
      "loss/kl": weigh(losses.kl_k3(old_log_prob, log_prob)),
      "loss/reference_kl": weigh(reference_kl),
      "loss/clip_fraction": weigh(clipped.astype(jnp.float32)),
    }
    return weigh(per_step), metrics

  # Steps that all devices together take in one turn of the loop.
  stride = chunk_size * partition.num_row_parts(mesh)

  def part_sums(part, params, reference_params, rows, weights, order, span):
    """Gradient and metrics of a part of the steps order[start:stop]."""
    start, stop = span
    gradient = jax.grad(chunk_loss, has_aux=True)
    nothing = jax.tree.map(
      lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
      jax.eval_shape(
        gradient,
        params,
        reference_params,
        jax.tree.map(lambda leaf: leaf[:chunk_size], rows),
        weights[:chunk_size],
      ),
    )

    def add_chunk(loop):
      first, total = loop
      own = first + chunk_size * part
      index = jax.lax.dynamic_slice(order, (own,), (chunk_size,))
      here = own + jnp.arange(chunk_size) < stop
      chunk = jax.tree.map(lambda leaf: leaf[index], rows)
      chunk_weights = jnp.where(here, weights[index], 0.0)
      sums = gradient(params, reference_params, chunk, chunk_weights)
      return first + stride, jax.tree.map(jnp.add, total, sums)

    # As many turns on every device, whose products may need each other.
    return jax.lax.while_loop(
      lambda loop: loop[0] < stop, add_chunk, (start, nothing)
    )[1]

  sums_of_all = mesh_lib.add_parts(part_sums, mesh, rules=rules)

  def minibatch_step(carry, rows, order, start, stop, aggregation):
    params, opt_state, reference_params = carry
    num_rows = order.shape[0]
    mask, shape = aggregation
    rank = (
      jnp.zeros((num_rows,), jnp.int32)
      .at[order]
      .set(jnp.arange(num_rows, dtype=jnp.int32))
    )
    inside = mask & (rank >= start) & (rank < stop)
    weights = row_weights(aggregate, inside.reshape(shape)).reshape(-1)
    # Past the end dynamic_slice would step back and repeat rows.
    padded_order = jnp.pad(order, (0, stride))
    gradients, metrics = sums_of_all(
      params, reference_params, rows, weights, padded_order, (start, stop)
    )
    gradients = guard.poison_unless_finite(gradients, metrics)
    metrics["loss/gradient_norm"] = optax.tree.norm(gradients)

    def descend(params, opt_state):
      updates, opt_state = optimizer.update(gradients, opt_state, params)
      return optax.apply_updates(params, updates), opt_state

    # Without a step the gradient is 0, but momentum would still move.
    params, opt_state = jax.lax.cond(
      start < stop, descend, lambda *same: same, params, opt_state
    )
    return (params, opt_state, reference_params), metrics

  def optimise(state, rollouts, advantage, key):
    num_tasks, num_rollouts, num_steps = rollouts.mask.shape
    shape = (num_tasks * num_rollouts, num_steps)
    num_rows = rollouts.mask.size
    # Shuffling takes steps from any group to any device. They are put together
    # once, and not in every minibatch.
    rollouts, advantage = mesh_lib.on_every_device((rollouts, advantage), mesh)
    mask = rollouts.mask.reshape(-1)
    rows = {
      "observation": rollouts.observation,
      "action": rollouts.action,
      "log_prob": rollouts.log_prob,
      "advantage": advantage,
    }
    rows = jax.tree.map(
      lambda leaf: leaf.reshape(num_rows, *leaf.shape[3:]), rows
    )
    # Fewer rows than a chunk holds would leave nothing to slice from.
    chex.assert_scalar_positive(num_rows)
    count = jnp.sum(mask, dtype=jnp.int32)

    def epoch(carry, epoch_key):
      draw = jax.random.uniform(epoch_key, (num_rows,))
      order = jnp.argsort(jnp.where(mask, draw, 2.0)).astype(jnp.int32)

      def one(carry, index):
        # Sizes differ by one at most, so none is empty while there are steps.
        start = index * count // num_minibatches
        stop = (index + 1) * count // num_minibatches
        return minibatch_step(carry, rows, order, start, stop, (mask, shape))

      return jax.lax.scan(one, carry, jnp.arange(num_minibatches))

    def learn(carry):
      carry, metrics = jax.lax.scan(
        epoch, carry, jax.random.split(key, num_epochs)
      )
      return carry, jax.tree.map(jnp.mean, metrics)

    start = (state.params, state.opt_state, state.reference_params)
    shapes = jax.eval_shape(learn, start)[1]

    def skip(carry):
      return carry, jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes
      )

    useful = jnp.any(mask & (advantage.reshape(-1) != 0))
    (params, opt_state, reference), metrics = jax.lax.cond(
      useful, learn, skip, start
    )
    metrics["optimiser/skipped"] = 1.0 - useful.astype(jnp.float32)
    following = state.replace(
      params=params,
      opt_state=opt_state,
      reference_params=reference,
      step=state.step + 1,
    )
    return following, metrics

  return optimise
