"""Gymnasium environments recorded as tables for `assign_credit`."""

import functools
import importlib
import sys

import numpy as np
import pytest

import graphgpo_jax

gymnasium = pytest.importorskip("gymnasium")

from graphgpo_jax.integrations import gym  # noqa: E402
from graphgpo_jax.integrations.gym import (  # noqa: E402
  observations,
  recorders,
)
from tests.integrations import corridors  # noqa: E402
from tests.integrations.corridors import LEFT, RIGHT, Corridor  # noqa: E402

pytestmark = pytest.mark.extra("gym")

MODES = (recorders.NEXT_STEP, recorders.SAME_STEP, recorders.DISABLED)
# Two episodes of each of two environments, which end at different times: at the
# goal, cut, cut, and at the goal when it would have been cut.
SCRIPTS = [
  [[RIGHT, RIGHT, RIGHT], [RIGHT, LEFT, RIGHT, LEFT, RIGHT]],
  [[LEFT] * 5, [RIGHT, LEFT, RIGHT, RIGHT, RIGHT]],
]


def vector_of(mode, kind="discrete", count=2, cls=None, **options):
  cls = cls or gymnasium.vector.SyncVectorEnv
  makers = [functools.partial(Corridor, kind)] * count
  return cls(makers, autoreset_mode=mode, **options)


def everything(start):
  del start
  return "corridor"


def by_hand(kind, script):
  """The rows of an episode: (observation, action, next, success, reward)."""
  places = [0]
  for action in script:
    places.append(max(places[-1] + (1 if action == RIGHT else -1), 0))
  success = places[-1] == corridors.GOAL
  states = [
    observations.state(corridors.SPACES[kind], corridors.observe(kind, place))
    for place in places
  ]
  return [
    (here, action, there, success, float(place == corridors.GOAL))
    for here, action, there, place in zip(
      states, script, states[1:], places[1:], strict=False
    )
  ]


def episodes_of(table):
  """Episodes of a table as `by_hand` has them, in an order of their own."""
  found = {}
  names = ("observation", "action", "next_observation", "success", "reward")
  for row, trajectory in enumerate(table["trajectory"]):
    steps = found.setdefault(trajectory, [])
    assert table["t"][row] == len(steps)
    steps.append(tuple(table[name][row] for name in names))
  return sorted(map(repr, found.values()))


def play_scripts(recorder, scripts):
  """Feeds each environment its scripts, and nonsense where none is awaited."""
  ready = [[list(script) for script in slot] for slot in scripts]
  waits = [False] * len(ready)  # for a reset that takes a step of its own
  recorder.reset()
  while any(any(slot) for slot in ready):
    actions = []
    for slot, scripts_left in enumerate(ready):
      playing = not waits[slot] and scripts_left
      actions.append(scripts_left[0].pop(0) if playing else RIGHT)
    _, _, terminated, truncated, _ = recorder.step(np.array(actions))
    ended = terminated | truncated
    for slot, scripts_left in enumerate(ready):
      waits[slot] = recorder.mode == recorders.NEXT_STEP and ended[slot]
      if scripts_left and not scripts_left[0]:
        assert ended[slot]
        scripts_left.pop(0)
    if recorder.mode == recorders.DISABLED and ended.any():
      recorder.reset(options={"reset_mask": ended})


@pytest.mark.parametrize("kind", corridors.SPACES)
@pytest.mark.parametrize("mode", MODES)
def test_each_mode_records_where_episodes_ended(mode, kind):
  recorder = gym.record(vector_of(mode, kind), task_fn=everything)
  play_scripts(recorder, SCRIPTS)
  expected = [by_hand(kind, script) for slot in SCRIPTS for script in slot]
  table = recorder.table()
  # Nonsense played in between may have begun episodes, and ended one.
  found = episodes_of(table)
  extra = len(found) - len(expected)
  assert 0 <= extra <= 1
  for episode in map(repr, expected):
    found.remove(episode)
  returns = dict(zip(table["trajectory"], table["episode_return"], strict=True))
  assert sorted(returns.values())[-2 - extra :] == [1.0] * (2 + extra)
  graphgpo_jax.assign_credit(table)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_environments_in_processes_are_recorded_alike(mode):
  # JAX has threads, which a fork would not take along.
  asynchronous = gymnasium.vector.AsyncVectorEnv
  env = vector_of(mode, "tuple", cls=asynchronous, context="spawn")
  try:
    recorder = gym.record(env, task_fn=everything)
    play_scripts(recorder, SCRIPTS)
    found = episodes_of(recorder.table())
    for slot in SCRIPTS:
      for script in slot:
        found.remove(repr(by_hand("tuple", script)))
    assert len(found) <= 1  # as above
  finally:
    env.close()


