"""Task ids of the text worlds: one string a task, sides that never meet."""

import itertools

import pytest

from graphgpo_jax.envs.text import registry, task_names
from graphgpo_jax.envs.text.scienceworld import tasks
from graphgpo_jax.envs.text.textworld import games as textworld_games
from graphgpo_jax.envs.text.textworld_express import games as express_games

EXPRESS = [("textworld_express", {"game": g}) for g in express_games.PARAMETERS]
TEXTWORLD = [("textworld", {"game": g}) for g in textworld_games.PARAMETERS]
MINE = [*EXPRESS, *TEXTWORLD, ("scienceworld", {})]


@pytest.mark.parametrize(("world", "options"), MINE)
def test_sides_never_meet(world, options):
  train = list(registry.task_ids(world, side="train", **options))
  evaluation = list(registry.task_ids(world, side="evaluation", **options))
  assert len(train) >= 100 and len(evaluation) >= 50
  assert len({*train, *evaluation}) == len(train) + len(evaluation)


@pytest.mark.parametrize(("world", "options"), MINE)
def test_no_such_side(world, options):
  with pytest.raises(ValueError, match="expected one of train"):
    registry.task_ids(world, side="holdout", **options)


@pytest.mark.parametrize(
  "task_id",
  ["", "coin", "coin/17", "coin//17", "coin/a=1/x", "coin/a=1/-1", "coin/a/017"]
  + ["../coin/a=1/1", "coin/a=1/1\n", "coin/a b/1"],
)
def test_task_of_another_form(task_id):
  with pytest.raises(ValueError, match="no such task"):
    task_names.parse(task_id)


@pytest.mark.parametrize("parameters", [{}, {"b": 2, "a": 10}])
def test_parameters_there_and_back(parameters):
  text = task_names.format_parameters(parameters)
  assert task_names.parse_parameters(text) == parameters


@pytest.mark.parametrize("text", ["b=1,a=2", "a=1,a=1", "a=01", "a", "a=x", ""])
def test_a_task_has_one_string(text):
  with pytest.raises(ValueError, match="parameters"):
    task_names.parse_parameters(text)


@pytest.mark.parametrize(
  ("seed", "fold"),
  [(0, "train"), (999, "train"), (10_000, "dev"), (20_999, "test")],
)
def test_fold_of_a_seed(seed, fold):
  assert express_games.fold_of(seed) == fold


@pytest.mark.parametrize("seed", [1000, 9_999, 21_000])
def test_seed_of_no_fold(seed):
  with pytest.raises(ValueError, match="in no fold"):
    express_games.fold_of(seed)


@pytest.mark.parametrize(
  ("task_id", "message"),
  [
    ("boil/easy/30", "variations 0 to 29"),
    ("boil/hard/3", "no such simplification"),
    ("boil/openDoors,easy/3", "alphabetical order"),
    ("burn/easy/3", "expected one of boil"),
    ("power-component/noElectricalAction/3", "cannot be done"),
  ],
)
def test_no_such_task_of_scienceworld(task_id, message):
  with pytest.raises(ValueError, match=message):
    tasks.parse(task_id)


def test_first_tasks_of_scienceworld_are_of_all_kinds():
  first = itertools.islice(registry.task_ids("scienceworld", side="train"), 30)
  assert {task.split("/")[0] for task in first} == set(tasks.VARIATIONS)


@pytest.mark.parametrize(
  ("task_id", "message"),
  [
    ("chess/level=1/3", "no such game"),
    ("coin_collector/default/3", "needs the parameter level"),
    ("coin_collector/level=301/3", "1 to 300"),
    ("coin_collector/level=200/3", "more than 100 rooms"),
    ("cooking/go=5/3", "must be one of"),
    ("cooking/take=2/3", "not be larger than recipe"),
    ("cooking/size=2/3", "no parameter 'size'"),
  ],
)
def test_no_such_task_of_textworld(task_id, message):
  with pytest.raises(ValueError, match=message):
    textworld_games.parse(task_id)


def test_side_of_a_textworld_task_is_fixed():
  ids = textworld_games.task_ids(side="evaluation")
  # The panel of the package starts with the same ones on every machine.
  assert ids[:3] == [f"coin_collector/level=5/{seed}" for seed in (15, 17, 18)]
