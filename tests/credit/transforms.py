"""One function of one group, run in every way a caller may run it."""

import functools

import chex
import jax
import numpy as np
from jax.sharding import AxisType, PartitionSpec

NUM_DEVICES = 8


def _one_by_one(function):
  jitted = jax.jit(function)

  def run(*groups):
    results = [
      jitted(*jax.tree.map(lambda leaf, at=at: leaf[at], groups))
      for at in range(NUM_DEVICES)
    ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *results)

  return run


def _sharded(function, check_vma):
  mesh = jax.make_mesh((NUM_DEVICES,), ("group",), axis_types=(AxisType.Auto,))
  groups = PartitionSpec("group")
  return jax.jit(
    jax.shard_map(
      jax.vmap(function),
      mesh=mesh,
      in_specs=groups,
      out_specs=groups,
      check_vma=check_vma,
    )
  )


TRANSFORMS = {
  "vmap": lambda function: jax.jit(jax.vmap(function)),
  "lax.map": lambda function: jax.jit(
    lambda *groups: jax.lax.map(lambda group: function(*group), groups)
  ),
  "pmap": jax.pmap,
  "shard_map": functools.partial(_sharded, check_vma=True),
  "shard_map, unchecked": functools.partial(_sharded, check_vma=False),
}

# Every variant of chex but its pmap, which gives all devices one group; the
# pmap above gives each its own.
variants = chex.variants(
  with_jit=True, without_jit=True, with_device=True, without_device=True
)


def over_groups(function):
  """`function` over batches of groups, compiled once; to NumPy arrays."""
  jitted = TRANSFORMS["lax.map"](function)
  return lambda *groups: jax.tree.map(np.asarray, jitted(*groups))


def reference(function, *groups):
  """Group by group under jit: what the others must equal."""
  return _one_by_one(function)(*groups)


def assert_same(actual, expected, *, atol=0.0, rtol=0.0):
  """Equal trees; floats within the tolerances, everything else exactly."""
  actual, expected = jax.tree.map(np.asarray, (actual, expected))
  chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
  chex.assert_trees_all_close(actual, expected, rtol=rtol, atol=atol)


def assert_traced_once(function, groups, number=3):
  """`function` is traced once for the first few groups of a batch."""
  chex.clear_trace_counter()
  counted = jax.jit(chex.assert_max_traces(n=1)(function))
  for at in range(number):
    one = jax.tree.map(lambda leaf, at=at: leaf[at], groups)
    jax.block_until_ready(counted(*one))
