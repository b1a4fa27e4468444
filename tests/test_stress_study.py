"""The stress report: behaviour, study and binary, on small worlds."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.stress_report import arguments, behaviour, study
from experiments.stress_report import groups as groups_lib
from graphgpo_jax.credit import distances, estimators
from graphgpo_jax.credit import rollouts as merging
from graphgpo_jax.envs import true_graph
from graphgpo_jax.envs.sokoban import Sokoban, read_levels
from graphgpo_jax.report import stress_picture

ROOT = pathlib.Path(__file__).parent.parent

ROOMS = """; one
######
#    #
#@$ .#
##   #
######
######

; two
######
#.   #
#  $ #
#   @#
######
######
"""
HORIZON = 15


@functools.cache
def world():
  """Environment, two tasks, their graphs and the expert."""
  environment = Sokoban(height=6, width=6, num_boxes=1, horizon=HORIZON)
  rooms = read_levels(ROOMS, horizon=HORIZON)
  tasks = jax.tree.map(lambda *leaves: np.stack(leaves), *rooms)
  graphs = [true_graph.explore(environment, room) for room in rooms]
  return environment, tasks, graphs, behaviour.make_expert(graphs)


@functools.cache
def played(expert_share):
  environment, tasks, _, expert = world()
  return jax.device_get(
    behaviour.collect(
      environment,
      behaviour.make_behaviour(expert_share=expert_share, mask_actions=False),
      expert,
      tasks,
      jax.random.key(0),
      rollouts_per_task=32,
    )
  )


def test_expert_looks_up_what_is_best():
  _, _, graphs, expert = world()
  for row, graph in enumerate(graphs):
    keys = np.concatenate([graph.keys[1:], [[3, 2**32 - 1]]]).astype(np.uint32)
    found = jax.jit(behaviour.best_actions)(
      expert, jnp.full(len(keys), row, jnp.int32), jnp.asarray(keys)
    )
    np.testing.assert_array_equal(found[:-1], graph.best_actions()[1:])
    assert not found[-1].any()


@pytest.mark.slow
def test_expert_alone_takes_shortest_ways():
  _, _, graphs, _ = world()
  rollouts = played(1.0)
  assert rollouts.success.all()
  for row, graph in enumerate(graphs):
    assert (rollouts.mask[row].sum(1) == graph.distance[1]).all()


def test_behaviour_is_the_mixture_that_it_says():
  _, _, graphs, expert = world()
  keys = graphs[0].keys[1:]
  observation = {
    "task": jnp.zeros(len(keys), jnp.int32),
    "key": jnp.asarray(keys),
    "action_mask": jnp.asarray([[True, True, False, True]] * len(keys)),
  }
  best = graphs[0].best_actions()[1:]
  for mask_actions, chance in (
    (False, [0.25] * 4),
    (True, [1 / 3, 1 / 3, 0, 1 / 3]),
  ):
    act = behaviour.make_behaviour(expert_share=0.4, mask_actions=mask_actions)
    found = jax.nn.softmax(jax.jit(act)(expert, observation))
    for row, good in enumerate(best):
      expected = np.array(chance)
      if good.any():
        expected = 0.4 * good / good.sum() + 0.6 * expected
      np.testing.assert_allclose(found[row], expected, atol=1e-6)
  assert (~best.any(1)).any() and best.any()
  with pytest.raises(ValueError, match="expert_share .* got 1.5"):
    behaviour.make_behaviour(expert_share=1.5, mask_actions=False)


@functools.cache
def small_study():
  _, _, graphs, _ = world()
  rollouts = played(0.3)
  distance = np.stack(
    [
      graph.distances_of(keys)
      for graph, keys in zip(graphs, rollouts.state_keys, strict=True)
    ]
  )
  large = groups_lib.make_groups(rollouts, distance)
  return study.Study(
    large, group_size=4, groups_per_task=3, max_nodes=256, seed=0
  )


@functools.cache
def compared(name):
  conditions = groups_lib.make_conditions(
    group_size=4, hidden=(0.5,), aliased=(0.3,), split=(1.0,), sizes=(4, 2)
  )
  rows = small_study().compare(estimators.ESTIMATORS[name], conditions)
  return {(row["reference"], row["kind"], row["value"]): row for row in rows}


@functools.cache
def graphgpo_run():
  return small_study().advantages(estimators.graphgpo)


@jax.jit
def credit_by_hand(keys, reward, success, valid, mask, true, use_true):
  merged = merging.merge_rollouts(keys, reward, success, valid, mask)
  num_nodes = merging.node_limit(*mask.shape)

  def node_distances(graph):
    distance = jnp.full((num_nodes,), jnp.inf)
    source = jnp.where(merged.steps.mask, merged.steps.source, num_nodes)
    target = jnp.where(merged.steps.target > 0, merged.steps.target, num_nodes)
    distance = distance.at[source].set(true[:, :-1].ravel(), mode="drop")
    distance = distance.at[target].set(true[:, 1:].ravel(), mode="drop")
    return jnp.where(
      use_true, distance.at[0].set(0.0), distances.edge_distances(graph)
    )

  return estimators.credit_group(
    merged.steps,
    max_nodes=num_nodes,
    backup=node_distances,
  )[0].advantage


def by_hand(size, use_true=False):
  """Advantages of the study's groups, or of parts of them, one by one."""
  groups = jax.device_get(small_study().groups)
  found = np.zeros(groups.mask.shape)
  for row in range(len(groups.success)):
    for start in range(0, 4, size):
      at = (row, slice(start, start + size))
      found[at] = credit_by_hand(
        groups.state_keys[at],
        groups.reward[at],
        groups.success[at],
        groups.action_valid[at],
        groups.mask[at],
        groups.true_distance[at],
        use_true,
      ).reshape(size, HORIZON)
  return found


