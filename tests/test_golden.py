"""The authors' recipe: every golden case, every column."""

import numpy as np
import pytest

from graphgpo_jax import tables
from tests import golden_cases, oracle

CASES = golden_cases.RECIPE


def credit(case, steps):
  """All expected columns of a case, computed for `steps`."""
  common = {name: case[name] for name in golden_cases.COMMON}
  weights = {name: case[name] for name in ("step_weight", "episode_weight")}
  found = tables.assign_credit(
    steps,
    "graphgpo",
    omega=case["omega"],
    normalize_distance=case["normalize_distance"],
    **common,
    **weights,
  )
  gigpo = tables.assign_credit(
    steps, "gigpo", discount=case["gigpo_discount"], **common, **weights
  )
  grpo = tables.assign_credit(
    steps, "grpo", episode_weight=case["episode_weight"], **common
  )
  return found, gigpo, grpo


def check(case, found, gigpo, grpo, rows=None):
  rows = slice(None) if rows is None else rows
  expected = {
    name: np.asarray(column)[rows] for name, column in case["expected"].items()
  }

  def close(actual, wanted):
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-4)

  for columns in (found, gigpo, grpo):
    for name in ("distance", "next_distance"):
      np.testing.assert_array_equal(columns[name], expected[name])
    for column in columns.values():
      assert column.dtype == np.float32
      assert column.shape == expected["distance"].shape
    close(columns["episode_advantage"], expected["episode_advantage"])
  for name in ("graph_return", "graph_advantage", "advantage"):
    close(found[name], expected[name])
  close(gigpo["step_return"], expected["gigpo_return"])
  close(gigpo["step_advantage"], expected["gigpo_step_advantage"])
  close(
    gigpo["advantage"],
    case["step_weight"] * expected["gigpo_step_advantage"]
    + case["episode_weight"] * expected["episode_advantage"],
  )
  close(
    grpo["advantage"],
    case["episode_weight"] * expected["episode_advantage"],
  )


def test_all_cases_are_here():
  assert len(CASES) == 24


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_equals_the_recipe(path):
  case = golden_cases.load(path)
  check(case, *credit(case, case["steps"]))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_equals_the_recipe_among_others_in_any_order(path):
  case = golden_cases.load(path)
  others = golden_cases.load(CASES[3])["steps"]
  steps, back = golden_cases.among_others(case["steps"], others, path.stem)
  results = credit(case, steps)
  check(
    case,
    *(
      {name: column[back] for name, column in columns.items()}
      for columns in results
    ),
  )


@pytest.mark.parametrize("path", CASES[:4], ids=lambda path: path.stem)
def test_the_oracle_equals_the_recipe(path):
  case = golden_cases.load(path)
  options = {name: case[name] for name in golden_cases.COMMON}
  found = oracle.assign_credit(
    case["steps"],
    omega=case["omega"],
    normalize_distance=case["normalize_distance"],
    **options,
  )
  for name, recipe in (
    ("distance", "distance"),
    ("step_advantage", "graph_advantage"),
    ("episode_advantage", "episode_advantage"),
  ):
    np.testing.assert_allclose(
      found[name], case["expected"][recipe], rtol=0, atol=1e-4
    )
