"""Advantages under perturbations, held against what they ought to be."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from experiments.stress_report import groups as groups_lib
from graphgpo_jax.credit import batching, distances, estimators
from graphgpo_jax.credit import rollouts as merging
from graphgpo_jax.report import stress

# What an estimate is compared with.
TRUE_GRAPH = "true_graph"
LARGE_GROUP = "large_group"
TRUE_PROGRESS = "true_progress"


def perturbed_advantage(
  estimator: estimators.Estimator,
  group: groups_lib.Groups,
  key: chex.PRNGKey,
  hidden: chex.Array,
  aliased: chex.Array,
  split: chex.Array,
  size: chex.Array,
  use_true: chex.Array,
) -> tuple[chex.Array, chex.Array]:
  """Advantages of one group as a perturbed log of it gives them.

  Args:
    estimator: function `(steps, graph, distance) -> Credit`.
    group: Groups without their leading axis.
    key: PRNG key of the perturbation.
    hidden: float32 [], share of the steps that are hidden.
    aliased: float32 [], share of the states that take another's key.
    split: float32 [], share of the states that get two keys.
    size: int32 [], a divisor of M: the group is taken apart into groups of so
      many rollouts, each by itself.
    use_true: bool [], distances of the true graph instead of the group's.

  Returns:
    float32 [M, T] and bool [M, T], the steps that the log still has.
  """
  num_rollouts, num_steps = group.mask.shape
  hide_key, alias_key, split_key = jax.random.split(key, 3)
  visited = stress.visited_states(group.mask, group.success).reshape(-1)
  keys = stress.alias_keys(
    alias_key, group.state_keys.reshape(-1, 2), visited, share=aliased
  )
  keys = stress.split_keys(split_key, keys, visited, share=split)
  keys = keys.reshape(num_rollouts, num_steps + 1, 2)
  drawn = stress.draw_share(hide_key, group.mask.reshape(-1), share=hidden)
  rows = jnp.arange(num_rollouts)[:, None]

  def add_part(index, total):
    advantage, _ = _advantage(
      estimator,
      group.replace(  # type: ignore[attr-defined]
        state_keys=keys, mask=group.mask & (rows // size == index)
      ),
      drawn,
      use_true,
      max_nodes=merging.node_limit(num_rollouts, num_steps),
    )
    return total + advantage

  advantage = jax.lax.fori_loop(
    0, num_rollouts // size, add_part, jnp.zeros(group.mask.shape)
  )
  return advantage, group.mask & ~drawn.reshape(group.mask.shape)


def _advantage(estimator, group, hidden, use_true, *, max_nodes):
  """Advantage [M, T] of a group, and visits that found no node."""
  merged = merging.merge_rollouts(
    group.state_keys,
    group.reward,
    group.success,
    group.action_valid,
    group.mask,
    cost=group.cost,
    action=group.action,
    max_nodes=max_nodes,
  )
  steps = stress.hide_steps(merged.steps, hidden)
  true = stress.node_distances(
    steps,
    group.true_distance[:, :-1].reshape(-1),
    group.true_distance[:, 1:].reshape(-1),
    max_nodes=max_nodes,
  )
  credit, _, _ = estimators.credit_group(
    steps,
    estimator,
    max_nodes=max_nodes,
    backup=lambda graph: jnp.where(
      use_true, true, distances.shortest_distances(graph)
    ),
  )
  return credit.advantage.reshape(group.mask.shape), merged.overflow


class Study:
  """Groups of one environment, and estimators held against references.

  References, none of them perturbed:

  true_graph:    the same group of M rollouts, with the distances of the true
                 graph in place of its own. For estimators that use distances.
  large_group:   all L rollouts of the task as one group, with the distances of
                 the true graph for estimators that use them. What the estimator
                 would say if rollouts were no matter of cost.
  true_progress: how much closer to SUCCESS the step came on the true graph,
                 see `groups.true_progress`. One for all estimators, while the
                 others hold each of them against itself.
  """

  def __init__(
    self,
    large: groups_lib.Groups,
    *,
    group_size: int,
    groups_per_task: int,
    max_nodes: int,
    seed: int,
  ):
    """Cuts the groups.

    Args:
      large: Groups [B, L, ...].
      group_size: M.
      groups_per_task: groups of M that each task's first rollouts make.
      max_nodes: nodes at most of a large group's graph.
      seed: of the perturbations.

    Raises:
      ValueError: there are fewer than M * groups_per_task rollouts.
    """
    num_rollouts = large.success.shape[1]
    if group_size * groups_per_task > num_rollouts:
      raise ValueError(
        f"{groups_per_task} groups of {group_size} need "
        f"{group_size * groups_per_task} rollouts of each task, got "
        f"{num_rollouts}"
      )
    self.large = large
    self.group_size = group_size
    self._number = groups_per_task
    self._max_nodes = max_nodes
    self.groups = groups_lib.small_groups(
      large, number=groups_per_task, size=group_size
    )
    count = self.groups.success.shape[0]
    self._keys = jax.random.split(jax.random.key(seed), count)
    self._progress = groups_lib.cut(
      groups_lib.true_progress(large), groups_per_task, group_size
    )

  def compare(
    self,
    estimator: estimators.Estimator,
    conditions: Sequence[groups_lib.Condition],
  ) -> list[dict[str, Any]]:
    """Agreement of an estimator with its references.

    Args:
      estimator: function `(steps, graph, distance) -> Credit`.
      conditions: the perturbations.

    Returns:
      A dict per reference and condition: reference, kind, value, and the
      fields of `stress.Agreement`, over the steps that are not hidden.
    """
    by_distance = stress.uses_distance(estimator)
    run = self.advantages(estimator)
    references = {
      TRUE_PROGRESS: self._progress,
      LARGE_GROUP: self._large_advantage(estimator, by_distance),
    }
    if by_distance:
      references[TRUE_GRAPH] = run(groups_lib.Condition("none", 0.0), True)[0]
    results = []
    for condition in conditions:
      advantage, seen = run(condition, False)
      for name, reference in references.items():
        found = stress.agreement(advantage[seen], reference[seen])
        results.append(
          {
            "reference": name,
            **dataclasses.asdict(condition),
            **dataclasses.asdict(found),
          }
        )
    return results

  def advantages(
    self, estimator: estimators.Estimator
  ) -> Callable[[groups_lib.Condition, bool], tuple[np.ndarray, np.ndarray]]:
    """An estimator's advantages on all groups, compiled once.

    Args:
      estimator: function `(steps, graph, distance) -> Credit`.

    Returns:
      `(condition, use_true) -> (advantage, seen)`, float32 and bool [G, M, T],
      as `perturbed_advantage` has them.
    """

    @jax.jit
    def of_groups(groups, keys, *numbers):
      return batching.map_groups(
        lambda group, key: perturbed_advantage(estimator, group, key, *numbers),
        groups,
        keys,
      )

    def run(condition, use_true):
      size = self.group_size
      if condition.kind == "group_size":
        size = int(condition.value)
      # Traced: one program for all conditions.
      shares = [
        np.float32(condition.value if condition.kind == kind else 0.0)
        for kind in ("hidden", "aliased", "split")
      ]
      return jax.device_get(
        of_groups(
          self.groups, self._keys, *shares, np.int32(size), np.bool_(use_true)
        )
      )

    return run

  def _large_advantage(self, estimator, by_distance):
    """Reference [G, M, T] from the large groups."""

    def of_group(group):
      hidden = jnp.zeros(group.mask.size, bool)
      return _advantage(
        estimator, group, hidden, by_distance, max_nodes=self._max_nodes
      )

    advantage, overflow = jax.device_get(
      jax.jit(functools.partial(batching.map_groups, of_group))(self.large)
    )
    if overflow.any():
      raise ValueError(
        f"max_nodes={self._max_nodes} leaves {overflow.max()} visits of a "
        "large group without a node"
      )
    return groups_lib.cut(advantage, self._number, self.group_size)
