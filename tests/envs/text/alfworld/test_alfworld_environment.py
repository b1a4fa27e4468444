"""ALFWorld as a text environment, over the real engine."""

import json
import random

import pytest

from graphgpo_jax.envs.text import alfworld
from graphgpo_jax.envs.text.alfworld import fast_engine
from graphgpo_jax.envs.text.types import TextWorldError
from tests.envs.text.alfworld import small_rooms

pytestmark = pytest.mark.extra("text")


@pytest.fixture(scope="module", autouse=True)
def _packages():
  for module in ("fast_downward", "textworld"):
    pytest.importorskip(module, reason=f"the extra [text] has {module}")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  """A small game of each type, where downloaded games would be."""
  root = tmp_path_factory.mktemp("games")
  for task_type in alfworld.TASK_TYPES:
    folder = root / "train" / task_type
    folder.mkdir(parents=True)
    game = small_rooms.game(task_type, "env")
    (folder / "game.tw-pddl").write_text(json.dumps(game))
    trajectory = {"task_type": task_type}
    (folder / "traj_data.json").write_text(json.dumps(trajectory))
  return root


@pytest.fixture
def world(data):
  world = alfworld.make(data=data, max_steps=30)
  yield world
  world.close()


@pytest.mark.parametrize("task_type", alfworld.TASK_TYPES)
def test_every_type_is_solved_by_the_plan(world, task_type):
  step = world.reset(f"train/{task_type}")
  assert "apple" in step.task and "Your task" not in step.observation
  assert not step.done and step.reward == 0
  for command in world.plan():
    assert not step.done
    step = world.step(command)
    assert step.action_valid
  assert step.success and step.terminated and step.reward == 1
  assert not step.truncated
  with pytest.raises(ValueError, match="no episode is going on"):
    world.step("look")


def test_facts_follow_the_agent(world):
  step = world.reset("train/pick_and_place_simple")
  assert step.facts["location"] == "the middle of the room"
  assert step.facts["holdings"] == "nothing"
  seen = [step.facts]
  for command in world.plan():
    step = world.step(command)
    seen.append(step.facts)
    if command.startswith("go to "):
      assert step.facts["location"] == command.removeprefix("go to ")
    if command.startswith("take "):
      assert step.facts["holdings"] == command[5:].split(" from ")[0]
  assert step.facts["location"] == "countertop 1"
  assert len({facts["true_state"] for facts in seen}) == len(seen)


def test_true_state_is_of_what_changes_alone(world):
  step = world.reset("train/pick_and_place_simple")
  before = step.facts["true_state"].splitlines()
  assert "atlocation(agent1, loc_start)" in before
  assert not any(
    line.startswith(("checked", "not_", "cancontain", "objecttype"))
    for line in before
  )
  for command in ("look", "inventory", "help", "sing"):
    step = world.step(command)
    assert step.facts["true_state"].splitlines() == before


def test_one_true_state_and_action_have_one_outcome(world):
  rng = random.Random(0)
  outcomes = {}
  repeats = 0
  for _ in range(12):
    step = world.reset("train/pick_heat_then_place_in_recep")
    while not step.done:
      command = rng.choice(step.admissible_actions)
      key = (step.facts["true_state"], command)
      step = world.step(command)
      repeats += key in outcomes
      known = outcomes.setdefault(key, step.facts["true_state"])
      assert known == step.facts["true_state"]
  assert repeats > 20


def test_an_unknown_command_changes_nothing_but_the_clock(world):
  before = world.reset("train/look_at_obj_in_light")
  step = world.step("open the window")
  assert step.observation == "Nothing happens." and not step.action_valid
  assert step.admissible_actions == before.admissible_actions
  assert step.facts == before.facts
  for _ in range(29):
    assert not step.done
    step = world.step("dance")
  assert step.truncated and not step.terminated and not step.success


def test_admissible_commands_are_sorted_and_valid(world):
  step = world.reset("train/pick_two_obj_and_place")
  assert list(step.admissible_actions) == sorted(step.admissible_actions)
  for command in step.admissible_actions[:20]:
    world.reset("train/pick_two_obj_and_place")
    assert world.step(command).action_valid


def test_seeds_and_machines_make_no_difference(world, data):
  other = alfworld.make(data=data)
  first = world.reset("train/pick_and_place_simple", seed=1)
  assert other.reset("train/pick_and_place_simple", seed=2) == first
  other.close()


def test_games_come_back_after_others(world):
  ids = [f"train/{task_type}" for task_type in alfworld.TASK_TYPES]
  first = [world.reset(task_id) for task_id in ids]
  assert [world.reset(task_id) for task_id in ids] == first


def test_steps_need_an_episode(world):
  with pytest.raises(ValueError, match="no episode is going on"):
    world.step("look")
  with pytest.raises(ValueError, match="no episode is going on"):
    world.plan()
  world.reset("train/pick_and_place_simple")
  with pytest.raises(ValueError, match="no ALFWorld task 'train/none'"):
    world.reset("train/none")
  with pytest.raises(ValueError, match="no episode is going on"):
    world.step("look")


def test_a_broken_game_is_named(data, world):
  folder = data / "broken"
  folder.mkdir()
  (folder / "game.tw-pddl").write_text('{"pddl_domain": "("}')
  with pytest.raises(TextWorldError, match="broken: the game lacks its"):
    world.reset("broken")


def test_a_game_that_is_won_from_the_start_is_no_game(data, world):
  folder = data / "won"
  folder.mkdir()
  game = small_rooms.game("pick_and_place_simple", "won")
  game["pddl_problem"] = game["pddl_problem"].replace(
    "(:init", "(:init (inReceptacle Apple_bar_00 CounterTop_bar_00)"
  )
  (folder / "game.tw-pddl").write_text(json.dumps(game))
  with pytest.raises(TextWorldError, match="won: .* holds from the start"):
    world.reset("won")


def test_closing_may_be_repeated(data):
  world = alfworld.make(data=data)
  world.reset("train/pick_and_place_simple")
  world.close()
  world.close()
  with pytest.raises(ValueError, match="no episode"):
    world.step("look")


def test_a_step_limit_must_be_positive():
  with pytest.raises(ValueError, match="max_steps must be positive, got 0"):
    alfworld.make(max_steps=0)


def test_without_the_package_the_extra_is_named(monkeypatch):
  import sys

  monkeypatch.setitem(sys.modules, "fast_downward", None)
  with pytest.raises(ImportError, match=r"graphgpo-jax\[text\]"):
    alfworld.make()


def test_environments_of_a_process_share_a_game(world, data, monkeypatch):
  other = alfworld.make(data=data, max_steps=30)
  first = world.reset("train/pick_and_place_simple")
  monkeypatch.setattr(
    fast_engine, "translate", lambda *_: pytest.fail("translated again")
  )
  assert other.reset("train/pick_and_place_simple") == first
  # What one does, the other does not see.
  world.step(first.admissible_actions[0])
  assert other.reset("train/pick_and_place_simple") == first
  assert world.reset("train/pick_and_place_simple") == first
  other.close()
