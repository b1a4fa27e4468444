"""Layouts and problems, from tables of the tests' own: no engine needed."""

import hashlib

import pytest

from graphgpo_jax.envs.text.alfworld import problem, rooms
from graphgpo_jax.envs.text.alfworld.room_kinds import ROOM_KINDS, TASK_TYPES

_THINGS = frozenset(
  thing for kind in ROOM_KINDS.values() for thing in kind.things
)
_RECEPTACLES = sorted(
  {name for kind in ROOM_KINDS.values() for name in kind.receptacles}
)
# Every receptacle but the bin holds everything.
TABLES = rooms.Tables(
  contains={
    name: frozenset() if name == "GarbageCan" else _THINGS
    for name in _RECEPTACLES
  },
  openable=frozenset({"Fridge"}),
  cleanable=frozenset({"Fork", "Cloth"}),
  heatable=frozenset({"Egg"}),
  coolable=frozenset({"Pan", "Pot"}),
  sliceable=frozenset({"Bread"}),
  hollow=frozenset({"Bowl"}),
)
_TREATED = {
  "pick_clean_then_place_in_recep": {"Fork", "Cloth"},
  "pick_heat_then_place_in_recep": {"Egg"},
  "pick_cool_then_place_in_recep": {"Pan", "Pot"},
}


def _layouts(task_type, count=40):
  return [
    rooms.draw_layout(f"{task_type}/{number}", task_type, TABLES)
    for number in range(count)
  ]


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_rooms_have_real_sizes(task_type):
  layouts = _layouts(task_type)
  sizes = [len(layout.receptacles) for layout in layouts]
  assert 10 <= min(sizes) < max(sizes) <= 30
  things = [len(layout.things) for layout in layouts]
  assert 20 <= min(things) < max(things) <= 60


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_nothing_of_the_task_is_done_and_all_of_it_can_be(task_type):
  for layout in _layouts(task_type):
    places = [
      layout.receptacles[place]
      for kind, place in layout.things
      if kind == layout.target
    ]
    assert layout.parent not in places
    assert len(places) >= (2 if task_type == rooms.TWO else 1)
    if task_type == rooms.LOOK:
      assert layout.parent == "" and layout.toggle == rooms.LAMP
      assert rooms.LAMP in [kind for kind, _ in layout.things]
    else:
      assert layout.parent in layout.receptacles
      assert layout.target in TABLES.contains[layout.parent]
    assert layout.target in _TREATED.get(task_type, {layout.target})


def test_things_lie_where_they_may():
  for layout in _layouts("pick_and_place_simple"):
    for kind, place in layout.things:
      assert kind in TABLES.contains[layout.receptacles[place]]


def test_a_layout_is_the_same_everywhere():
  text = repr(_layouts("pick_two_obj_and_place", 3)).encode()
  assert hashlib.sha256(text).hexdigest() == (
    "c28eacdfe8571595f14bc96109daca35e1d9519a0cd6854f0ea34e0314dda6d5"
  )


def test_layouts_differ():
  layouts = _layouts("look_at_obj_in_light", 100)
  assert len(set(map(repr, layouts))) == 100


def test_an_unknown_type_is_refused():
  with pytest.raises(ValueError, match="no type of task 'sweep'"):
    rooms.draw_layout("name", "sweep", TABLES)


def test_problem_says_what_the_layout_says():
  layout = rooms.Layout(
    task_type="pick_heat_then_place_in_recep",
    room="kitchen",
    receptacles=("Fridge", "SinkBasin", "Fridge"),
    things=(("Egg", 2), ("Fork", 0), ("Egg", 1)),
    target="Egg",
    parent="SinkBasin",
    toggle="",
    sentence=0,
  )
  text = problem.problem_text(layout, TABLES, "(:goal (and)))")
  lines = text.splitlines()
  assert {
    "Egg_bar_01 - object",
    "Sink_bar_00_bar_SinkBasin - receptacle",
    "Fridge_bar_01 - receptacle",
    "loc_2 - location",
    "MicrowaveType - rtype",
    "KnifeType - otype",
    "(atLocation agent1 loc_start)",
    "(openable Fridge_bar_01)",
    "(inReceptacle Egg_bar_00 Fridge_bar_01)",
    "(objectAtLocation Egg_bar_00 loc_2)",
    "(heatable Egg_bar_01)",
    "(pickupable Fork_bar_00)",
    "(canContain SinkBasinType EggType)",
  } <= set(lines)
  assert "(openable Sink_bar_00_bar_SinkBasin)" not in lines
  assert "(heatable Fork_bar_00)" not in lines
  assert text.count("(") == text.count(")")
  assert lines[-1] == "(:goal (and)))"


def test_lamps_are_for_switching_only():
  layout = rooms.draw_layout("lamp", rooms.LOOK, TABLES)
  lines = problem.problem_text(layout, TABLES, "").splitlines()
  assert "(toggleable DeskLamp_bar_00)" in lines
  assert "(pickupable DeskLamp_bar_00)" not in lines
