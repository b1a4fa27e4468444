"""Products in the min-plus semiring: addition is min, multiplication is +.

The entry [i, j] of the product of two cost matrices is the cheapest way from i
to j by one edge of the left and one edge of the right. Minima and sums of the
same float32 pairs have one result whatever their order, so every product of
this signature, that of `min_plus_kernel` among them, gives the same bits as
long as no entry is NaN, -inf or a negative zero.
"""

from typing import Protocol

import chex
import jax
import jax.numpy as jnp


class Product(Protocol):
  """What `all_pairs` takes as a strategy: a batched min-plus product."""

  def __call__(self, left: chex.Array, right: chex.Array, /) -> chex.Array:
    """Product of float32 [..., N, K] and [..., K, M], float32 [..., N, M]."""


def check_factors(left: chex.Array, right: chex.Array) -> tuple[int, ...]:
  """Raises unless the two can be multiplied.

  Args:
    left: float32 [..., N, K].
    right: float32 [..., K, M].

  Returns:
    Shape of the leading dimensions of both, broadcast against each other.

  Raises:
    ValueError: the shapes do not fit.
  """
  chex.assert_type([left, right], jnp.float32)
  try:
    *left_batch, _, inner = left.shape
    *right_batch, same, _ = right.shape
    if inner != same:
      raise ValueError
    return jnp.broadcast_shapes(tuple(left_batch), tuple(right_batch))
  except ValueError:
    raise ValueError(
      "left and right must have shapes [..., N, K] and [..., K, M], got"
      f" {list(left.shape)} and {list(right.shape)}"
    ) from None


def product(
  left: chex.Array, right: chex.Array, *, block: int = 16
) -> chex.Array:
  """Min-plus matrix product.

  C[i, j] = min over k of (A[i, k] + B[k, j])

  O(N K M) additions. The intermediate [N, K, M] is never held: `block` terms
  at a time are folded into C, each a broadcast sum of a column and a row that
  the compiler fuses into one pass over C.

  Args:
    left: float32 [..., N, K], in cost units, +inf where there is no edge.
    right: float32 [..., K, M], likewise; leading dimensions broadcast.
    block: terms folded per pass over C, at least 1.

  Returns:
    float32 [..., N, M], in cost units; +inf where no k connects the two.

  Raises:
    ValueError: the shapes do not fit, or `block` is below 1.
  """
  batch = check_factors(left, right)
  if block < 1:
    raise ValueError(f"block must be at least 1, got {block}")
  inner = left.shape[-1]
  block = min(block, inner)
  shape = (*batch, left.shape[-2], right.shape[-1])
  start = jnp.full(shape, jnp.inf, jnp.float32)
  if not inner:
    return start

  def fold(step, cheapest):
    # The last block overlaps the one before it where K does not divide: a
    # minimum may take a term twice, so nothing needs padding.
    first = jnp.minimum(step * block, inner - block)
    columns = jax.lax.dynamic_slice_in_dim(left, first, block, axis=-1)
    rows = jax.lax.dynamic_slice_in_dim(right, first, block, axis=-2)
    for at in range(block):
      cheapest = jnp.minimum(
        cheapest, columns[..., :, at, None] + rows[..., None, at, :]
      )
    return cheapest

  # The first block stands outside, so that under `jax.shard_map` the carry is
  # a value of each device from the start.
  return jax.lax.fori_loop(1, -(-inner // block), fold, fold(0, start))


def vector_product(matrix: chex.Array, vector: chex.Array) -> chex.Array:
  """Min-plus product of a matrix and a vector.

  y[i] = min over j of (A[i, j] + x[j])

  With d <- min(d, A (+) d) it is one sweep of `dense_distances`. The compiler
  makes one fused pass over the matrix of it, and reading the matrix is all it
  costs, so there is no kernel for this form.

  Args:
    matrix: float32 [..., N, M], in cost units, +inf where there is no edge.
    vector: float32 [..., M], in cost units.

  Returns:
    float32 [..., N], in cost units.

  Raises:
    ValueError: the shapes do not fit.
  """
  if matrix.ndim < 2 or vector.ndim < 1 or matrix.shape[-1] != vector.shape[-1]:
    raise ValueError(
      "matrix and vector must have shapes [..., N, M] and [..., M], got"
      f" {list(matrix.shape)} and {list(vector.shape)}"
    )
  chex.assert_type([matrix, vector], jnp.float32)
  through = matrix + vector[..., None, :]
  return jnp.min(through, axis=-1, initial=jnp.inf)
