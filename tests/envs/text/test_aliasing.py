"""Counting states that a key takes for one."""

import subprocess
import sys

import pytest

from experiments import aliasing as binary
from graphgpo_jax.envs.text import aliasing, state_keys
from graphgpo_jax.envs.text.types import TextStep


def test_counts():
  report = aliasing.aliasing_report(
    [
      ("a", "go", "b"),
      ("a", "go", "b"),
      ("b", "go", "c"),
      ("b", "go", "a"),
      ("b", "go", "c"),
      ("c", "go", "a"),
      ("c", "stay", "c"),
    ]
  )
  assert (report.transitions, report.states) == (7, 3)
  assert (report.repeats, report.conflicts) == (2, 1)
  assert report.conflict_share == 0.5
  assert report.examples == (aliasing.Conflict("b", "go", ("c", "a")),)


def test_nothing_at_all():
  report = aliasing.aliasing_report([])
  assert (report.transitions, report.repeats, report.conflict_share) == (
    0,
    0,
    0,
  )


def test_number_of_examples():
  steps = [(key, "go", n) for key in range(5) for n in range(2)]
  assert len(aliasing.aliasing_report(steps, num_examples=2).examples) == 2
  with pytest.raises(ValueError, match="negative"):
    aliasing.aliasing_report([], num_examples=-1)


class TwinRooms:
  """A corridor 0 to 3 whose two middle rooms look the same."""

  name = "twins"

  def __init__(self, actions=("back", "on")):
    self._actions = actions

  def _say(self, **fields):
    observation = "middle" if self._room in (1, 2) else f"end {self._room}"
    return TextStep(
      observation=observation,
      task="go on",
      admissible_actions=self._actions,
      facts={"true_state": str(self._room)},
      **fields,
    )

  def reset(self, task_id, *, seed=0):
    self._room = self._steps = 0
    return self._say()

  def step(self, action):
    self._steps += 1
    self._room = max(0, self._room + (1 if action == "on" else -1))
    solved = self._room == 3
    return self._say(
      terminated=solved, success=solved, truncated=self._steps == 20
    )

  def close(self):
    pass


KEYS = {"true": state_keys.true_key, "observation": state_keys.observation_key}


def test_a_key_that_forgets_conflicts_and_a_true_one_does_not():
  found = binary.play(TwinRooms(), ["t"], KEYS, episodes=20, seed=0)
  reports = {k: aliasing.aliasing_report(rows) for k, rows in found.items()}
  assert reports["true"].repeats == 6 and reports["true"].conflicts == 0
  # "on" from the middle leads to the middle or solves the task, "back" to the
  # middle or to the start.
  assert reports["observation"].conflicts == 2
  assert "observation" in binary.line("observation", reports["observation"])


def test_tasks_are_kept_apart():
  found = binary.play(TwinRooms(), ["t", "u"], KEYS, episodes=20, seed=0)
  assert aliasing.aliasing_report(found["true"]).repeats == 12


def test_a_world_without_a_list_of_actions():
  with pytest.raises(ValueError, match="lists no actions"):
    binary.play(TwinRooms(()), ["t"], KEYS, episodes=1, seed=0)


def test_options_of_the_command_line():
  assert binary._parse(["a=1", "b=twc", "c={'x': 2}", "d=True"]) == {
    "a": 1,
    "b": "twc",
    "c": {"x": 2},
    "d": True,
  }
  with pytest.raises(ValueError, match="name=value"):
    binary._parse(["a"])


def test_the_binary_takes_a_world_and_a_key_by_path():
  done = subprocess.run(
    [
      *(sys.executable, "-m", "experiments.aliasing"),
      "--world=tests.training.coin_world",
      "--key=tests.training.coin_world:floor_key",
      "--episodes=3",
      "--tasks=2",
    ],
    capture_output=True,
    text=True,
    check=True,
  )
  assert "3 random episodes of coin-0, coin-1" in done.stdout
  # Upstairs is the attic alone, but "move up" leads there from the hall only.
  assert "'move up' in coin-" in done.stdout


def test_a_world_that_is_none_is_named():
  done = subprocess.run(
    [sys.executable, "-m", "experiments.aliasing", "--world=zork"],
    capture_output=True,
    text=True,
  )
  assert done.returncode != 0
  assert "no such text world: 'zork'" in done.stderr
