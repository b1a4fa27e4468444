"""ScienceWorld through its engine."""

import os
import random
import signal

import pytest

from graphgpo_jax.envs.text import scienceworld, state_keys
from graphgpo_jax.envs.text.scienceworld import tasks
from graphgpo_jax.envs.text.types import TextWorldError
from tests.envs.text.java import needs_java

pytestmark = [pytest.mark.extra("text"), pytest.mark.slow, needs_java]
library = pytest.importorskip(
  "scienceworld", reason="needs the package scienceworld"
)

TASK = "boil/easy/3"


@pytest.fixture(scope="module")
def world():
  environment = scienceworld.make()
  yield environment
  environment.close()


@pytest.fixture(scope="module")
def telling():
  environment = scienceworld.make(admissible_actions=True, true_state=True)
  yield environment
  environment.close()


def lines(text):
  return state_keys.sorted_lines(text)


@pytest.mark.parametrize("task", ["find-plant", "chemistry-mix"])
def test_gold_path_solves_and_says_what_the_stock_one_says(world, task):
  stock = library.ScienceWorldEnv("", envStepLimit=100)
  try:
    stock.load(task, 0, "easy", generateGoldPath=True)
    gold = stock.get_gold_action_sequence()
    wanted, _ = stock.reset()
    found = world.reset(f"{task}/easy/0")
    assert lines(found.observation) == lines(wanted)
    assert found.task == stock.get_task_description()
    for command in gold:
      wanted, reward, done, infos = stock.step(command)
      found = world.step(command)
      assert lines(found.observation) == lines(wanted)
      assert (found.reward, found.terminated) == (reward, done)
      assert lines(found.facts["look"]) == lines(infos["look"])
      assert lines(found.facts["inventory"]) == lines(infos["inv"])
      if done:
        break
    assert found.success
  finally:
    stock.close()


def test_keys_of_replays_are_equal(telling):
  first = telling.reset(TASK)
  choice = random.Random(0)
  commands, seen = [], [first]
  # Rooms only: which of its names a thing is called by changes by chance.
  for _ in range(5):
    places = [
      a for a in seen[-1].admissible_actions if a.startswith("teleport to")
    ]
    commands.append(choice.choice(places))
    seen.append(telling.step(commands[-1]))
  again = [telling.reset(TASK)] + [telling.step(c) for c in commands]
  for kind in ("recipe", "surroundings", "observation"):
    state_key = scienceworld.STATE_KEYS[kind]
    assert [*map(state_key, seen)] == [*map(state_key, again)], kind
  true = scienceworld.STATE_KEYS["true"]
  assert true(seen[0]) == true(again[0]) != true(seen[1])


def test_question_is_answered_with_a_number(telling):
  telling.reset(TASK)
  telling.step("teleport to kitchen")
  asked = telling.step("eat orange")
  assert asked.observation.startswith("Ambiguous request")
  assert asked.admissible_actions[:2] == ("0", "1")
  assert "delicious" in telling.step("0").observation


def test_a_command_that_is_not_understood(world):
  before = world.reset(TASK)
  after = world.step("fly to the moon")
  assert not after.action_valid
  assert lines(after.facts["look"]) == lines(before.facts["look"])
  assert after.admissible_actions == ()


def test_wrong_focus_ends_the_episode(world):
  world.reset(TASK)
  step = world.step("focus on air")
  assert step.terminated and not step.success and step.reward < 0
  with pytest.raises(ValueError, match="call reset"):
    world.step("look around")


def test_no_such_task(world):
  with pytest.raises(ValueError, match="no such task"):
    world.reset("boil/easy/30")


def test_variations_are_the_engines(world):
  for task, sizes in tasks.VARIATIONS.items():
    world._engine.call("load", task, 0, "", False)
    first = 0
    for fold, size in zip(("Train", "Dev", "Test"), sizes, strict=True):
      listed = list(world._engine.call(f"getVariations{fold}"))
      assert listed == list(range(first, first + size)), task
      first += size


def test_killed_engine_is_an_error():
  environment = scienceworld.make()
  environment.reset(TASK)
  os.kill(environment.process_id, signal.SIGKILL)
  with pytest.raises(TextWorldError, match="failed"):
    environment.step("look around")
  environment.close()
