"""Sokoban as a text world, held to the on-device world's rules and rooms."""

import functools
import hashlib
import pathlib
import random
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import aliasing as aliasing_binary
from graphgpo_jax.envs import sokoban as on_device
from graphgpo_jax.envs.sokoban import generator as device_generator
from graphgpo_jax.envs.text import aliasing, panels, registry
from graphgpo_jax.envs.text import sokoban as text
from graphgpo_jax.envs.text.sokoban import generator, rules, tasks
from graphgpo_jax.rollouts.host import expert, worker_main

NAME = "sokoban_text"
TRAIN = text.task_ids(side="train", count=40)
SIZES = {
  "two boxes": generator.Sizes(),
  "one box": generator.Sizes(boxes=1, solution=30),
  "oblong": generator.Sizes(height=7, width=9, boxes=3, solution=20),
}
MORE = ("one box", "oblong")


@functools.cache
def attempts(kind):
  """The words and what the on-device generator makes of them."""
  sizes = SIZES[kind]
  keys = jax.random.split(jax.random.key(0), 80)
  words = jax.vmap(
    lambda key: jax.random.bits(key, (sizes.num_words,), jnp.uint32)
  )(keys)
  found = jax.jit(
    jax.vmap(
      functools.partial(
        device_generator.attempt_task,
        height=sizes.height,
        width=sizes.width,
        num_boxes=sizes.boxes,
        max_length=sizes.solution,
      )
    )
  )(keys)
  return np.asarray(words), jax.device_get(found)


def as_device_task(task):
  """A task of the text world as the on-device world has it."""
  walls = np.asarray(task.room.walls).reshape(-1, task.room.width)
  cells = np.arange(walls.size).reshape(walls.shape)
  return on_device.SokobanTask(
    walls=walls,
    targets=np.isin(cells, list(task.room.targets)),
    boxes=np.isin(cells, list(task.start.boxes)),
    player=np.int32(task.start.player),
    solution=np.asarray(task.solution, np.int32),
    solution_length=np.int32(len(task.solution)),
  )


@pytest.mark.parametrize(
  "kind",
  ["two boxes", *(pytest.param(k, marks=pytest.mark.slow) for k in MORE)],
)
def test_rooms_are_the_on_device_generators(kind):
  words, expected = attempts(kind)
  made = 0
  for index, own in enumerate(words):
    found = generator.attempt(own.tolist(), SIZES[kind])
    length = int(expected.solution_length[index])
    assert (found is None) == (length == 0)
    if found is None:
      continue
    made += 1
    here = as_device_task(found)
    for name in ("walls", "targets", "boxes", "player"):
      np.testing.assert_array_equal(
        getattr(here, name), getattr(expected, name)[index]
      )
    np.testing.assert_array_equal(
      found.solution, expected.solution[index][:length]
    )
  assert 10 < made < len(words)


def test_steps_are_the_on_device_worlds():
  world = on_device.Sokoban(num_boxes=2, horizon=15)
  step = jax.jit(world.step)
  own = text.make()
  choice = random.Random(0)
  pushes = 0
  for task_id in TRAIN[:12]:
    task = tasks.task_of(task_id)
    state, observation = world.reset(jax.random.key(0), as_device_task(task))
    said = own.reset(task_id)
    while True:
      mask = np.asarray(observation.action_mask)
      assert said.admissible_actions == tuple(
        sorted(np.asarray(rules.ACTIONS)[mask].tolist())
      )
      drawn = on_device.render_text(state)
      table = str.maketrans(" #.$*@+", "_#OX√PS")
      assert said.facts["true_state"].replace(" ", "") == drawn.translate(table)
      if said.done:
        break
      # In some rooms the known solution's, so that they are solved.
      taken = int(state.t)
      action = choice.randrange(4)
      if taken < len(task.solution) and task_id in TRAIN[:4]:
        action = task.solution[taken]
      before = np.asarray(state.boxes)
      state, observation, reward, solved, truncated, info = step(state, action)
      pushes += np.any(before != np.asarray(state.boxes))
      said = own.step(rules.ACTIONS[action])
      assert said.reward == float(reward)
      assert said.success == said.terminated == bool(solved)
      assert said.truncated == bool(truncated)
      assert said.action_valid == bool(info.action_valid)
    assert said.success == (task_id in TRAIN[:4])
  assert pushes > 20


def test_shortest_solutions_are_the_on_device_solvers():
  for task_id in TRAIN:
    task = tasks.task_of(task_id)
    found = rules.shortest_solution(task.room, task.start)
    expected = on_device.shortest_solution(as_device_task(task), 15)
    assert len(found) == len(expected) <= len(task.solution)


def test_the_expert_solves_every_task():
  lessons = expert.play_expert(text.make(), TRAIN, seed=0, max_steps=15)
  world = text.make()
  for task_id, episode in zip(TRAIN, lessons, strict=True):
    step = world.reset(task_id)
    for lesson in episode:
      step = world.step(lesson.command)
    assert step.success


def test_no_plan_where_a_box_is_stuck():
  room, start = drawn(["####", "#PX#", "#_O#", "#__#", "####"])
  assert rules.shortest_solution(room, start) is None
  # The same room with the box out of the corner.
  room, start = drawn(["####", "#_P#", "#_X#", "#_O#", "####"])
  assert rules.shortest_solution(room, start) == [2]


