"""Attention functions, one of which a `TransformerConfig` carries."""

from typing import Protocol

import chex
import jax
import jax.numpy as jnp

# Below every score and finite, so that a row without a True stays finite.
_MASKED = -1e30
# Smaller products are slow, and more blocks take long to compile.
_SMALLEST_BLOCK = 128
_MOST_BLOCKS = 8


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
  _check(query, key, value, mask)
  return jax.nn.dot_product_attention(query, key, value, mask=mask)


def grouped_attention(
  query: chex.Array, key: chex.Array, value: chex.Array, mask: chex.Array
) -> chex.Array:
  """Attention for long rows and few key heads; no score outlives it.

  As `dot_product_attention`, with two differences in how it is computed. The
  query heads of a key head stand one after the other in the rows of one
  product, so that no key is copied and no score changes its place. And the
  backward pass computes the weights again from each query's normaliser, so that
  a layer keeps [N, L, H] numbers for it and not [N, H, L, S].

  Args:
    query: [N, L, H, K].
    key: [N, S, G, K], where G divides H.
    value: [N, S, G, K].
    mask: bool [N, 1, L, S] or [N, 1, 1, S].

  Returns:
    [N, L, H, K] in the type of `value`.

  Reference: arXiv 2205.14135, appendix B.2 (the backward pass).
  """
  _check(query, key, value, mask)
  batch, length, heads, size = query.shape
  groups = key.shape[2]
  query = query.reshape(batch, length, groups, heads // groups, size)
  output = _attend(
    query.transpose(0, 2, 3, 1, 4) * jnp.asarray(size**-0.5, query.dtype),
    key.transpose(0, 2, 1, 3),
    value.transpose(0, 2, 1, 3),
    mask[:, :, None],
  )
  return output.transpose(0, 3, 1, 2, 4).reshape(batch, length, heads, size)


@jax.custom_vjp
def _attend(query, key, value, mask):
  """[N, G, R, L, K], twice [N, G, S, K] and [N, 1, 1, L, S] to the first."""
  return _attend_forward(query, key, value, mask)[0]


def _attend_forward(query, key, value, mask):
  scores = _scores(query, key, mask)
  largest = jnp.max(scores, axis=-1, keepdims=True)
  weights = jnp.exp(scores - largest)
  total = jnp.sum(weights, axis=-1, keepdims=True)
  output = _of_rows("ngrs,ngsk->ngrk", weights.astype(value.dtype), value)
  output = (output / total).astype(value.dtype)
  normaliser = largest + jnp.log(total)
  return output, (query, key, value, mask, output, normaliser)


def _attend_backward(kept, slope):
  query, key, value, mask, output, normaliser = kept
  weights = jnp.exp(_scores(query, key, mask) - normaliser)
  along = jnp.einsum(
    "ngrlk,ngrlk->ngrl", slope, output, preferred_element_type=jnp.float32
  )
  of_weights = _of_rows("ngrk,ngsk->ngrs", slope, value)
  of_scores = (weights * (of_weights - along[..., None])).astype(query.dtype)
  weights = weights.astype(value.dtype)
  return (
    _of_rows("ngrs,ngsk->ngrk", of_scores, key).astype(query.dtype),
    _over_rows(of_scores, query).astype(key.dtype),
    _over_rows(weights, slope).astype(value.dtype),
    None,
  )


_attend.defvjp(_attend_forward, _attend_backward)


def _scores(query, key, mask):
  """Scores q k^T, float32 [N, G, R, L, S], very low where masked."""
  scores = _of_rows("ngrk,ngsk->ngrs", query, key)
  return jnp.where(mask, scores, _MASKED)


def _of_rows(equation, rows, columns):
  """An einsum with the axes R and L of `rows` as one; float32."""
  flat = rows.reshape(*rows.shape[:2], -1, rows.shape[-1])
  result = jnp.einsum(
    equation, flat, columns, preferred_element_type=jnp.float32
  )
  return result.reshape(*rows.shape[:-1], result.shape[-1])


def _over_rows(left, right):
  """Sum over R and L: [N, G, R, L, S], [N, G, R, L, K] to [N, G, S, K]."""
  left, right = (
    array.reshape(*array.shape[:2], -1, array.shape[-1])
    for array in (left, right)
  )
  return jnp.einsum(
    "ngrs,ngrk->ngsk", left, right, preferred_element_type=jnp.float32
  )


def in_causal_blocks(attend: AttentionFn) -> AttentionFn:
  """`attend`, for queries that see no key behind their own position.

  The queries are taken in blocks, and each block is shown the keys up to its
  end: what the mask would remove there is not computed, up to nearly a half.

  Args:
    attend: computes a block.

  Returns:
    A function of the same arrays with L = S, whose mask must be False behind
    the diagonal: that is not checked.
  """

  def attend_in_blocks(
    query: chex.Array, key: chex.Array, value: chex.Array, mask: chex.Array
  ) -> chex.Array:
    length = query.shape[1]
    chex.assert_axis_dimension(key, 1, length)
    chex.assert_axis_dimension(mask, 2, length)
    block = max(_SMALLEST_BLOCK, -(-length // _MOST_BLOCKS))
    ends = [min(start + block, length) for start in range(0, length, block)]
    return jnp.concatenate(
      [
        attend(
          query[:, start:end],
          key[:, :end],
          value[:, :end],
          mask[:, :, start:end, :end],
        )
        for start, end in zip([0, *ends], ends, strict=False)
      ],
      axis=1,
    )

  return attend_in_blocks


def _check(
  query: chex.Array, key: chex.Array, value: chex.Array, mask: chex.Array
) -> None:
  chex.assert_rank([query, key, value, mask], 4)
  chex.assert_equal_shape([key, value])
  chex.assert_type(mask, bool)
