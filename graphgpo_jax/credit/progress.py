"""Progress of steps, against what became of their rollouts.

The measure of how far an outcome's credit misses the step's: progress that is
hidden in failures, and idle steps that are rewarded in successes.
"""

import chex
import jax.numpy as jnp

from graphgpo_jax.credit import graph as graph_lib


@chex.dataclass(frozen=True)
class ProgressCounts:
  """Steps of one group by outcome; add them over groups, then take shares."""

  failed_steps: chex.Array  # float32 [], steps of failed rollouts
  failed_progress: chex.Array  # float32 [], of these, those closer to SUCCESS
  failed_unreachable: chex.Array  # float32 [], of the failed steps, those that
  #   start where no way to SUCCESS is known: none of them makes progress
  successful_steps: chex.Array  # float32 [], steps of successful rollouts
  successful_progress: chex.Array  # float32 [], of these, closer to SUCCESS


def makes_progress(steps: graph_lib.Steps, distance: chex.Array) -> chex.Array:
  """Tells which steps end closer to SUCCESS than they started.

  d(s') < d(s). The last step of a success makes progress, its target being
  SUCCESS at distance 0, unless that step and what follows it cost nothing. An
  unreachable state stands beyond every reachable one: a step into it or
  between two of them makes no progress.

  Args:
    steps: Steps of one group, [E].
    distance: float32 [N], +inf where SUCCESS cannot be reached.

  Returns:
    bool [E]; False in padding, and where a step's state is not among the N.
  """
  chex.assert_rank([distance, steps.source, steps.target, steps.mask], 1)
  chex.assert_equal_shape([steps.source, steps.target, steps.mask])
  here, there = _ends(steps, distance)
  return steps.mask & (there < here)


def progress_counts(
  steps: graph_lib.Steps, distance: chex.Array
) -> ProgressCounts:
  """Counts the steps of one group by progress and outcome.

  Args:
    steps: Steps of one group, [E].
    distance: float32 [N], +inf where SUCCESS cannot be reached: of the group's
      own graph, or of the environment's.

  Returns:
    ProgressCounts, each float32 []. Over its own graph a group without success
    has no way to SUCCESS, so all its steps are `failed_unreachable`.

  Reference: arXiv 2605.26684, the motivation's statistic.
  """
  closer = makes_progress(steps, distance)
  here, _ = _ends(steps, distance)
  won = steps.mask & steps.success
  failed = steps.mask & ~steps.success

  def count(flags):
    return jnp.sum(flags, dtype=jnp.float32)

  return ProgressCounts(
    failed_steps=count(failed),
    failed_progress=count(failed & closer),
    failed_unreachable=count(failed & ~jnp.isfinite(here)),
    successful_steps=count(won),
    successful_progress=count(won & closer),
  )


def progress_shares(total: ProgressCounts) -> dict[str, chex.Array]:
  """Shares from counts added over groups.

  Args:
    total: ProgressCounts, each float32 [], summed over groups.

  Returns:
    dict of float32 [] in [0, 1], 0 where nothing was counted:
    `progress/failed`, progress steps among the steps of failed rollouts, and
    `progress/idle_in_successful`, the others among those of successful ones.
    The paper reports 0.220 and 0.653 on its ALFWorld.

  Reference: arXiv 2605.26684, the motivation's statistic.
  """

  def share(part, whole):
    return part / jnp.maximum(whole, 1.0)

  idle = total.successful_steps - total.successful_progress
  return {
    "progress/failed": share(total.failed_progress, total.failed_steps),
    "progress/idle_in_successful": share(idle, total.successful_steps),
  }


def _ends(steps, distance):
  """Distances [E] of source and target; +inf where there is no such node."""
  num_nodes = distance.shape[0]
  padded = jnp.concatenate([distance, jnp.full((1,), jnp.inf)])

  def look_up(nodes):
    inside = (nodes >= 0) & (nodes < num_nodes)
    return padded[jnp.where(inside, nodes, num_nodes)]

  return look_up(steps.source), look_up(steps.target)
