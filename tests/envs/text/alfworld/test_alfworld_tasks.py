import itertools

import pytest

from graphgpo_jax.envs.text import alfworld
from graphgpo_jax.envs.text.alfworld import tasks


def test_sides_are_disjoint_and_one_in_eight_is_for_evaluation():
  train = set(alfworld.task_ids(side="train", count=2100))
  evaluation = set(alfworld.task_ids(side="evaluation", count=300))
  assert len(train) == 2100 and len(evaluation) == 300
  assert not train & evaluation
  sides = [
    tasks.GeneratedTask(alfworld.TASK_TYPES[0], number).side
    for number in range(4000)
  ]
  assert 0.1 < sides.count("evaluation") / 4000 < 0.15


def test_types_take_turns():
  ids = alfworld.task_ids(side="train", count=12)
  types = [task_id.split("/")[1] for task_id in ids]
  assert types == list(alfworld.TASK_TYPES) * 2


def test_types_can_be_chosen():
  chosen = ("pick_two_obj_and_place",)
  ids = alfworld.task_ids(side="evaluation", task_types=chosen, count=3)
  assert [task_id.split("/")[1] for task_id in ids] == list(chosen) * 3


def test_ids_are_the_same_everywhere():
  assert alfworld.task_ids(side="evaluation", count=3) == (
    "generated/pick_and_place_simple/11",
    "generated/look_at_obj_in_light/0",
    "generated/pick_clean_then_place_in_recep/4",
  )


def test_an_id_is_read_as_it_is_written():
  for task_id in itertools.islice(tasks.generated_ids(side="train"), 20):
    assert tasks.parse_generated(task_id).id == task_id


@pytest.mark.parametrize(
  "task_id",
  [
    "generated/pick_and_place_simple",
    "generated/pick_and_place_simple/",
    "generated/pick_and_place_simple/-1",
    "generated/pick_and_place_simple/007",
    "generated/pick_and_place_simple/٣",
    "generated/pick_and_place_simple/1/2",
    "generated/sweep_the_floor/1",
    "downloaded/pick_and_place_simple/1",
  ],
)
def test_other_ids_are_refused_by_name(task_id):
  with pytest.raises(ValueError, match="no generated ALFWorld task"):
    tasks.parse_generated(task_id)


@pytest.mark.parametrize(
  ("wrong", "message"),
  [
    ({"side": "test"}, "no side 'test'"),
    ({"side": "train", "task_types": ("sweep",)}, "sweep"),
    ({"side": "train", "task_types": ()}, "expected some of"),
    ({"side": "train", "source": "thin air"}, "no source 'thin air'"),
    ({"side": "train", "count": -1}, "count must not be negative"),
  ],
)
def test_wrong_lists_are_refused(wrong, message):
  with pytest.raises(ValueError, match=message):
    alfworld.task_ids(**wrong)