def drawn(lines):
  """A room and a position of their picture."""
  signs = "".join(lines)

  def cells(which):
    return frozenset(i for i, sign in enumerate(signs) if sign in which)

  room = rules.Room(
    len(lines[0]), tuple(sign == "#" for sign in signs), cells("O√S")
  )
  (player,) = cells("PS")
  return room, rules.Position(player, cells("X√"))


@pytest.mark.parametrize(
  "lines", [["#####", "#S√_#", "#OXX#", "#####"], ["####", "#PX#", "####"]]
)
def test_every_sign_is_written(lines):
  assert rules.write(*drawn(lines)) == "\n".join(" ".join(row) for row in lines)


def test_rewards_of_gym_sokoban(monkeypatch):
  room, start = drawn(["#######", "#PX√X_#", "#_XO__#", "#_OO__#", "#######"])
  made = generator.Task(room, start, ())
  monkeypatch.setattr(tasks, "task_of", lambda _: made)
  world = text.make(gym_rewards=True)
  world.reset("a room")
  wall = world.step("up")
  assert not wall.action_valid and wall.reward == pytest.approx(-0.1)
  assert wall.admissible_actions == ("down",)
  room, start = drawn(["#####", "#P__#", "#X_X#", "#O__#", "#__O#", "#####"])
  made = generator.Task(room, start, ())
  world.reset("a room")
  # Onto a target, off it again, away.
  rewards = [world.step(name).reward for name in ("down", "down", "up")]
  assert rewards == pytest.approx([0.9, -1.1, -0.1])
  room, start = drawn(["#####", "#P__#", "#X__#", "#O__#", "#####"])
  made = generator.Task(room, start, ())
  world.reset("a room")
  last = world.step(" DOWN ")
  assert last.success and last.reward == pytest.approx(10.9)
  with pytest.raises(ValueError, match="call reset"):
    world.step("up")


def test_what_is_no_action_costs_a_step():
  world = text.make(max_steps=2)
  before = world.reset(TRAIN[0])
  after = world.step("dance")
  assert not after.action_valid and after.observation == before.observation
  assert world.step("").truncated


def test_the_legend_names_every_sign():
  step = text.make().reset(TRAIN[0])
  assert all(f"{sign} " in step.task for sign in "#_OX√PS")
  assert step.observation.split("\n", 1)[1] == step.facts["true_state"]
  assert registry.state_key(NAME, "recipe")(step) == step.facts["true_state"]


def test_rooms_are_the_same_on_every_machine():
  rooms = "".join(
    rules.write(task.room, task.start) + "\n"
    for task in map(tasks.task_of, panels.load_panel(NAME)[:32])
  )
  assert hashlib.sha256(rooms.encode()).hexdigest() == ROOMS


ROOMS = "91665e34adbaccd67a404233783280916866d851ff37b9c6e871ecce07dd4320"


def test_the_panel_has_no_room_twice():
  panel = panels.load_panel(NAME)[:40]
  rooms = [rules.write(t.room, t.start) for t in map(tasks.task_of, panel)]
  assert len(set(rooms)) == len(rooms)


def test_no_room_is_on_both_sides():
  sides = [
    {
      rules.write(task.room, task.start)
      for task in map(
        tasks.task_of, text.task_ids(side=side, boxes=1, count=60)
      )
    }
    for side in tasks.SIDES
  ]
  assert not sides[0] & sides[1]
  assert min(map(len, sides)) > 50


@pytest.mark.parametrize(
  ("task_id", "message"),
  [
    ("17", "expected game/parameters/number"),
    ("test/boxes=2,height=6,solution=15,width=6/0", "train or evaluation"),
    ("train/boxes=2,height=6,width=6/0", "expected sizes boxes, height"),
    ("train/boxes=2,height=5,solution=15,width=6/0", "height must be from 6"),
    ("train/height=6,boxes=2,solution=15,width=6/0", "alphabetical"),
  ],
)
def test_no_such_task(task_id, message):
  world = text.make()
  with pytest.raises(ValueError, match=f"no such task.*{message}"):
    world.reset(task_id)
  with pytest.raises(ValueError, match="call reset"):
    world.step("up")


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"side": "test"}, "side 'test'"),
    ({"side": "train", "boxes": 4}, "boxes must be from 1 to 3"),
    ({"side": "train", "count": -1}, "count must not be negative"),
  ],
)
def test_bad_options_of_tasks(options, message):
  with pytest.raises(ValueError, match=message):
    registry.task_ids(NAME, **options)
  with pytest.raises(ValueError, match="max_steps"):
    registry.make(NAME, max_steps=0)


def test_no_key_takes_two_states_for_one():
  keys = {kind: registry.state_key(NAME, kind) for kind in text.STATE_KEYS}
  found = aliasing_binary.play(
    text.make(), TRAIN[:2], keys, episodes=30, seed=0
  )
  for transitions in found.values():
    report = aliasing.aliasing_report(transitions)
    assert report.repeats > 30 and report.conflicts == 0


def test_workers_play_it_without_jax():
  """A worker opens packages without their `__init__`."""
  path = str(pathlib.Path(worker_main.__file__))
  code = (
    "import importlib.util, sys\n"
    f"spec = importlib.util.spec_from_file_location('main', {path!r})\n"
    "worker = importlib.util.module_from_spec(spec)\n"
    "spec.loader.exec_module(worker)\n"
    "worker._open_packages()\n"
    "from graphgpo_jax.envs.text import registry\n"
    f"registry.make({NAME!r}).reset({TRAIN[0]!r})\n"
    "print({'jax', 'chex', 'numpy'} & set(sys.modules))\n"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == "set()"