@pytest.mark.slow
@pytest.mark.parametrize(
  ("kind", "value", "size", "use_true"),
  [
    ("none", 0.0, 4, False),
    ("none", 0.0, 4, True),
    ("group_size", 2.0, 2, False),
  ],
)
def test_estimates_are_those_of_the_groups(kind, value, size, use_true):
  advantage, seen = graphgpo_run()(groups_lib.Condition(kind, value), use_true)
  np.testing.assert_array_equal(seen, small_study().groups.mask)
  np.testing.assert_allclose(
    advantage, by_hand(size, use_true), rtol=1e-4, atol=1e-5
  )
  assert (advantage != 0).any()


@pytest.mark.slow
def test_study_reports_what_the_perturbations_do():
  rows = compared("graphgpo")
  assert {reference for reference, _, _ in rows} == {
    "true_graph",
    "large_group",
    "true_progress",
  }
  total = int(small_study().groups.mask.sum())
  for reference in ("true_graph", "large_group", "true_progress"):
    plain = rows[reference, "none", 0.0]
    assert plain["steps"] == total
    assert plain["pearson"] > 0.3
    # A group of 4 is the group itself.
    whole = rows[reference, "group_size", 4.0]
    for number in stress_picture.NUMBERS:
      assert whole[number] == pytest.approx(plain[number], abs=1e-6)
    for kind, value in (("hidden", 0.5), ("group_size", 2.0), ("split", 1.0)):
      assert rows[reference, kind, value]["pearson"] < plain["pearson"]
    hidden = rows[reference, "hidden", 0.5]["steps"]
    assert abs(hidden - total / 2) <= len(small_study().groups.success)


@pytest.mark.slow
def test_rules_without_distances_have_no_true_graph():
  rows = compared("grpo")
  assert {one for one, _, _ in rows} == {"large_group", "true_progress"}
  plain = rows["large_group", "none", 0.0]
  # GRPO looks at no state: aliases and splits change nothing.
  for kind, value in (("aliased", 0.3), ("split", 1.0)):
    assert rows["large_group", kind, value]["pearson"] == pytest.approx(
      plain["pearson"], abs=1e-6
    )


