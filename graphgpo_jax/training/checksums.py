"""A number for every array of a tree, equal on whatever devices it lies.

Storage does not tell a flipped bit: arrays are kept without a checksum, and a
damaged one is read as other numbers. Sums of integers have no order, so these
are the same for an array on one device, divided over many, or restored onto
another mesh.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Elements of an array that is fetched rather than summed where it lies.
_SMALL = 2**20
_UNSIGNED = {1: jnp.uint8, 2: jnp.uint16}


def name_of(path: Any) -> str:
  """The names on the way to a leaf, joined by slashes."""
  return jax.tree_util.keystr(path, simple=True, separator="/")


def by_path(tree: Any) -> dict[str, Any]:
  """Leaves by the names on the way to them."""
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {name_of(path): leaf for path, leaf in leaves}


def tree_checksums(tree: Any) -> dict[str, int]:
  """Checksums of the leaves.

  Args:
    tree: of arrays.

  Returns:
    A number of 32 bits for each leaf, by the names on the way to it. Changing
    one element always changes it.
  """
  leaves = by_path(tree)
  # Numbers without an axis lie on every device, and so on every host.
  found = jax.device_get([_either(leaf) for leaf in leaves.values()])
  return dict(zip(leaves, map(int, found), strict=True))


def _either(leaf: Any) -> Any:
  # What lies whole on every device can be fetched on every host.
  near = isinstance(leaf, jax.Array) and (
    leaf.is_fully_addressable or leaf.is_fully_replicated
  )
  return _on_host(leaf) if near and leaf.size <= _SMALL else _checksum(leaf)


def _on_host(leaf):
  """The same number without a program to compile for every shape."""
  if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.random.key_data(leaf)
  array = np.ascontiguousarray(np.asarray(leaf)).reshape(-1)
  unsigned = _UNSIGNED.get(array.dtype.itemsize, jnp.uint32)
  words = array.view(unsigned).astype(np.uint32)
  index = np.arange(words.size, dtype=np.uint32)
  mixed = index * np.uint32(0x9E3779B1)
  factor = (mixed ^ (mixed >> np.uint32(15))) | np.uint32(1)
  return np.sum((words + np.uint32(1)) * factor, dtype=np.uint32)


@jax.jit  # By itself: a tree has few shapes, and many arrays of each.
def _checksum(leaf):
  if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.random.key_data(leaf)
  if leaf.dtype == jnp.bool_:
    leaf = leaf.astype(jnp.uint8)
  unsigned = _UNSIGNED.get(leaf.dtype.itemsize, jnp.uint32)
  words = jax.lax.bitcast_convert_type(leaf, unsigned).astype(jnp.uint32)
  index = jnp.zeros(words.shape, jnp.uint32)
  for axis in range(words.ndim):
    stride = math.prod(words.shape[axis + 1 :]) % 2**32
    place = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
    index += place * jnp.uint32(stride)
  # Odd factors have an inverse, so no change of one word is lost.
  mixed = index * jnp.uint32(0x9E3779B1)
  factor = (mixed ^ (mixed >> 15)) | jnp.uint32(1)
  return jnp.sum((words + jnp.uint32(1)) * factor, dtype=jnp.uint32)
