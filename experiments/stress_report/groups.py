"""Groups of rollouts as the study takes them, and how they are perturbed."""

import dataclasses
from collections.abc import Mapping, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from graphgpo_jax.rollouts import on_device


@dataclasses.dataclass(frozen=True)
class Condition:
  """One perturbation of the groups."""

  kind: str  # "none", "hidden", "aliased", "split" or "group_size"
  value: float  # the share, or the size

  @property
  def label(self) -> str:
    """What a table calls it."""
    if self.kind == "none":
      return "unperturbed"
    if self.kind == "group_size":
      return f"group of {self.value:.0f}"
    return f"{self.kind} {self.value:g}"


def make_conditions(
  *,
  group_size: int,
  hidden: Sequence[float] = (0.1, 0.3, 0.5),
  aliased: Sequence[float] = (0.1, 0.3, 0.5),
  split: Sequence[float] = (0.1, 0.3, 0.5),
  sizes: Sequence[int] = (4, 2),
) -> list[Condition]:
  """The conditions of a report, the unperturbed one first.

  Args:
    group_size: M, rollouts of an unperturbed group.
    hidden: shares of the steps that are hidden.
    aliased: shares of the states that take another state's key.
    split: shares of the states that get two keys.
    sizes: group sizes.

  Returns:
    The conditions.

  Raises:
    ValueError: a share lies outside [0, 1], or a size does not divide M.
  """
  conditions = [Condition("none", 0.0)]
  for kind, shares in (
    ("hidden", hidden),
    ("aliased", aliased),
    ("split", split),
  ):
    for share in shares:
      if not 0.0 <= share <= 1.0:
        raise ValueError(f"{kind}: expected shares from 0 to 1, got {share}")
      conditions.append(Condition(kind, float(share)))
  for size in sizes:
    if not 1 <= size <= group_size or group_size % size:
      raise ValueError(
        f"sizes: expected divisors of the group size {group_size}, got {size}"
      )
    conditions.append(Condition("group_size", float(size)))
  return conditions


@chex.dataclass(frozen=True)
class Groups:
  """Rollouts as credit sees them, G groups of M rollouts of T steps."""

  state_keys: chex.Array  # uint32 [G, M, T + 1, 2]
  true_distance: chex.Array  # float32 [G, M, T + 1], of each state to SUCCESS
  reward: chex.Array  # float32 [G, M, T]
  cost: chex.Array  # float32 [G, M, T]
  action: chex.Array  # int32 [G, M, T]
  action_valid: chex.Array  # bool [G, M, T]
  mask: chex.Array  # bool [G, M, T]
  success: chex.Array  # bool [G, M]


def make_groups(
  rollouts: on_device.Rollouts, true_distance: np.ndarray
) -> Groups:
  """All rollouts of each task as one group.

  Args:
    rollouts: of B tasks, L each.
    true_distance: float32 [B, L, T + 1].

  Returns:
    Groups [B, L, ...].
  """
  cost = rollouts.cost
  return Groups(
    state_keys=rollouts.state_keys,
    true_distance=jnp.asarray(true_distance),
    reward=rollouts.reward,
    cost=jnp.ones_like(rollouts.reward) if cost is None else cost,
    action=rollouts.action,
    action_valid=rollouts.action_valid,
    mask=rollouts.mask,
    success=rollouts.success,
  )


def small_groups(large: Groups, *, number: int, size: int) -> Groups:
  """The first `number` groups of `size` rollouts of each large group.

  Args:
    large: Groups [B, L, ...].
    number: groups of each task.
    size: M.

  Returns:
    Groups [B * number, M, ...].
  """
  return jax.tree.map(lambda leaf: cut(leaf, number, size), large)


def cut(leaf: chex.Array, number: int, size: int) -> chex.Array:
  """[B, L, ...] to [B * number, size, ...], from each task's first rollouts."""
  leaf = leaf[:, : number * size]
  return leaf.reshape((-1, size) + leaf.shape[2:])


def true_progress(large: Groups) -> np.ndarray:
  """How much closer to SUCCESS each step came, on the true graph.

  d(s) - d(s'), cost units; 0 for SUCCESS. A dead end stands one beyond the
  farthest state that the task's rollouts met and that is none.

  Args:
    large: Groups [B, L, ...].

  Returns:
    float32 [B, L, T]; 0 in padding.
  """
  mask, success = np.asarray(large.mask), np.asarray(large.success)
  distance = np.array(large.true_distance)
  last = mask & ~np.pad(mask, ((0, 0), (0, 0), (0, 1)))[..., 1:]
  rollout, end, time = np.nonzero(last & success[..., None])
  distance[rollout, end, time + 1] = 0.0
  met = np.pad(mask, ((0, 0), (0, 0), (1, 0)), constant_values=True)
  reachable = met & np.isfinite(distance)
  farthest = np.max(distance, axis=(1, 2), where=reachable, initial=0.0)
  distance = np.where(
    np.isfinite(distance), distance, farthest[:, None, None] + 1.0
  )
  return np.where(mask, distance[..., :-1] - distance[..., 1:], 0.0)


def outcomes(groups: Groups) -> Mapping[str, float]:
  """What the groups are like: success, and groups of each kind.

  Args:
    groups: Groups.

  Returns:
    `groups`, `success` (share of rollouts), `steps`, and the shares of groups
    in which no, each, or some rollouts succeeded.
  """
  success = np.asarray(groups.success)
  none, each = ~success.any(1), success.all(1)
  return {
    "groups": len(success),
    "success": float(success.mean()),
    "steps": int(np.asarray(groups.mask).sum()),
    "none_succeeded": float(none.mean()),
    "all_succeeded": float(each.mean()),
    "some_succeeded": float((~none & ~each).mean()),
  }
