"""TextWorld: games made on this machine and played."""

import json
import pathlib
import random

import pytest

from graphgpo_jax.envs.text import textworld
from graphgpo_jax.envs.text.textworld import maker
from graphgpo_jax.envs.text.types import TextWorldError

pytestmark = [pytest.mark.extra("text"), pytest.mark.slow]
pytest.importorskip("textworld.generator", reason="needs the package textworld")

COIN = "coin_collector/level=3/3"
GAMES = [
  COIN,
  "treasure_hunter/level=2/3",
  "cooking/cook=1,cut=1,go=6,open=1,recipe=1,take=1/8",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("games")


@pytest.fixture
def world(folder):
  environment = textworld.make(folder=folder)
  yield environment
  environment.close()


def play(environment, task, *, seed):
  """A random episode: its steps."""
  choice = random.Random(seed)
  steps = [environment.reset(task)]
  while not steps[-1].done:
    action = choice.choice(steps[-1].admissible_actions)
    steps.append(environment.step(action))
  return steps


@pytest.mark.parametrize("task", GAMES)
def test_walkthrough_solves_and_replays_are_identical(world, folder, task):
  path = maker.game_file(task, folder=folder)
  game = json.loads(path.with_suffix(".json").read_text())
  step = world.reset(task)
  assert step.task and step.task not in step.observation
  for command in game["metadata"]["walkthrough"]:
    assert not step.done
    step = world.step(command)
    assert step.action_valid, command
  assert step.success and step.reward > 0
  first = play(world, task, seed=1)
  assert first == play(world, task, seed=1)
  # The status line, which counts moves, is no part of what is said.
  assert not any(">  " in step.observation for step in first)


@pytest.mark.parametrize(
  "command", ["undo", "restart", "quit", "save", "go north. go east", "", "xx"]
)
def test_only_admissible_commands_reach_the_interpreter(world, command):
  before = world.reset(COIN)
  after = world.step(command)
  assert not after.action_valid and after.facts == before.facts
  assert world.step("LOOK").action_valid


def test_same_game_whatever_the_salt(folder, tmp_path, monkeypatch):
  monkeypatch.setenv("PYTHONHASHSEED", "7")
  again = maker.game_file(GAMES[2], folder=tmp_path)
  monkeypatch.undo()
  first = maker.game_file(GAMES[2], folder=folder)
  for suffix in (".json", ".z8"):
    one, other = (p.with_suffix(suffix).read_bytes() for p in (first, again))
    assert one == other, suffix


def test_broken_game(world, folder):
  world.reset(COIN)
  world.close()
  path = pathlib.Path(maker.game_file(COIN, folder=folder))
  whole = path.read_bytes()
  path.write_bytes(whole[:1000])
  try:
    with pytest.raises(TextWorldError, match="broken"):
      world.reset(COIN)
  finally:
    path.write_bytes(whole)
  assert world.reset(COIN).observation


def test_no_such_task(world):
  with pytest.raises(ValueError, match="no such task"):
    world.reset("coin_collector/level=301/3")


def test_maker_that_is_too_slow(tmp_path):
  with pytest.raises(TextWorldError, match="within 0.01 s"):
    maker.game_file(COIN, folder=tmp_path, timeout_seconds=0.01)
  assert list(tmp_path.iterdir()) == []
