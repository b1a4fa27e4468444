"""The column of actions: who reads it, and what may stand in it."""

import random

import jax
import numpy as np
import pytest

from graphgpo_jax import tables
from graphgpo_jax.credit import estimators, graph
from graphgpo_jax.tables import packing
from tests import credit_tables, oracle


@pytest.mark.parametrize("estimator", estimators.ESTIMATORS)
def test_actions_are_read_where_it_is_said(estimator):
  """By the equations themselves: whether the action is an input of any."""
  shape = jax.ShapeDtypeStruct((9,), jax.numpy.float32)
  kinds = dict.fromkeys(("cost", "reward", "episode_return"), shape.dtype)
  kinds |= dict.fromkeys(("source", "target", "action"), jax.numpy.int32)

  def credit(columns):
    return estimators.credit_group(
      graph.Steps(**columns), estimators.ESTIMATORS[estimator], max_nodes=9
    )[0]

  columns = {
    name: jax.ShapeDtypeStruct((9,), kinds.get(name, bool))
    for name in graph.Steps.__dataclass_fields__
  }
  traced = jax.make_jaxpr(credit)(columns).jaxpr
  action = traced.invars[sorted(columns).index("action")]
  read = any(action is given for each in traced.eqns for given in each.invars)
  assert read == (estimator in estimators.READS_ACTIONS)


@pytest.mark.parametrize(
  "rename",
  [
    lambda name: name,
    lambda name: ord(name),
    lambda name: {"press": [name, None]},
    lambda name: name == "a" or (None if name == "b" else 2.5),
  ],
)
def test_actions_may_be_anything_that_has_a_fingerprint(rename):
  table = oracle.random_table(12, states=2, rollouts=6)
  expected = tables.assign_credit(table, "salt")
  renamed = table | {"action": [rename(name) for name in table["action"]]}
  credit_tables.assert_close(
    tables.assign_credit(renamed, "salt"), expected, atol=0
  )
  order = list(range(len(table["t"])))
  random.Random(0).shuffle(order)
  found = tables.assign_credit(oracle.reorder(renamed, order), "salt")
  credit_tables.assert_close(
    found, {name: column[order] for name, column in expected.items()}, 1e-6
  )
  del renamed["action"]
  without = tables.assign_credit(renamed, "salt")
  assert (without["advantage"] != expected["advantage"]).any()


def test_an_action_without_a_fingerprint_is_named_where_it_is_read():
  table = oracle.random_table(12)
  table["action"][4] = object()
  with pytest.raises(ValueError, match="column 'action', row 4: .*object"):
    tables.assign_credit(table, "salt")
  expected = tables.assign_credit(table | {"action": [0] * len(table["t"])})
  credit_tables.assert_close(tables.assign_credit(table), expected, atol=0)


@pytest.mark.parametrize(
  ("estimator", "sent"), [("graphgpo", False), ("salt", True)]
)
def test_actions_are_sent_only_where_they_are_read(
  monkeypatch, estimator, sent
):
  seen = []
  credit_groups = packing.table_device.credit_groups

  def spy(*arrays, action=None, **options):
    seen.append(action)
    return credit_groups(*arrays, action=action, **options)

  monkeypatch.setattr(packing.table_device, "credit_groups", spy)
  tables.assign_credit(oracle.random_table(1), estimator)
  assert seen and all((action is not None) == sent for action in seen)
  for action in seen:
    assert not sent or (action.dtype == np.int32 and action.max() <= 256)
