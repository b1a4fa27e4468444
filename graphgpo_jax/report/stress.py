"""What a log lacks or gets wrong, made on purpose, and what that changes.

Perturbations of one group, pure functions of arrays, and how well advantages
agree with those they ought to be.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from graphgpo_jax.credit import estimators
from graphgpo_jax.credit import graph as graph_lib

Steps = graph_lib.Steps


def draw_share(
  key: chex.PRNGKey, candidates: chex.Array, *, share: chex.Array | float
) -> chex.Array:
  """Draws a share of the candidates, exactly so many, without replacement.

  Args:
    key: PRNG key.
    candidates: bool [K].
    share: in [0, 1]; of n candidates, share * n are drawn, rounded.

  Returns:
    bool [K], True for those drawn.
  """
  rank, count = _ranks(key, candidates)
  return rank < jnp.round(share * count)


def hide_steps(steps: Steps, hidden: chex.Array) -> Steps:
  """Takes steps out of a group, as a log that lost some rows would have it.

  A hidden step is no edge and gets no advantage. Its rollout falls into chained
  pieces, each a rollout of its own in which every step leads to the next one's
  source, so that tables take them. A piece ends where the next step is hidden:
  its last step keeps its target. Only the piece with the end of a success is a
  success; where that end is hidden, no piece is, for what led to SUCCESS is not
  in the log. Each piece keeps the episode return of the whole rollout, which is
  logged beside the steps; the reward of a hidden step is lost.

  Args:
    steps: Steps of one group, [E].
    hidden: bool [E].

  Returns:
    Steps [E], padding where a step was hidden.
  """
  chex.assert_equal_shape([steps.mask, hidden])
  chex.assert_type(hidden, bool)
  seen = steps.mask & ~hidden
  following = jnp.concatenate([seen[1:], jnp.zeros((1,), bool)])
  last = seen & (steps.last | ~following)

  def reach_end(later, step):
    is_seen, is_end = step
    reaches = is_seen & (is_end | later)
    return reaches, reaches

  # From the back: is every step from here to the rollout's end in the log?
  _, whole = jax.lax.scan(
    reach_end, jnp.bool_(False), (seen, steps.last), reverse=True
  )
  return steps.replace(  # type: ignore[attr-defined]
    source=jnp.where(seen, steps.source, graph_lib.NO_NODE),
    target=jnp.where(seen, steps.target, graph_lib.NO_NODE),
    success=seen & steps.success & whole,
    last=last,
    mask=seen,
  )


def visited_states(mask: chex.Array, success: chex.Array) -> chex.Array:
  """Which entries of a group's state keys are states of its graph.

  Args:
    mask: bool [M, T], True where there is a step; a rollout's come first.
    success: bool [M].

  Returns:
    bool [M, T + 1]; a success ends in SUCCESS and not in a state.
  """
  ends = jnp.zeros((mask.shape[0], 1), bool)
  last = mask & ~jnp.concatenate([mask[:, 1:], ends], axis=1)
  reached = mask & ~(last & success[:, None])
  return jnp.concatenate([mask[:, :1], reached], axis=1)


def alias_keys(
  key: chex.PRNGKey,
  state_keys: chex.Array,
  visited: chex.Array,
  *,
  share: chex.Array | float,
) -> chex.Array:
  """Gives a share of a group's states another state's key, on all visits.

  Of n states share * n, rounded and at most n - 1, each take the key of one of
  the states that keep theirs, drawn at random.

  Args:
    key: PRNG key.
    state_keys: uint32 [V, 2], a key per visit.
    visited: bool [V], True where there is a state.
    share: in [0, 1].

  Returns:
    uint32 [V, 2]; with share 0 the keys tell apart the same states.
  """
  rank_key, other_key = jax.random.split(key)
  ids, is_state = _states(state_keys, visited)
  rank, count = _ranks(rank_key, is_state)
  moved = jnp.clip(jnp.round(share * count), 0, count - 1).astype(jnp.int32)
  kept = jax.random.randint(
    other_key, rank.shape, moved, jnp.maximum(count, moved + 1)
  )
  by_rank = jnp.argsort(rank)
  nodes = jnp.arange(rank.shape[0], dtype=jnp.int32)
  becomes = jnp.where(rank < moved, by_rank[kept], nodes)
  return _labels(becomes[ids], jnp.zeros_like(ids))


def split_keys(
  key: chex.PRNGKey,
  state_keys: chex.Array,
  visited: chex.Array,
  *,
  share: chex.Array | float,
  copies: int = 2,
) -> chex.Array:
  """Gives a share of a group's states several keys, one drawn at each visit.

  Args:
    key: PRNG key.
    state_keys: uint32 [V, 2], a key per visit. The state between two steps is
      one visit, so rollouts still chain.
    visited: bool [V], True where there is a state.
    share: in [0, 1]; of n states share * n, rounded, are split.
    copies: keys that a split state has.

  Returns:
    uint32 [V, 2]; with share 0 the keys tell apart the same states.
  """
  rank_key, copy_key = jax.random.split(key)
  ids, is_state = _states(state_keys, visited)
  chosen = draw_share(rank_key, is_state, share=share)
  copy = jax.random.randint(copy_key, ids.shape, 0, copies, jnp.int32)
  return _labels(ids, jnp.where(chosen[ids], copy, 0))


def node_distances(
  steps: Steps,
  source_distance: chex.Array,
  target_distance: chex.Array,
  *,
  max_nodes: int,
) -> chex.Array:
  """Distance of each node from distances that are known of each step's ends.

  Args:
    steps: Steps of one group, [E].
    source_distance: float32 [E], of each step's source, cost units.
    target_distance: float32 [E], of its target; not looked at for SUCCESS.
    max_nodes: N.

  Returns:
    float32 [N]; 0 for SUCCESS, +inf for a node that no step touches.
  """
  distance = jnp.full((max_nodes,), jnp.inf, jnp.float32)
  for nodes, values in (
    (steps.source, source_distance),
    (steps.target, target_distance),
  ):
    known = steps.mask & (nodes >= 0)
    place = jnp.where(known, nodes, max_nodes)
    distance = distance.at[place].set(values, mode="drop")
  return distance.at[graph_lib.SUCCESS].set(0.0)


def uses_distance(estimator: estimators.Estimator) -> bool:
  """Whether an estimator's advantages depend on the distances it is given.

  Args:
    estimator: function `(steps, graph, distance) -> Credit`.

  Returns:
    True if other distances give other advantages on a small group.
  """
  # 1 -> 2 -> SUCCESS; 1 -> 3 -> 1: a failure.
  source = jnp.array([1, 2, 1, 3], jnp.int32)
  won = jnp.array([True, True, False, False])
  steps = Steps(
    source=source,
    target=jnp.array([2, graph_lib.SUCCESS, 3, 1], jnp.int32),
    cost=jnp.ones(4),
    reward=jnp.array([0.0, 10.0, 0.0, 0.0]),
    episode_return=jnp.where(won, 10.0, 0.0),
    success=won,
    last=jnp.array([False, True, False, True]),
    action_valid=jnp.ones(4, bool),
    mask=jnp.ones(4, bool),
    action=jnp.array([0, 0, 1, 0], jnp.int32),
  )

  @jax.jit
  def advantage(distance):
    graph = graph_lib.build_graph(steps, max_nodes=4)
    return estimator(steps, graph, distance).advantage

  near = advantage(jnp.array([0.0, 2.0, 1.0, 3.0]))
  far = advantage(jnp.array([0.0, 2.0, 3.0, 1.0]))
  return bool(jnp.any(near != far))


@dataclasses.dataclass(frozen=True)
class Agreement:
  """How far advantages are what they ought to be; None where undefined."""

  steps: int  # steps compared
  pearson: float | None  # correlation; None if one side is constant
  spearman: float | None  # of ranks, ties sharing their mean
  sign_flips: float | None  # of the steps that are nonzero on both sides, those
  #   of opposite sign
  nonzero_steps: int  # the number of these
  silenced: float | None  # of the steps with a nonzero reference, those at zero


def agreement(
  estimate: np.ndarray, reference: np.ndarray, *, zero: float = 1e-6
) -> Agreement:
  """Compares advantages with their reference, step by step.

  Args:
    estimate: float [n].
    reference: float [n].
    zero: what is no larger counts as zero in `sign_flips` and `silenced`.

  Returns:
    Agreement.

  Raises:
    ValueError: the two are not equally long vectors of finite numbers.
  """
  estimate = np.asarray(estimate, np.float64)
  reference = np.asarray(reference, np.float64)
  if estimate.ndim != 1 or estimate.shape != reference.shape:
    raise ValueError(
      "expected two vectors of one length, got shapes "
      f"{estimate.shape} and {reference.shape}"
    )
  for name, values in (("estimate", estimate), ("reference", reference)):
    if not np.isfinite(values).all():
      raise ValueError(f"{name}: expected finite numbers")
  pearson = spearman = None
  if len(estimate) > 1 and np.ptp(estimate) > 0 and np.ptp(reference) > 0:
    pearson = float(stats.pearsonr(estimate, reference).statistic)
    spearman = float(stats.spearmanr(estimate, reference).statistic)
  has_sign = np.abs(reference) > zero
  nonzero = has_sign & (np.abs(estimate) > zero)
  flips = nonzero & ((estimate > 0) != (reference > 0))
  return Agreement(
    steps=len(estimate),
    pearson=pearson,
    spearman=spearman,
    sign_flips=_share(flips, nonzero),
    nonzero_steps=int(nonzero.sum()),
    silenced=_share(has_sign & ~nonzero, has_sign),
  )


def _share(part: np.ndarray, whole: np.ndarray) -> float | None:
  return float(part.sum() / whole.sum()) if whole.any() else None


def _ranks(
  key: chex.PRNGKey, candidates: chex.Array
) -> tuple[chex.Array, chex.Array]:
  """Places of the candidates in a random order, others behind; and how many."""
  score = jnp.where(candidates, jax.random.uniform(key, candidates.shape), 2.0)
  rank = jnp.argsort(jnp.argsort(score)).astype(jnp.int32)
  return rank, jnp.sum(candidates, dtype=jnp.int32)


def _states(
  state_keys: chex.Array, visited: chex.Array
) -> tuple[chex.Array, chex.Array]:
  """Node [V] of each visit, 0 where there is no state; which nodes [V + 1]
  are states.
  """
  nodes = graph_lib.node_ids(state_keys, visited)
  places = jnp.arange(visited.shape[0] + 1)
  return jnp.maximum(nodes.ids, 0), (places > 0) & (places < nodes.num_nodes)


def _labels(first: chex.Array, second: chex.Array) -> chex.Array:
  """Keys uint32 [V, 2] of two integers each."""
  return jnp.stack([first, second], axis=-1).astype(jnp.uint32)
