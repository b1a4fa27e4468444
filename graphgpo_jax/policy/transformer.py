"""One transformer for environments' policies and for language models."""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from graphgpo_jax.policy import (
  attention,
  kv_cache,
  projection,
  rope,
  transformer_config,
)

TransformerConfig = transformer_config.TransformerConfig
rotate_by_position = rope.rotate_by_position

# One layer's keys and values, and the first slot of the chunk at hand.
Slots = tuple[chex.Array, chex.Array, chex.Array]
Stored = tuple[chex.Array, chex.Array]


class RMSNorm(nn.Module):
  """x / sqrt(mean(x^2) + epsilon) * scale, with float32 statistics.

  Reference: arXiv 1910.07467.
  """

  epsilon: float
  dtype: Any
  param_dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, inputs: chex.Array) -> chex.Array:
    """Normalises [..., D] over the last axis; returns `dtype`."""
    scale = self.param(
      "scale", nn.initializers.ones, (inputs.shape[-1],), self.param_dtype
    )
    values = inputs.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(values), axis=-1, keepdims=True)
    values = values * jax.lax.rsqrt(mean_square + self.epsilon)
    return (values * scale).astype(self.dtype)


def _norm(config: TransformerConfig, name: str) -> RMSNorm:
  return RMSNorm(
    config.norm_epsilon, config.dtype, config.param_dtype, name=name
  )


def _project(
  config: TransformerConfig,
  name: str,
  *,
  init_scale: float = 1.0,
  use_bias: bool = False,
) -> projection.Projection:
  return projection.Projection(
    parts=config.projection_parts(name),
    use_bias=use_bias,
    dtype=config.dtype,
    param_dtype=config.param_dtype,
    kernel_init=nn.initializers.variance_scaling(
      init_scale, "fan_in", "truncated_normal"
    ),
    lora=config.lora,
    name=name,
  )


class Attention(nn.Module):
  """Grouped-query self-attention with one projection for q, k and v."""

  config: TransformerConfig

  @nn.compact
  def __call__(
    self,
    hidden: chex.Array,
    mask: chex.Array,
    positions: chex.Array,
    slots: Slots | None = None,
  ) -> tuple[chex.Array, Stored | None]:
    """Attends within [N, L, D], or to the slots of a cache.

    Args:
      hidden: [N, L, D].
      mask: bool [N, 1, L or 1, L], or [N, 1, L, S] with a cache.
      positions: int32 [N, L].
      slots: this layer's keys and values, and where the chunk starts.

    Returns:
      [N, L, D], and the slots with the chunk written where there are any.
    """
    config = self.config
    heads, head_dim = config.num_heads, config.resolved_head_dim
    kv_heads = config.resolved_num_kv_heads
    # One wide product instead of three, so that narrow policies do not spend
    # their time on starting small matmuls.
    merged = _project(config, "qkv", use_bias=config.qkv_bias)(hidden)
    merged = merged.reshape(*hidden.shape[:-1], -1, head_dim)
    query, key, value = jnp.split(merged, [heads, heads + kv_heads], axis=-2)
    if config.qk_norm:
      query = _norm(config, "q_norm")(query)
      key = _norm(config, "k_norm")(key)
    if config.rope:
      base, scaling = config.rope_base, config.rope_scaling
      query = rope.rotate_by_position(
        query, positions, base=base, scaling=scaling
      )
      key = rope.rotate_by_position(key, positions, base=base, scaling=scaling)
    stored = None
    attend = config.attention
    if slots is None and config.causal:
      attend = attention.in_causal_blocks(attend)
    if slots is not None:
      key_slots, value_slots, start = slots
      stored = (
        kv_cache.write(key_slots, key, start),
        kv_cache.write(value_slots, value, start),
      )
      key, value = (kv_cache.read(part, config.dtype) for part in stored)
    output = attend(query, key, value, mask)
    output = output.reshape(*hidden.shape[:-1], -1)
    out = _project(
      config,
      "out",
      init_scale=0.5 / config.num_layers,
      use_bias=config.out_bias,
    )
    return out(output), stored


class GatedMLP(nn.Module):
  """SwiGLU: down(silu(gate(x)) * up(x)). Reference: arXiv 2002.05202."""

  config: TransformerConfig

  @nn.compact
  def __call__(self, hidden: chex.Array) -> chex.Array:
    """Maps [..., D] to [..., D], token by token."""
    config = self.config
    merged = _project(config, "gate_up")(hidden)
    gate, up = jnp.split(merged, 2, axis=-1)
    down = _project(config, "down", init_scale=0.5 / config.num_layers)
    return down(jax.nn.silu(gate) * up)