@pytest.mark.parametrize("kind", corridors.SPACES)
def test_one_environment_records_the_same(kind):
  recorder = gym.record(Corridor(kind), task_fn=everything)
  scripts = [script for slot in SCRIPTS for script in slot]
  for script in scripts:
    recorder.reset()
    for action in script:
      recorder.step(action)
  expected = [repr(by_hand(kind, script)) for script in scripts]
  assert episodes_of(recorder.table()) == sorted(expected)
  assert (recorder.log.finished, recorder.log.unfinished) == (4, 0)


@pytest.mark.parametrize("mode", MODES)
def test_observations_that_are_overwritten_are_kept(mode):
  env = vector_of(mode, "box", copy=False)
  recorder = gym.record(env, task_fn=everything)
  play_scripts(recorder, SCRIPTS)
  found = episodes_of(recorder.table())
  assert repr(by_hand("box", SCRIPTS[0][0])) in found


@pytest.mark.parametrize("mode", [None, *MODES])
def test_collect_plays_each_seed_as_often_as_told(mode):
  env = Corridor() if mode is None else vector_of(mode, count=3)
  table = gym.collect(env, [5, 9], rollouts=4)
  episodes = set(zip(table["task"], table["trajectory"], strict=True))
  assert sorted(task for task, _ in episodes) == [5] * 4 + [9] * 4
  # Each begins at the beginning and ends at an end.
  for row, t in enumerate(table["t"]):
    assert (table["observation"][row] == 0) or t > 0
    last = row + 1 == len(table["t"]) or table["t"][row + 1] == 0
    arrived = table["next_observation"][row] == corridors.GOAL
    assert last == (arrived or t + 1 == corridors.LIMIT)


def test_frozen_lake_has_the_distances_of_its_map():
  # S F    0 1     down, right, ... of Gymnasium: left 0, down 1, right 2, up 3
  # F G    2 3
  lake = gymnasium.make(
    "FrozenLake-v1", desc=["SF", "FG"], is_slippery=False, max_episode_steps=4
  )
  scripts = iter([2, 1] + [0, 1, 0, 3])
  table = gym.collect(lake, [1], rollouts=2, policy=lambda _: next(scripts))
  assert table["observation"] == [0, 1, 0, 0, 2, 2]
  assert table["next_observation"] == [1, 3, 0, 2, 2, 0]
  assert table["success"] == [True, True] + [False] * 4
  credit = graphgpo_jax.assign_credit(table, omega=0.5)
  # 0 -> 1 -> success. From 2 only 0 is known: three steps.
  assert credit["distance"].tolist() == [2, 1, 2, 2, 3, 3]
  assert credit["next_distance"].tolist() == [1, 0, 2, 3, 3, 2]
  # Of the first state's three steps only the first comes closer.
  assert credit["graph_advantage"][0] > 0 > credit["graph_advantage"][3]


def test_taxi_delivers_for_a_reward_and_is_cut_without():
  taxi = gymnasium.make("Taxi", max_episode_steps=3)
  table = gym.collect(taxi, [0], rollouts=2, policy=lambda _: 5)
  assert table["success"] == [False] * 6 and table["t"] == [0, 1, 2] * 2
  assert table["episode_return"] == [-30.0] * 6


def test_success_is_the_users_and_never_of_a_truncated_episode():
  def at_last(info, reward, terminated):
    assert isinstance(terminated, bool) and isinstance(reward, float)
    return info["steps"]["taken"] >= 4

  recorder = gym.record(
    vector_of(recorders.SAME_STEP), task_fn=everything, success_fn=at_last
  )
  play_scripts(recorder, SCRIPTS)
  table = recorder.table()
  ends = {}
  for row, trajectory in enumerate(table["trajectory"]):
    ends[trajectory] = (table["t"][row] + 1, table["success"][row])
  # Three steps are too few; five that were cut are none; five at the goal are.
  assert sorted(ends.values())[:2] == [(3, False), (5, False)]
  assert (5, True) in ends.values()