def test_true_progress_by_hand():
  inf = np.inf
  made = groups_lib.Groups(
    state_keys=np.zeros((1, 3, 4, 2), np.uint32),
    # A success; a way into a dead end and on in it; a rollout of one step.
    true_distance=np.array(
      [[[2, 3, 1, inf], [3, 2, inf, inf], [4, 4, 9, 9]]], np.float32
    ),
    reward=None,
    cost=None,
    action=None,
    action_valid=None,
    mask=np.array([[[1, 1, 1], [1, 1, 1], [1, 0, 0]]], bool),
    success=np.array([[True, False, False]]),
  )
  # The farthest state that was met is at 4, so a dead end is at 5.
  np.testing.assert_array_equal(
    groups_lib.true_progress(made), [[[-1, 2, 1], [1, -3, 0], [0, 0, 0]]]
  )


def test_study_refuses():
  with pytest.raises(ValueError, match="need 36 rollouts of each task, got 32"):
    study.Study(
      small_study().large,
      group_size=4,
      groups_per_task=9,
      max_nodes=256,
      seed=0,
    )
  narrow = study.Study(
    small_study().large, group_size=4, groups_per_task=1, max_nodes=8, seed=0
  )
  with pytest.raises(ValueError, match="max_nodes=8 leaves"):
    narrow.compare(estimators.grpo, [groups_lib.Condition("none", 0.0)])
  with pytest.raises(ValueError, match="divisors of the group size 8, got 3"):
    groups_lib.make_conditions(group_size=8, sizes=(3,))
  with pytest.raises(ValueError, match="hidden: expected shares .* got 1.5"):
    groups_lib.make_conditions(group_size=8, hidden=(1.5,))


CONFIG = """
from graphgpo_jax.training import settings


def get_config():
  config = settings.default_config()
  config.environment.update(
    {"tier": 1, "num_receptacles": 2, "num_objects": 1, "horizon": 8}
  )
  return config
"""


def run(tmp_path, *words):
  """Exit status, output and error text of the command."""
  (tmp_path / "tiny.py").write_text(CONFIG)
  # A process of its own: binaries define flags of one name.
  done = subprocess.run(
    [
      sys.executable,
      "-m",
      "experiments.stress",
      f"--config={tmp_path / 'tiny.py'}",
      f"--output={tmp_path / 'stress.json'}",
      *words,
    ],
    cwd=ROOT,
    env=dict(os.environ, JAX_PLATFORMS="cpu"),
    capture_output=True,
    text=True,
  )
  return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_whole_report(tmp_path):
  pytest.importorskip("matplotlib", reason="extra [viz] is not installed")
  status, text, errors = run(
    tmp_path,
    "--estimators=graphgpo,grpo",
    "--tasks=2",
    "--group_size=4",
    "--groups_per_task=2",
    "--large_group=16",
    "--sizes=2",
  )
  assert status == 0, errors
  output = tmp_path / "stress.json"
  report = json.loads(output.read_text())
  assert report["environment"] == "household_1"
  assert report["groups"]["groups"] == 4
  assert report["settings"]["large_group"] == 16
  assert len(report["states_of_each_task"]) == 2
  names = {(row["estimator"], row["reference"]) for row in report["results"]}
  assert names == {
    ("graphgpo", "true_graph"),
    ("graphgpo", "large_group"),
    ("graphgpo", "true_progress"),
    ("grpo", "large_group"),
    ("grpo", "true_progress"),
  }
  assert len(report["results"]) == 5 * 11
  assert output.with_suffix(".md").read_text().strip() in text
  assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_refuses_in_one_line(tmp_path):
  pytest.importorskip("matplotlib", reason="extra [viz] is not installed")
  status, text, errors = run(tmp_path, "--sizes=3")
  assert (status, text) == (1, "")
  assert errors.strip().splitlines()[-1] == (
    "error: sizes: expected divisors of the group size 8, got 3"
  )
  assert [path.name for path in tmp_path.iterdir()] == ["tiny.py"]


def test_arguments_are_checked(tmp_path):
  assert arguments.numbers("sizes", ["4", "2"], int) == [4, 2]
  with pytest.raises(ValueError, match="--hidden takes numbers, got 0.1,a"):
    arguments.numbers("hidden", ["0.1", "a"], float)
  arguments.check_output(tmp_path / "stress.json")
  with pytest.raises(ValueError, match=r"must end in \.json"):
    arguments.check_output(tmp_path / "stress.txt")
  with pytest.raises(ValueError, match="expected a folder that exists"):
    arguments.check_output(tmp_path / "none" / "stress.json")
