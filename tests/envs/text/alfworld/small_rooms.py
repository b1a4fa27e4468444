"""Small rooms, in which the stock engine is quick enough for many episodes."""

import itertools

from graphgpo_jax.envs.text.alfworld import TASK_TYPES, generator
from graphgpo_jax.envs.text.alfworld.draws import Draws
from graphgpo_jax.envs.text.alfworld.rooms import LAMP, Layout, Tables

TABLES = Tables(
  contains={
    "CounterTop": frozenset({"Apple", "Mug", "Knife"}),
    "Desk": frozenset({"Apple", "Mug", "Knife"}),
    "Fridge": frozenset({"Apple", "Mug"}),
    "Microwave": frozenset({"Apple", "Mug"}),
    "SinkBasin": frozenset({"Apple", "Mug", "Knife"}),
    "Drawer": frozenset({"Knife"}),
  },
  openable=frozenset({"Fridge", "Microwave", "Drawer"}),
  cleanable=frozenset({"Apple", "Mug", "Knife"}),
  heatable=frozenset({"Apple", "Mug"}),
  coolable=frozenset({"Apple", "Mug"}),
  sliceable=frozenset({"Apple"}),
  hollow=frozenset({"Mug"}),
)


def layout(task_type: str, name: str) -> Layout:
  """Six receptacles and seven things; the apples are for the counter."""
  draws = Draws(name)
  receptacles = tuple(draws.shuffled(sorted(TABLES.contains)))

  def somewhere(kind, *, but=""):
    return draws.choice(
      [
        index
        for index, receptacle in enumerate(receptacles)
        if receptacle != but and kind in TABLES.contains[receptacle]
      ]
    )

  looks = task_type == "look_at_obj_in_light"
  apples = [("Apple", somewhere("Apple", but="CounterTop")) for _ in range(2)]
  others = [
    (kind, somewhere(kind)) for kind in ("Mug", "Mug", "Knife", "Knife")
  ]
  return Layout(
    task_type=task_type,
    room="kitchen",
    receptacles=receptacles,
    things=(*apples, *others, (LAMP, receptacles.index("Desk"))),
    target="Apple",
    parent="" if looks else "CounterTop",
    toggle=LAMP if looks else "",
    sentence=draws.below(2),
  )


def game(task_type: str, name: str) -> dict:
  """What the game file of a small room holds."""
  return generator.data_of(layout(task_type, name))[0]


def games():
  """Small games without end, the types of tasks taking turns."""
  for number in itertools.count():
    for task_type in TASK_TYPES:
      yield game(task_type, f"small/{number}")
