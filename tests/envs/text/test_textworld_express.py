"""TextWorldExpress through its engine."""

import os
import random
import signal

import pytest

from graphgpo_jax.envs.text import textworld_express
from graphgpo_jax.envs.text.textworld_express import games
from graphgpo_jax.envs.text.types import TextWorldError
from tests.envs.text.java import needs_java

pytestmark = [pytest.mark.extra("text"), needs_java]
pytest.importorskip(
  "textworld_express", reason="needs the package textworld-express"
)

COIN = "coin/includeDoors=0,numLocations=5/17"


@pytest.fixture(scope="module")
def world():
  environment = textworld_express.make(max_steps=30)
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


@pytest.mark.parametrize("game", sorted(games.PARAMETERS))
def test_replay_is_identical(world, game):
  task = f"{game}/default/20003"
  first = play(world, task, seed=1)
  assert first == play(world, task, seed=1)
  assert len(first) > 1 and first[0].task
  assert all(step.action_valid for step in first)


def test_random_play_finds_coins(world):
  ends = [play(world, COIN, seed=seed)[-1] for seed in range(20)]
  assert any(step.success for step in ends)
  for step in ends:
    assert step.success == step.terminated == (step.reward == 1.0)
    assert step.truncated != step.terminated


def test_a_command_that_is_not_understood_costs_a_step(world):
  before = world.reset(COIN)
  after = world.step("dance")
  assert not after.action_valid and after.facts == before.facts
  for _ in range(29):
    assert not after.done
    after = world.step("dance")
  assert after.truncated
  with pytest.raises(ValueError, match="call reset"):
    world.step("dance")


@pytest.mark.parametrize(
  "task",
  ["coin/numLocations=99/3", "coin/rooms=3/3", "coin/default/5000"]
  + ["chess/default/3", "coin"],
)
def test_no_such_task(world, task):
  with pytest.raises(ValueError, match="no such task"):
    world.reset(task)
  # And the world can go on.
  assert world.reset(COIN).observation


def test_true_state_of_cookingworld():
  environment = textworld_express.make(true_state=True)
  try:
    with pytest.raises(ValueError, match="cookingworld only"):
      environment.reset(COIN)
    state_key = textworld_express.STATE_KEYS["true"]
    first = environment.reset("cookingworld/default/3")
    looked = environment.step("look around")
    assert state_key(looked) == state_key(first)
    taken = environment.step(
      next(a for a in looked.admissible_actions if a.startswith("take"))
    )
    assert state_key(taken) != state_key(first)
  finally:
    environment.close()


def ended(process_id):
  """No such process any more; one that was killed is also waited for."""
  try:
    os.kill(process_id, 0)
  except ProcessLookupError:
    return True
  return False


def test_close_kills_the_engine():
  environment = textworld_express.make()
  environment.reset(COIN)
  process_id = environment.process_id
  environment.close()
  environment.close()
  assert ended(process_id)
  with pytest.raises(TextWorldError, match="has ended"):
    environment.reset(COIN)


def test_killed_engine_is_an_error():
  environment = textworld_express.make()
  environment.reset(COIN)
  os.kill(environment.process_id, signal.SIGKILL)
  with pytest.raises(TextWorldError, match="failed"):
    environment.step("inventory")
  with pytest.raises(TextWorldError, match="has ended"):
    environment.step("inventory")
  environment.close()


@pytest.mark.slow
def test_hung_engine_is_an_error_and_is_killed():
  environment = textworld_express.make(timeout_seconds=20)
  environment.reset(COIN)
  process_id = environment.process_id
  engine = environment._engine
  # Not by a signal, which another program might take back.
  sleep = engine._gateway.jvm.java.lang.Thread.sleep
  with pytest.raises(TextWorldError, match="a sleep failed"):
    engine._guarded("a sleep", sleep, 300_000)
  assert ended(process_id)
  with pytest.raises(TextWorldError, match="has ended"):
    environment.step("inventory")


def test_heap_that_is_too_small():
  with pytest.raises(TextWorldError, match="did not start.*heap"):
    textworld_express.make(heap_megabytes=1)


@pytest.mark.parametrize(
  "options",
  [{"heap_megabytes": 0}, {"timeout_seconds": 0}, {"max_steps": 0}],
)
def test_bad_options(options):
  with pytest.raises(ValueError, match="positive"):
    textworld_express.make(**options)


def test_names_of_parameters_are_the_engines(world):
  engine = world._engine
  for game, names in games.PARAMETERS.items():
    said = engine.call("load", game, "nothing=1")
    known = said.split("Known properties:")[1].strip(" .\n")
    # The engine says "None" in place of a game's lack of names, and in one game
    # after the names as well.
    listed = [name for name in known.removesuffix("None").split(", ") if name]
    assert sorted(listed) == sorted(names), said
  world._loaded = None


def test_the_gold_path_is_an_expert():
  environment = textworld_express.make(max_steps=30, gold_paths=True)
  step = environment.reset(COIN)
  while not step.done:
    step = environment.step(environment.plan()[0])
  assert step.success
  step = environment.reset(COIN)
  aside = next(
    action
    for action in step.admissible_actions
    if action != environment.plan()[0]
  )
  environment.step(aside)
  with pytest.raises(ValueError, match="gold path was left"):
    environment.plan()
  environment.close()


def test_no_gold_path_unless_asked_for(world):
  world.reset(COIN)
  with pytest.raises(ValueError, match="gold_paths=True"):
    world.plan()
