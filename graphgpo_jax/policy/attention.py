"""Attention functions, one of which a `TransformerConfig` carries."""

from typing import Protocol

import chex
import jax


class AttentionFn(Protocol):
  """Grouped-query attention as a function of arrays.

  A row of `mask` without a single True must give finite values and gradients;
  what the values are is free.
  """

  def __call__(
    self,
    query: chex.Array,
    key: chex.Array,
    value: chex.Array,
    mask: chex.Array,
  ) -> chex.Array:
    """Attends from [N, L, H, K] to [N, S, G, K] under [N, 1, L or 1, S]."""
    ...


def dot_product_attention(
  query: chex.Array, key: chex.Array, value: chex.Array, mask: chex.Array
) -> chex.Array:
  """Scaled dot-product attention by `jax.nn.dot_product_attention`.

  softmax(q k^T / sqrt(K)) v, with the softmax in float32 and query head h
  reading key head h // (H / G).

  Args:
    query: [N, L, H, K] with H query heads of size K.
    key: [N, S, G, K] with G key heads, where G divides H.
    value: [N, S, G, K].
    mask: bool [N, 1, L, S] or [N, 1, 1, S], True where a query may attend.

  Returns:
    [N, L, H, K] in the type of `value`. A query that may attend nowhere gets
    the mean of all values.

  Reference: arXiv 1706.03762 (attention), 2305.13245 (grouped queries).
  """
  chex.assert_rank([query, key, value, mask], 4)
  chex.assert_equal_shape([key, value])
  chex.assert_type(mask, bool)
  return jax.nn.dot_product_attention(query, key, value, mask=mask)
