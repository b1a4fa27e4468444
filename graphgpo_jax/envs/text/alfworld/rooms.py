"""Rooms of generated games: what stands in them, and what is to be done.

Numbers of receptacles and things follow the rooms of the downloadable games:
10 to 30 receptacles, 20 to 60 things.
"""

import dataclasses
from collections.abc import Iterator, Mapping

from graphgpo_jax.envs.text.alfworld.draws import Draws
from graphgpo_jax.envs.text.alfworld.room_kinds import (
  LOOK,
  ROOM_KINDS,
  TASK_TYPES,
  TREATMENTS,
  TWO,
)

FEWEST_RECEPTACLES, MOST_RECEPTACLES = 10, 30
FEWEST_THINGS, MOST_THINGS = 20, 60
_MOST_OF_A_TYPE = 3
LAMP = "DeskLamp"
_LAMP_PLACES = frozenset({"Desk", "SideTable", "Dresser", "Shelf"})


@dataclasses.dataclass(frozen=True)
class Tables:
  """What goes with what: alfworld's own tables.

  Attributes:
    contains: types of things that each type of receptacle can hold.
    openable: types of receptacles that open and close.
    cleanable: types of things that the sink cleans.
    heatable: types of things that the microwave heats.
    coolable: types of things that the fridge cools.
    sliceable: types of things that a knife cuts.
    hollow: types of things that can hold others.
  """

  contains: Mapping[str, frozenset[str]]
  openable: frozenset[str]
  cleanable: frozenset[str]
  heatable: frozenset[str]
  coolable: frozenset[str]
  sliceable: frozenset[str]
  hollow: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Layout:
  """A room with a task in it.

  Attributes:
    task_type: one of TASK_TYPES.
    room: one of ROOMROOM_KINDS.
    receptacles: type of each receptacle.
    things: type of each thing, and the receptacle that it lies in.
    target: type of the thing that the task is about.
    parent: type of the receptacle that it is to be put in, or "".
    toggle: type of the lamp that is to be used, or "".
    sentence: which of its wordings the task has, counted round and round.
  """

  task_type: str
  room: str
  receptacles: tuple[str, ...]
  things: tuple[tuple[str, int], ...]
  target: str
  parent: str
  toggle: str
  sentence: int


def draw_layout(name: str, task_type: str, tables: Tables) -> Layout:
  """Draws a room and a task that can be solved in it.

  Args:
    name: from which everything random follows.
    task_type: one of TASK_TYPES.
    tables: what goes with what.

  Returns:
    The layout: nothing of the task is done at the start.

  Raises:
    ValueError: there is no such type of task.
  """
  if task_type not in TASK_TYPES:
    raise ValueError(
      f"no type of task {task_type!r}: expected one of {', '.join(TASK_TYPES)}"
    )
  draws = Draws(name)
  while True:
    layout = _try_to_draw(draws, task_type, tables)
    if layout is not None:
      return layout


def _try_to_draw(draws: Draws, task_type: str, tables: Tables) -> Layout | None:
  """One attempt; None where the room has no place for the task."""
  fitting = [
    name for name in ROOM_KINDS if task_type in ROOM_KINDS[name].task_types
  ]
  room = draws.choice(fitting)
  receptacles = [
    receptacle
    for receptacle, (low, high) in ROOM_KINDS[room].receptacles.items()
    for _ in range(draws.between(low, high))
  ]
  if not FEWEST_RECEPTACLES <= len(receptacles) <= MOST_RECEPTACLES:
    return None
  roles = list(_roles(task_type, room, receptacles, tables))
  if not roles:
    return None
  target, parent = draws.choice(roles)
  starts = _places(target, receptacles, tables, without=parent)
  count = draws.between(2, 3) if task_type == TWO else draws.between(1, 3)
  things = [(target, draws.choice(starts)) for _ in range(count)]
  if task_type == LOOK:
    stands = [i for i, kind in enumerate(receptacles) if kind in _LAMP_PLACES]
    things.append((LAMP, draws.choice(stands)))
  things += _others(draws, room, target, receptacles, tables, len(things))
  return Layout(
    task_type=task_type,
    room=room,
    receptacles=tuple(receptacles),
    things=tuple(things),
    target=target,
    parent=parent,
    toggle=LAMP if task_type == LOOK else "",
    sentence=draws.below(1 << 16),
  )


def _roles(
  task_type: str, room: str, receptacles: list[str], tables: Tables
) -> Iterator[tuple[str, str]]:
  """Types of the thing and of the receptacle that a task can be about."""
  treatment = TREATMENTS.get(task_type)
  for target in ROOM_KINDS[room].things:
    if treatment and target not in getattr(tables, treatment):
      continue
    parents = [""] if task_type == LOOK else sorted(set(receptacles))
    for parent in parents:
      takes = not parent or target in tables.contains[parent]
      if takes and _places(target, receptacles, tables, without=parent):
        yield target, parent


def _places(
  thing: str, receptacles: list[str], tables: Tables, *, without: str = ""
) -> list[int]:
  """The receptacles that can hold a thing."""
  return [
    index
    for index, kind in enumerate(receptacles)
    if kind != without and thing in tables.contains[kind]
  ]


def _others(
  draws: Draws,
  room: str,
  target: str,
  receptacles: list[str],
  tables: Tables,
  num_placed: int,
) -> list[tuple[str, int]]:
  """The things that the task is not about."""
  candidates = [
    (thing, places)
    for thing in ROOM_KINDS[room].things
    if thing != target and (places := _places(thing, receptacles, tables))
    for _ in range(_MOST_OF_A_TYPE)
  ]
  most = min(MOST_THINGS, num_placed + len(candidates))
  wanted = draws.between(FEWEST_THINGS, most) - num_placed
  chosen = draws.shuffled(candidates)[:wanted]
  return [(thing, draws.choice(places)) for thing, places in chosen]
