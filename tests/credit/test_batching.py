import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.credit import batching
from tests.credit import transforms


def function(values, steps):
  """A loop whose length differs from group to group."""
  total = jax.lax.fori_loop(0, steps, lambda _, v: v * 2.0, values)
  return {"total": total, "sum": jnp.sum(total)}


def arguments():
  values = np.arange(24, dtype=np.float32).reshape(8, 3)
  return values, np.arange(8, dtype=np.int32)


def mapped(values, steps):
  return batching.map_groups(function, values, steps)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_equals_group_by_group(wrap):
  found = wrap(mapped)(*arguments())
  values, steps = arguments()
  expected = values * 2.0 ** steps[:, None]
  np.testing.assert_array_equal(found["total"], expected)
  np.testing.assert_array_equal(found["sum"], expected.sum(1))


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform):
  """A batch of batches: eight devices, each with three groups."""
  values, steps = arguments()
  batches = np.stack([values[:3] + at for at in range(8)])
  counts = np.stack(
    [steps[at : at + 3] % 8 for at in range(6)] + [steps[:3]] * 2
  )
  run = transforms.TRANSFORMS[transform](mapped)
  transforms.assert_same(
    run(batches, counts), transforms.reference(mapped, batches, counts)
  )
