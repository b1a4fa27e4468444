"""A task's graph, its layout and its advantages."""

import numpy as np
import pytest

import graphgpo_jax
from graphgpo_jax.credit import estimators
from graphgpo_jax.report import advantages, graph_layout, task_graph
from tests.report import made_runs


def made(**options):
  rows = made_runs.walk(**{"states": 7, **options})
  return rows, task_graph.build_graph(made_runs.columns(rows))


@pytest.mark.parametrize("seed", range(3))
def test_distances_are_those_of_assign_credit(seed):
  rows, graph = made(seed=seed)
  credit = graphgpo_jax.assign_credit(made_runs.columns(rows), "grpo")
  finite = np.isfinite(graph.distance)
  for ends, name in (
    (graph.source, "distance"),
    (graph.target, "next_distance"),
  ):
    known = finite[ends]
    np.testing.assert_allclose(graph.distance[ends][known], credit[name][known])
  closer = credit["next_distance"] < credit["distance"]
  np.testing.assert_array_equal(graph.progress, closer)


def test_steps_nodes_and_edges_fit_together():
  rows, graph = made()
  assert len(graph.source) == len(rows)
  np.testing.assert_array_equal(graph.edge_source[graph.edge], graph.source)
  np.testing.assert_array_equal(graph.edge_target[graph.edge], graph.target)
  for step, row in enumerate(rows):
    assert graph.node_text[graph.source[step]] == row["picture"]
    assert graph.action_text[step] == row["action_text"]
  wins = graph.success & graph.last
  assert (graph.target[wins] == task_graph.SUCCESS).all()
  assert (graph.target[~wins] != task_graph.SUCCESS).all()


def test_two_actions_between_the_same_states_are_two_edges():
  rows = made_runs.walk(states=50, rollouts=2, length=3)
  for time, row in enumerate(rows):
    row |= {"observation": "a", "next_observation": "a", "action": time}
  graph = task_graph.build_graph(made_runs.columns(rows))
  assert len(graph.edge_source) == 6
  assert len(graph.node_text) == 2


def test_rewards_that_are_missing_are_those_of_training():
  rows = made_runs.walk(states=7)
  table = made_runs.columns(rows)
  del table["reward"], table["episode_return"], table["action"]
  graph = task_graph.build_graph(table)
  np.testing.assert_array_equal(graph.episode_return, graph.success)
  assert graph.reward.sum() == graph.success[graph.last].sum()


def test_several_tasks_are_refused():
  rows = made_runs.walk(states=5) + made_runs.walk(states=5, group=1)
  with pytest.raises(ValueError, match="one task"):
    task_graph.build_graph(made_runs.columns(rows))


@pytest.mark.parametrize("states", [7, 60])
def test_layout_has_a_column_for_each_distance(states):
  _, graph = made(states=states)
  layout = graph_layout.place_nodes(graph)
  assert len(set(zip(layout.x, layout.y, strict=True))) == len(layout.x)
  # The nearer to success, the further right; unreachable ones left of all.
  finite = np.isfinite(graph.distance)
  others = np.arange(len(finite)) != task_graph.SUCCESS
  assert layout.x[task_graph.SUCCESS] > layout.x[others].max()
  for far in np.unique(graph.distance[finite & others]):
    here = finite & others & (graph.distance == far)
    assert len(np.unique(layout.x[here])) == 1
    further = finite & others & (graph.distance > far)
    assert not further.any() or layout.x[further].max() < layout.x[here].min()
  if finite[others].any() and not finite.all():
    gap = layout.x[finite].min() - layout.x[~finite].max()
    assert gap > 1.5


def test_a_crowded_column_is_folded():
  rows = []
  for place in range(300):
    row = made_runs.walk(states=9, rollouts=1, length=1)[0]
    row |= {"observation": place, "success": True, "trajectory": place}
    rows.append(row)
  graph = task_graph.build_graph(made_runs.columns(rows))
  layout = graph_layout.place_nodes(graph)
  assert len(np.unique(layout.x)) > 5
  assert np.ptp(layout.y) < 30
  assert len(layout.columns) == 2


def test_advantages_are_those_of_assign_credit():
  names = ["grpo", "gigpo", "graphgpo"]
  options = {name: advantages.default_options(name) for name in names}
  options["graphgpo"]["omega"] = 0.4
  rows, graph = made()
  check(rows, graph, options)


@pytest.mark.slow
def test_advantages_of_all_estimators_are_those_of_assign_credit():
  options = {
    name: advantages.default_options(name) for name in estimators.ESTIMATORS
  }
  rows, graph = made(states=9, seed=2)
  check(rows, graph, options)


def check(rows, graph, options):
  size = advantages.padded_size(len(rows), len(graph.trajectory))
  found = advantages.all_advantages(graph, options, size=size)
  assert list(found) == list(options)
  for name, values in found.items():
    wanted = graphgpo_jax.assign_credit(
      made_runs.columns(rows), name, **options[name]
    )["advantage"]
    assert np.abs(wanted).max() > 0.0, name
    np.testing.assert_allclose(values, wanted, atol=2e-3, err_msg=name)
