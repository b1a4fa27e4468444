"""Node numbers of texts against a dict per group."""

import numpy as np
import pytest

import graphgpo_jax
from graphgpo_jax.tables import table_states, text_nodes


def numbered(groups, finals):
  """Arguments of `group_nodes` from lists of texts, a list for each group."""
  observations = [text for group in groups for text in group]
  ends = [text for group in finals for text in group]
  heads = np.cumsum([0] + [len(group) for group in groups[:-1]])
  owner = np.repeat(np.arange(len(finals)), [len(group) for group in finals])
  found = text_nodes.number_texts(observations, ends)
  return found, text_nodes.group_nodes(*found, heads, owner)


def by_dict(groups, finals):
  """Nodes of the same, numbered group by group, observations first."""
  nodes, ends = [], []
  for group, last in zip(groups, finals, strict=True):
    known = {}
    for texts, found in ((group, nodes), (last, ends)):
      found += [known.setdefault(text, len(known) + 1) for text in texts]
  return nodes, ends


def random_groups(seed, num_groups=6, states=5):
  rng = np.random.default_rng(seed)
  draw = lambda group, number: [  # noqa: E731
    f"group {group}, room {room}" for room in rng.integers(0, states, number)
  ]
  groups = [draw(g, rng.integers(1, 9)) for g in range(num_groups)]
  return groups, [draw(g, rng.integers(0, 4)) for g in range(num_groups)]


@pytest.mark.parametrize("seed", range(20))
def test_nodes_equal_a_dict_for_each_group(seed):
  groups, finals = random_groups(seed)
  _, found = numbered(groups, finals)
  expected = by_dict(groups, finals)
  assert found[0].tolist() == expected[0]
  assert found[1].tolist() == expected[1]


@pytest.mark.parametrize(
  "groups, finals",
  [
    ([["a", "b"], ["c", "a"]], [[], []]),
    ([["a", "b"], ["a", "b"]], [[], []]),
    ([["a"], ["b"]], [["c"], ["c"]]),
    ([["a"], ["b"]], [["b"], []]),
    ([["a"], ["b"]], [[], ["a"]]),
    ([["a"], ["b"], ["c"]], [["x"], ["y"], ["x"]]),
  ],
)
def test_shared_states_are_left_to_sorting(groups, finals):
  (observations, ends), found = numbered(groups, finals)
  assert found is None
  texts = [text for part in (*groups, *finals) for text in part]
  numbers = [*observations.tolist(), *ends.tolist()]
  assert len(set(zip(texts, numbers, strict=True))) == len(set(texts))


@pytest.mark.parametrize("wrong", [None, 1, b"a", ["a"], np.str_("c")])
def test_only_texts_are_numbered(wrong):
  assert text_nodes.number_texts(["a", "b", wrong], []) is None
  assert text_nodes.number_texts(["a", "b"], ["a", wrong]) is None
  assert text_nodes.number_texts(["a", "\ud800"], []) is not None


def table(name):
  """Three rollouts of two tasks; `name(task, room)` is the observation."""
  names = ["task", "trajectory", "t", "observation", "next_observation"]
  columns = {key: [] for key in [*names, "success"]}
  paths = [[0, 1, 2], [0, 2, 1, 3], [1, 1, 0, 2]]
  for task in range(2):
    for trajectory, path in enumerate(paths):
      for t, (here, there) in enumerate(zip(path, path[1:], strict=False)):
        columns["task"].append(task)
        columns["trajectory"].append(trajectory)
        columns["t"].append(t)
        columns["observation"].append(name(task, here))
        columns["next_observation"].append(name(task, there))
        columns["success"].append(trajectory == 1)
  return columns


@pytest.mark.parametrize(
  "name",
  [
    lambda task, room: f"task {task}, room {room}",
    lambda task, room: f"room {room}",
    lambda task, room: f"room {room}" if room else f"task {task}",
    lambda task, room: None if room == 3 else f"task {task}, room {room}",
    lambda task, room: f"room {room}".encode(),
  ],
)
def test_credit_does_not_depend_on_how_states_are_told(name):
  expected = graphgpo_jax.assign_credit(table(lambda task, room: room))
  found = graphgpo_jax.assign_credit(table(name))
  for column, values in expected.items():
    np.testing.assert_array_equal(found[column], values)


@pytest.mark.parametrize("shared", [False, True])
def test_texts_of_separate_tasks_need_no_sorting(shared):
  columns = table(lambda task, room: f"{'' if shared else task}:{room}")
  task = np.asarray(columns["task"])
  trajectory = np.asarray(columns["trajectory"])
  starts = np.ones(len(task), bool)
  starts[1:] = (task[1:] != task[:-1]) | (trajectory[1:] != trajectory[:-1])
  states = table_states.read_states(
    table_states.InputRows(columns, None),
    starts,
    task,
    np.asarray(columns["success"]),
  )
  assert states.numbered is not shared
