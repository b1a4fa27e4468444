"""Tables whose credit is known, and credit beside what it must be."""

import numpy as np

from tests import oracle


def assert_close(found, expected, atol=2e-4):
  assert list(found) == list(expected)
  for name, column in found.items():
    np.testing.assert_allclose(
      column, expected[name], rtol=0, atol=atol, err_msg=name
    )


def corridor(lengths, success=True):
  """Rollouts through states that count down the steps left."""
  table = {name: [] for name in oracle.random_table(0, optional=False)}
  for trajectory, length in enumerate(lengths):
    for t in range(length):
      row = (0, trajectory, t, length - t, length - t - 1, success)
      for column, value in zip(table.values(), row, strict=True):
        column.append(value)
  return table
