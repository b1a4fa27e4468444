"""Text worlds in several processes: who plays what, and what all of them saw.

Each process plays the groups whose rollouts lie on its own devices, with its
own workers. What is drawn depends on an episode's place among all, so it does
not matter how many processes there are.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from graphgpo_jax.policy import partition
from graphgpo_jax.rollouts.host import episodes
from graphgpo_jax.training import distributed


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What an evaluation needs of an episode.

  Attributes:
    index: number of the episode among all.
    rollout: number of the episode within its group.
    failed: its worker or engine broke.
    success: the task was solved.
    episode_return: sum of the world's rewards.
    length: its steps.
  """

  index: int
  rollout: int
  failed: bool
  success: bool
  episode_return: float
  length: int


def outcome(episode: episodes.Episode) -> Outcome:
  """The outcome of an episode."""
  return Outcome(
    index=episode.plan.index,
    rollout=episode.plan.rollout,
    failed=episode.failed,
    success=bool(episode.success),
    episode_return=float(episode.episode_return),
    length=len(episode.turns),
  )


def gather_outcomes(played: Sequence[episodes.Episode]) -> list[Outcome]:
  """The outcomes of the episodes of all processes, in their order.

  Args:
    played: by this process.

  Returns:
    The same list in every process.
  """
  own = [dataclasses.astuple(outcome(one)) for one in played]
  every = [Outcome(*row) for rows in distributed.gather(own) for row in rows]
  return sorted(every, key=lambda one: one.index)


def add_up(own: dict[str, float]) -> dict[str, float]:
  """Sums over all processes, by name."""
  every = distributed.gather(own)
  return {name: sum(one[name] for one in every) for name in own}


def own_groups(mesh: Mesh | None, number: int) -> list[int]:
  """The groups whose rollouts lie on this process's devices.

  Args:
    mesh: that the groups are divided over; None for one device.
    number: of groups in all.

  Returns:
    Their numbers, in order.
  """
  if mesh is None:
    return list(range(number))
  places = NamedSharding(mesh, partition.ROWS).addressable_devices_indices_map(
    (number,)
  )
  rows: set[int] = set()
  for place in places.values():
    assert place is not None
    rows.update(range(*place[0].indices(number)))
  return sorted(rows)


def own_panel(number: int) -> list[int]:
  """The tasks of a panel that this process plays."""
  return list(range(jax.process_index(), number, jax.process_count()))


def renumber(
  played: Sequence[episodes.Episode], groups: Sequence[int]
) -> list[episodes.Episode]:
  """Episodes whose groups count from 0 in the order of `groups`."""
  place = {group: row for row, group in enumerate(groups)}
  return [
    dataclasses.replace(
      one, plan=dataclasses.replace(one.plan, group=place[one.plan.group])
    )
    for one in played
  ]


def to_devices(own: Any, mesh: Mesh | None) -> Any:
  """Arrays of this process's groups as arrays of all groups.

  Args:
    own: tree of NumPy arrays, their leading axis the groups of `own_groups`.
    mesh: as there.

  Returns:
    Tree of arrays [B, ...], divided over the mesh.
  """
  if mesh is None:
    return jax.tree.map(jnp.asarray, own)
  rows = NamedSharding(mesh, partition.ROWS)
  return jax.tree.map(
    lambda leaf: jax.make_array_from_process_local_data(rows, leaf), own
  )


def own_copy(tree: Any, mesh: Mesh | None) -> Any:
  """Arrays that every device holds, as one device of this process has them.

  While they act, processes do not keep step with each other: a program of one
  must need nothing of another.
  """
  if mesh is None:
    return tree
  return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)
