"""The pipelines that credit is compared with: against oracle and recipe."""

import functools
import json
import pathlib

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from experiments.credit_bench import generated, pipelines
from experiments.credit_references import dict_pipeline, scipy_pipeline
from graphgpo_jax import tables
from tests import oracle

GOLDEN = pathlib.Path(__file__).parent / "golden"
NUMBERS = ("omega", "success_reward", "invalid_penalty", "epsilon")


def rustworkx_credit(steps, **numbers):
  from experiments.credit_references import rustworkx_pipeline

  return rustworkx_pipeline.assign_credit(steps, **numbers)


REFERENCES = [
  pytest.param(scipy_pipeline.assign_credit, id="scipy"),
  *(
    pytest.param(
      functools.partial(scipy_pipeline.assign_credit, nodes=nodes),
      id=f"scipy, {nodes.__name__}",
    )
    for nodes in (scipy_pipeline.looked_up_sources, scipy_pipeline.unique_nodes)
  ),
  pytest.param(dict_pipeline.assign_credit, id="dict"),
  pytest.param(
    rustworkx_credit, marks=pytest.mark.extra("dev"), id="rustworkx"
  ),
]


def assert_equals(found, expected):
  for name in ("distance", "next_distance"):
    np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
  np.testing.assert_allclose(
    found["advantage"], expected["advantage"], rtol=0, atol=1e-4
  )


@pytest.mark.parametrize("reference", REFERENCES)
@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(
  seed=st.integers(0, 2**32),
  states=st.integers(1, 6),
  optional=st.booleans(),
  shared=st.booleans(),
)
def test_reference_equals_the_oracle(reference, seed, states, optional, shared):
  table = oracle.random_table(seed, states=states, optional=optional)
  if shared:
    # The same texts in every task, whose states are still their own.
    for name in ("observation", "next_observation"):
      table[name] = [text[-1] for text in table[name]]
  assert_equals(reference(table), oracle.assign_credit(table))


@pytest.mark.parametrize("reference", REFERENCES)
def test_reference_equals_the_recipe(reference):
  checked = 0
  for path in sorted(GOLDEN.glob("case_*.json")):
    case = json.loads(path.read_text())
    if (
      case["normalize_distance"]
      or case["normalization"] != "mean_std"
      or (case["step_weight"], case["episode_weight"]) != (1.0, 1.0)
    ):
      continue
    numbers = {name: case[name] for name in NUMBERS}
    assert_equals(reference(case["steps"], **numbers), case["expected"])
    checked += 1
  assert checked > 10


@pytest.mark.parametrize("reference", REFERENCES)
def test_reference_equals_the_package_on_generated_tables(reference):
  steps = generated.generate_table(5, 6, 20, seed=3).fresh()
  found = reference(steps)
  assert pipelines.disagreement(tables.assign_credit(steps), found) is None