class Block(nn.Module):
  """Pre-norm residual block: attention, then MLP."""

  config: TransformerConfig

  @nn.compact
  def __call__(
    self,
    hidden: chex.Array,
    mask: chex.Array,
    positions: chex.Array,
    slots: Slots | None = None,
  ) -> tuple[chex.Array, Stored | None]:
    """Maps [N, L, D] to [N, L, D]; arguments as for `Attention`."""
    normed = _norm(self.config, "attention_norm")(hidden)
    attended, stored = Attention(self.config, name="attention")(
      normed, mask, positions, slots
    )
    hidden = hidden + attended
    normed = _norm(self.config, "mlp_norm")(hidden)
    return hidden + GatedMLP(self.config, name="mlp")(normed), stored


class Transformer(nn.Module):
  """Blocks and a final norm, from embeddings to hidden states.

  Embedding tokens and reading out logits are left to the caller, so that one
  module serves language models and environments' policies.
  """

  config: TransformerConfig

  @nn.compact
  def __call__(
    self,
    embeddings: chex.Array,
    mask: chex.Array,
    positions: chex.Array | None = None,
    *,
    segments: chex.Array | None = None,
    cache: kv_cache.KVCache | None = None,
  ) -> Any:
    """Runs the blocks over any number of leading batch axes.

    Args:
      embeddings: float [..., L, D] with D = `config.width`.
      mask: bool [..., L], True where there is a token. Tokens elsewhere are
        never attended to and may hold anything, NaN included.
      positions: int32 [..., L], used by RoPE only; by default each valid
        token's rank among the valid ones of its row or segment, so that
        padding on either side changes nothing; with a cache the rank goes on
        where the cache ends.
      segments: int32 [..., L]; a token attends within its own segment only.
        The tokens of a segment stand together in one run.
      cache: what was read before, with one batch axis; needs `config.causal`.

    Returns:
      `config.dtype` [..., L, D], the final norm applied; finite but without
      meaning where `mask` is False. With a cache, also the cache with this
      chunk in it.

    Raises:
      ValueError: a cache without `config.causal`, or with segments.
    """
    config = self.config
    chex.assert_type([embeddings, mask], [float, bool])
    chex.assert_equal_shape_prefix([embeddings, mask], mask.ndim)
    chex.assert_shape(embeddings, (*mask.shape, config.width))
    if cache is not None:
      _check_cache(config, mask, segments)
      opened, attention_mask, ranks = kv_cache.open_slots(cache, mask)
    else:
      attention_mask, ranks = _attention_mask(config, mask, segments)
    positions = ranks if positions is None else positions
    chex.assert_equal_shape([positions, mask])
    shape, length = embeddings.shape, mask.shape[-1]
    # Attention takes one batch axis. Padding becomes zero, because a NaN there
    # would survive its attention weight of zero.
    hidden = jnp.where(mask[..., None], embeddings, 0.0).astype(config.dtype)
    hidden = hidden.reshape(-1, length, config.width)
    positions = positions.reshape(-1, length)
    block = nn.remat(Block) if config.remat else Block
    keys, values = [], []
    for index in range(config.num_layers):
      slots = None
      if cache is not None:
        slots = (cache.key[index], cache.value[index], cache.used)
      hidden, stored = block(config, name=f"block_{index}")(
        hidden, attention_mask, positions, slots
      )
      if stored is not None:
        keys.append(stored[0])
        values.append(stored[1])
    hidden = _norm(config, "final_norm")(hidden).reshape(shape)
    if cache is None:
      return hidden
    return hidden, kv_cache.KVCache(
      key=tuple(keys),
      value=tuple(values),
      mask=opened.mask,
      used=opened.used,
      next_position=opened.next_position,
    )


def _check_cache(
  config: TransformerConfig, mask: chex.Array, segments: chex.Array | None
) -> None:
  if not config.causal:
    raise ValueError("a cache needs config.causal=True")
  if segments is not None:
    raise ValueError("a cache holds one sequence a row: segments must be None")
  chex.assert_rank(mask, 2)


def _attention_mask(
  config: TransformerConfig, mask: chex.Array, segments: chex.Array | None
) -> tuple[chex.Array, chex.Array]:
  """Bool [N, 1, L or 1, L], and each token's rank in its row or segment."""
  length = mask.shape[-1]
  ranks = jnp.cumsum(mask, axis=-1, dtype=jnp.int32) - 1
  attention_mask = mask.reshape(-1, 1, 1, length)
  if config.causal:
    attention_mask &= jnp.tril(jnp.ones((length, length), bool))
  if segments is not None:
    chex.assert_equal_shape([segments, mask])
    rows = segments.reshape(-1, 1, length)
    attention_mask &= rows[..., :, None] == rows[..., None, :]
    before = jnp.pad(segments, [(0, 0)] * (mask.ndim - 1) + [(1, 0)])[..., :-1]
    starts = (segments != before).at[..., 0].set(True)
    # The rank of a segment's first token, carried along the segment.
    first = jnp.where(starts, ranks + ~mask, 0)
    ranks -= jax.lax.cummax(first, axis=mask.ndim - 1)
  return attention_mask, jnp.maximum(ranks, 0)
