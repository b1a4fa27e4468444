"""Generated games, with the package's own tables, domain and planner."""

import hashlib
import json

import pytest

from graphgpo_jax.envs.text import alfworld
from graphgpo_jax.envs.text.alfworld import games, generator, tasks
from graphgpo_jax.envs.text.types import TextWorldError
from tests.envs.text.alfworld import small_rooms

pytestmark = pytest.mark.extra("text")


@pytest.fixture(scope="module", autouse=True)
def _packages():
  for module in ("fast_downward", "textworld"):
    pytest.importorskip(module, reason=f"the extra [text] has {module}")


def test_games_are_the_same_everywhere():
  digest = hashlib.sha256()
  for task_type in alfworld.TASK_TYPES:
    game, trajectory = generator.game_data(tasks.GeneratedTask(task_type, 5))
    text = game["pddl_problem"] + json.dumps(trajectory, sort_keys=True)
    digest.update(text.encode())
  assert (
    digest.hexdigest()
    == "81116dff6a9ad41fe8dccf846a35c710c9de83d8232285c784d7c399a18138ff"
  )


def test_layouts_of_the_two_sides_differ():
  layouts = {
    side: {
      repr(generator.layout_of(tasks.parse_generated(task_id)))
      for task_id in alfworld.task_ids(side=side, count=120)
    }
    for side in ("train", "evaluation")
  }
  assert len(layouts["train"]) == len(layouts["evaluation"]) == 120
  assert not layouts["train"] & layouts["evaluation"]


def test_rooms_have_real_sizes_with_the_packages_tables():
  for task_id in alfworld.task_ids(side="train", count=120):
    layout = generator.layout_of(tasks.parse_generated(task_id))
    assert 10 <= len(layout.receptacles) <= 30
    assert 20 <= len(layout.things) <= 60


@pytest.mark.parametrize("count", [1, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize("task_type", alfworld.TASK_TYPES)
def test_the_planner_solves_every_game(task_type, count):
  for number in range(count):
    game, _ = generator.game_data(tasks.GeneratedTask(task_type, number))
    assert 3 <= len(generator.solve(game)) <= 20


def test_a_game_that_the_planner_cannot_solve_is_no_game():
  game = small_rooms.game("pick_and_place_simple", "unsolvable")
  game["pddl_problem"] = game["pddl_problem"].replace(
    "(canContain CounterTopType AppleType)\n", ""
  )
  with pytest.raises(TextWorldError, match="goal cannot be reached"):
    generator.solve(game)


@pytest.mark.parametrize("keep", [False, True])
def test_a_generated_game_is_solved_before_it_is_played(
  keep, tmp_path, monkeypatch
):
  """In memory as with a cache: one plan a game, and no game without one."""
  sound, broken = (
    tasks.GeneratedTask("pick_and_place_simple", 9_000_000 + number + 2 * keep)
    for number in range(2)
  )
  plans = []

  def game_data(task):
    game = small_rooms.game(task.task_type, task.id)
    if task == broken:
      game["pddl_problem"] = game["pddl_problem"].replace(
        "(canContain CounterTopType AppleType)\n", ""
      )
    return game, {}

  def solve(game, real=generator.solve):
    plans.append(game["pddl_problem"])
    return real(game)

  monkeypatch.setattr(generator, "game_data", game_data)
  monkeypatch.setattr(generator, "solve", solve)
  cache = tmp_path if keep else None
  world = alfworld.make(cache=cache)
  try:
    first = world.reset(sound.id)
    for command in games.game_of(sound.id, cache=cache, data=None)[
      "walkthrough"
    ]:
      step = world.step(command)
    assert step.success
    assert world.reset(sound.id) == first
    assert len(plans) == 1
    for _ in range(2):
      with pytest.raises(
        TextWorldError, match=f"{broken.id} is no game .*cannot be reached"
      ):
        world.reset(broken.id)
    # The engine goes on, and nothing unsolved stays on the disk.
    assert world.reset(sound.id) == first
  finally:
    world.close()
  names = {path.name for path in tmp_path.rglob("*.tw-pddl")}
  assert names == ({generator.GAME_FILE} if keep else set())
  assert not (tmp_path / broken.id / generator.GAME_FILE).exists()


def test_files_are_written_once_and_played(tmp_path):
  task = tasks.GeneratedTask("pick_and_place_simple", 3)
  world = alfworld.make(cache=tmp_path)
  first = world.reset(task.id)
  path = tmp_path / task.id / "game.tw-pddl"
  written = path.stat().st_mtime_ns
  for command in json.loads(path.read_text())["walkthrough"]:
    step = world.step(command)
  assert step.success
  trajectory = json.loads((path.parent / "traj_data.json").read_text())
  assert trajectory["task_type"] == task.task_type
  assert trajectory["task_id"] == task.id
  world.close()
  in_memory = alfworld.make()
  assert generator.write_game(task, tmp_path) == path
  assert path.stat().st_mtime_ns == written
  assert in_memory.reset(task.id) == first
  in_memory.close()
  assert sorted(file.name for file in path.parent.iterdir()) == [
    "game.tw-pddl",
    "traj_data.json",
  ]


def test_tasks_that_are_not_there_are_named(tmp_path):
  world = alfworld.make(cache=tmp_path)
  with pytest.raises(ValueError, match="no generated ALFWorld task"):
    world.reset("generated/pick_and_place_simple/../1")
  world.close()
  assert not list(tmp_path.iterdir())