def test_a_state_may_be_what_the_user_says():
  recorder = gym.record(
    Corridor(), state_key=lambda place, info: ("at", place, "fresh" in info)
  )
  recorder.reset(seed=3)
  for action in [RIGHT] * 3:
    recorder.step(action)
  table = recorder.table()
  assert table["observation"][:2] == [("at", 0, True), ("at", 1, False)]
  assert table["task"] == [3] * 3


@pytest.mark.parametrize(
  "seed, options, task",
  [(4, None, 4), (4, {"level": 2}, "seed=4, level=2"), (None, {"a": 1}, "a=1")],
)
def test_the_task_is_the_seed_and_the_options(seed, options, task):
  recorder = gym.record(Corridor())
  recorder.reset(seed=seed, options=options)
  for _ in range(3):
    recorder.step(RIGHT)
  assert set(recorder.table()["task"]) == {task}


def test_episodes_without_a_task_or_an_end_are_counted():
  recorder = gym.record(Corridor())
  recorder.reset()
  recorder.step(RIGHT)
  recorder.reset(seed=1)
  recorder.step(RIGHT)
  recorder.reset(seed=2)
  assert (recorder.log.skipped, recorder.log.unfinished) == (1, 2)
  with pytest.raises(ValueError, match="2 have not ended, 1 had no task"):
    recorder.table()


def test_a_vectors_seeds_count_up_and_masks_choose():
  recorder = gym.record(vector_of(recorders.DISABLED))
  recorder.reset(seed=7)
  for _ in range(3):
    recorder.step(np.array([RIGHT, RIGHT]))
  mask = np.array([False, True])
  options = {"reset_mask": mask}
  recorder.reset(seed=[None, 1], options=options)
  assert options == {"reset_mask": mask}
  with pytest.raises(ValueError, match=r"environments \[0\] are over"):
    recorder.step(np.array([RIGHT, RIGHT]))
  recorder.reset(seed=[30, None], options={"reset_mask": ~mask})
  for _ in range(3):
    recorder.step(np.array([RIGHT, RIGHT]))
  assert sorted(set(recorder.table()["task"])) == [1, 7, 8, 30]


def test_steps_before_a_reset_and_after_an_end_are_refused():
  recorder = gym.record(Corridor())
  with pytest.raises(ValueError, match="reset first"):
    recorder.step(RIGHT)
  recorder.reset(seed=1)
  for _ in range(3):
    recorder.step(RIGHT)
  with pytest.raises(ValueError, match="reset first"):
    recorder.step(RIGHT)
  together = gym.record(vector_of(recorders.NEXT_STEP))
  with pytest.raises(ValueError, match="reset"):
    together.step(np.array([RIGHT, RIGHT]))


def test_a_mode_that_is_not_known_is_asked_for():
  env = vector_of(recorders.NEXT_STEP)
  env.metadata = {}
  with pytest.raises(ValueError, match="autoreset_mode.*None"):
    gym.record(env)
  assert gym.record(env, autoreset_mode="NextStep").mode == "NextStep"


def test_final_observations_must_be_there():
  env = vector_of(recorders.NEXT_STEP)
  recorder = gym.record(env, autoreset_mode="SameStep", task_fn=everything)
  recorder.reset()
  for _ in range(2):
    recorder.step(np.array([RIGHT, RIGHT]))
  with pytest.raises(ValueError, match="final_obs"):
    recorder.step(np.array([RIGHT, RIGHT]))


def test_without_the_extra_its_command_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "gymnasium.spaces", None)
  monkeypatch.delitem(sys.modules, observations.__name__)
  with pytest.raises(ImportError, match=r"graphgpo-jax\[gym\]"):
    importlib.import_module(observations.__name__)


def test_collect_wants_seeds():
  for seeds, rollouts in (([], 1), ([1], 0)):
    with pytest.raises(ValueError, match="at least one"):
      gym.collect(Corridor(), seeds, rollouts=rollouts)
