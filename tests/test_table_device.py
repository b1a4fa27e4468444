"""Tables on their way to the device: shapes, batches, numbers of nodes."""

import random

import jax
import numpy as np
import pytest

from graphgpo_jax import tables
from graphgpo_jax.tables import packing, table_device
from tests import credit_tables, oracle


def test_many_shapes_and_numbers_compile_a_handful_of_times():
  draw = random.Random(0)
  before = table_device._credit_groups._cache_size()
  for batch in range(200):
    table = oracle.random_table(
      batch,
      tasks=draw.randint(1, 40),
      rollouts=draw.choice([2, 8, 12]),
      horizon=draw.choice([3, 10, 40]),
      states=draw.randint(1, 30),
      optional=False,
    )
    tables.assign_credit(
      table,
      omega=draw.uniform(0.1, 0.9),
      invalid_penalty=draw.random(),
      epsilon=draw.uniform(1e-6, 1e-3),
    )
  assert table_device._credit_groups._cache_size() - before <= 8


def test_vectorised_form_of_other_platforms_agrees():
  table = oracle.random_table(11, tasks=5)
  expected = tables.assign_credit(table, omega=0.5)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, "default_backend", lambda: "other")
    credit_tables.assert_close(
      tables.assign_credit(table, omega=0.5), expected, atol=1e-6
    )


@pytest.mark.parametrize("sizes", [[1], [254, 255, 256], [1023, 5000, 70_000]])
def test_each_group_has_room_for_its_slots_and_the_sink(sizes):
  classes = table_device.slot_class(np.asarray(sizes))
  assert (classes > np.asarray(sizes)).all()
  for size in classes.tolist():
    for number in (1, 17, 200, 5000):
      batches = table_device.batch_sizes(number, size)
      assert sum(batches) >= number > sum(batches[:-1])


def test_nodes_are_numbered_as_they_first_appear():
  words = np.asarray([[9, 5, 7, 5, 1], [4, 4, 2, 3, 9]], np.uint64)
  words[0, 3] = words[1, 4] = table_device.PADDING
  late = np.asarray([[False, True, False, True, False], [False] * 5])
  ids = table_device.node_ids(words, late)
  assert ids.tolist() == [[1, 4, 2, 5, 3], [1, 1, 2, 3, 4]]


@pytest.mark.parametrize("seed", range(5))
def test_numbers_of_nodes_do_not_depend_on_what_observations_are(
  monkeypatch, seed
):
  """Solvers round by them, and files must get what tables get to the bit."""
  seen = []
  credit_groups = table_device.credit_groups

  def spy(nodes, flags, *arrays, **options):
    padding = (flags == 0) & (
      np.roll(flags, 1, axis=1) & table_device.LAST == 0
    )
    seen.append(np.where(padding, -1, nodes))
    return credit_groups(nodes, flags, *arrays, **options)

  monkeypatch.setattr(packing.table_device, "credit_groups", spy)
  table = oracle.random_table(seed, tasks=4)
  wrapped = {
    name: [(text, None) for text in table[name]]
    for name in ("observation", "next_observation")
  }
  tables.assign_credit(table)
  tables.assign_credit(table | wrapped)
  texts, tuples = seen
  # Where a success ended no state stands.
  np.testing.assert_array_equal(texts[texts >= 0], tuples[texts >= 0])
  assert (texts >= 0).sum() > len(table["t"])
