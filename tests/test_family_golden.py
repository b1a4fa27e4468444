"""hgpo and g2po as their authors' code computes them: every golden case."""

import functools

import jax
import numpy as np
import pytest

from graphgpo_jax import tables
from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import potentials
from tests import family_oracle, golden_cases, oracle

CASES = golden_cases.FAMILY
COMMON = ("invalid_penalty", "normalization", "epsilon", "discount")
# Column of the case: estimator, options, column of the package.
EXPECTED = {
  "g2po_step_advantage": ("g2po", {}, "step_advantage"),
  "g2po_advantage": ("g2po", {}, "advantage"),
  "hgpo_advantage": ("hgpo", {}, "advantage"),
  "hgpo_advantage_with_episode_base": (
    "hgpo",
    {"episode_base": True},
    "advantage",
  ),
}
every_case = pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)


def options_of(case, estimator):
  options = {name: case[name] for name in COMMON}
  if estimator == "hgpo":
    return options | {"history_length": case["history_length"]}
  return options | {"success_reward": case["success_reward"]}


def assert_close(found, expected, name=""):
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4, err_msg=name)


def test_all_cases_are_here():
  assert len(CASES) == 10


@every_case
def test_equals_the_authors(path):
  case = golden_cases.load(path)
  for name, (estimator, own, column) in EXPECTED.items():
    found = tables.assign_credit(
      case["steps"], estimator, **options_of(case, estimator), **own
    )
    assert_close(found[column], case["expected"][name], name)


@pytest.mark.parametrize("path", CASES[::3], ids=lambda path: path.stem)
def test_equals_the_authors_among_others_in_any_order(path):
  case = golden_cases.load(path)
  others = golden_cases.load(CASES[3])["steps"]
  steps, back = golden_cases.among_others(case["steps"], others, path.stem)
  for name, (estimator, own, column) in EXPECTED.items():
    found = tables.assign_credit(
      steps, estimator, **options_of(case, estimator), **own
    )
    assert_close(found[column][back], case["expected"][name], name)


@every_case
def test_the_oracle_equals_the_authors(path):
  case = golden_cases.load(path)
  for name, (estimator, own, column) in EXPECTED.items():
    found = family_oracle.assign_credit(
      case["steps"], estimator, **options_of(case, estimator), **own
    )
    assert_close(found[column], case["expected"][name], name)
    if estimator == "g2po":
      assert_close(found["state_value"], case["expected"]["g2po_state_value"])


@functools.partial(jax.jit, static_argnames="max_nodes")
def state_value(steps, discount, max_nodes):
  outcome = potentials.outcome_to_go(steps, discount=discount)
  return potentials.mean_of_state(steps, outcome, max_nodes=max_nodes)


@every_case
def test_state_values_equal_the_authors(path):
  """V of g2po as a function of its own, task by task, padded to one shape."""
  case = golden_cases.load(path)
  size = 512
  for rows in task_rows(case["steps"]):
    steps = steps_of(case["steps"], rows, size)
    value = state_value(steps, case["discount"], size)
    expected = np.asarray(case["expected"]["g2po_state_value"])[rows]
    assert_close(value[steps.source[: len(rows)]], expected)


def task_rows(table):
  """Rows of each task, rollout by rollout."""
  tasks = {}
  for (task, _), rows in oracle.rollouts_of(table).items():
    tasks.setdefault(task, []).extend(rows)
  return tasks.values()


def steps_of(table, rows, size):
  """Steps of one task, padded; only what a state's value depends on."""
  numbers = {}
  for name in ("observation", "next_observation"):
    for row in rows:
      numbers.setdefault(table[name][row], len(numbers) + 1)

  def column(values, kind):
    return np.asarray(list(values) + [0] * (size - len(rows)), kind)

  def given(name):
    return [table[name][row] for row in rows]

  owner = given("trajectory")
  last = [a != b for a, b in zip(owner, owner[1:], strict=False)] + [True]
  source = [numbers[state] for state in given("observation")]
  target = [numbers[state] for state in given("next_observation")]
  for place, end in enumerate(last):
    if end and table["success"][rows[place]]:
      target[place] = graph_lib.SUCCESS
  return graph_lib.Steps(
    source=column(source, np.int32),
    target=column(target, np.int32),
    cost=column([1.0] * len(rows), np.float32),
    reward=column(given("reward"), np.float32),
    episode_return=column(given("episode_return"), np.float32),
    success=column(given("success"), bool),
    last=column(last, bool),
    action_valid=column(given("action_valid"), bool),
    mask=column([True] * len(rows), bool),
  )
