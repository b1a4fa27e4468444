"""Estimators that compare steps with the same states behind them: hgpo."""

import functools

import chex
import jax.numpy as jnp

from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import histories, signals
from graphgpo_jax.credit import normalize as normalize_lib
from graphgpo_jax.credit.estimators import parts

Credit = parts.Credit
StateGraph = graph_lib.StateGraph
Steps = graph_lib.Steps

_population_std = functools.partial(normalize_lib.mean_std, ddof=0)


def hgpo(
  steps: Steps,
  graph: StateGraph,
  distance: chex.Array,
  *,
  discount: float = 0.95,
  history_length: int = 2,
  history_alpha: float = 1.0,
  episode_base: bool = False,
  invalid_penalty: float = 0.1,
  penalty_only_with_success: bool = False,
  per_rollout: bool = False,
  normalize: parts.Normalizer = normalize_lib.mean_std,
  history_normalize: parts.Normalizer = _population_std,
  zero_below: float = 1e-5,
  weight_epsilon: float = 1e-6,
  step_weight: float = 1.0,
  episode_weight: float = 0.0,
) -> Credit:
  """HGPO: discounted returns compared among equal histories of every length.

  R_t = sum_k discount^(k-t) r_k - penalty; A_k is R_t compared among the steps
  with the same last k states, k = 1 .. h + 1, and A_0 = A^E;

    A = sum_k w_k A_k / (sum_k w_k + weight_epsilon), w_k = (k + 1)^alpha

  over the k with A_k != 0, and k >= 1 unless `episode_base`. Equal histories
  are rare and their comparison is exact; short ones are frequent and mix steps
  that stand in different places of a task.

  Args:
    steps: Steps of one group, [E].
    graph: its StateGraph, with N nodes.
    distance: float32 [N]; reported, not used.
    discount: reward discount in [0, 1].
    history_length: h, states before the step's own, static, at least 0. 0
      compares as gigpo does.
    history_alpha: how much more longer histories weigh.
    episode_base: A^E joins the average as k = 0.
    invalid_penalty: cost of an action that is not admissible, reward units.
    penalty_only_with_success: no penalty in groups without success.
    per_rollout: episode statistics over rollouts instead of steps.
    normalize: normaliser of A^E, `mean_std` or `mean_only`.
    history_normalize: normaliser of the A_k; `mean_std` with the population's
      deviation.
    zero_below: |A_k| up to this counts as 0: rounding must not decide which
      comparisons join the average.
    weight_epsilon: keeps the sum of the weights from being 0.
    step_weight: weight of the average.
    episode_weight: weight of A^E beside it.

  Returns:
    Credit, float32 [E] each; `step_advantage` is the average.

  Raises:
    ValueError: `history_length` is below 0.

  Reference: arXiv 2602.22817.
  """
  penalty = parts.invalid_penalties(
    steps,
    invalid_penalty=invalid_penalty,
    only_with_success=penalty_only_with_success,
  )
  step_return = (
    signals.discounted_return(
      steps.reward, steps.last, steps.mask, discount=discount
    )
    - penalty
  )
  num_nodes = graph.node_mask.shape[0]
  segments = histories.history_segments(
    steps, history_length=history_length, max_nodes=num_nodes
  )
  # All lengths at once, each with segments of its own.
  lengths, size = segments.shape[0], max(num_nodes, segments.shape[1])
  first = size * jnp.arange(lengths, dtype=jnp.int32)[:, None]
  counted = (segments >= 0).reshape(-1)
  compared = history_normalize(
    jnp.tile(step_return, lengths),
    jnp.where(segments >= 0, first + segments, graph_lib.NO_NODE).reshape(-1),
    counted,
    counted,
    num_segments=lengths * size,
    center_singletons=True,
  ).reshape(segments.shape)
  levels = jnp.arange(1, history_length + 2, dtype=jnp.float32)
  episode_part = parts.episode_advantage(
    steps, penalty, normalize=normalize, per_rollout=per_rollout
  )
  if episode_base:
    compared = jnp.concatenate([episode_part[None], compared])
    levels = jnp.concatenate([jnp.zeros((1,)), levels])
  counts = jnp.abs(compared) > zero_below
  weight = jnp.where(counts, ((levels + 1.0) ** history_alpha)[:, None], 0.0)
  average = jnp.sum(weight * compared, axis=0) / (
    jnp.sum(weight, axis=0) + weight_epsilon
  )
  return parts.mix(
    steps,
    distance,
    step_return=step_return,
    step_part=average,
    episode_part=episode_part,
    step_weight=step_weight,
    episode_weight=episode_weight,
  )
