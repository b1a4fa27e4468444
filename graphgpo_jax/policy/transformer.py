"""One transformer for environments' policies and for language models."""

import dataclasses
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from graphgpo_jax.policy import attention as attention_lib


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
  """Shape and arithmetic of a `Transformer`.

  The defaults are those of a policy over a set of tokens; a language model
  sets `causal` and `rope`.

  Attributes:
    num_layers: blocks, each attention then MLP.
    width: D, size of the residual stream.
    num_heads: H, query heads.
    num_kv_heads: G, key and value heads; a divisor of `num_heads`, which is
      also the default.
    head_dim: size of a head; `width / num_heads` where None.
    mlp_width: inner size of the SwiGLU MLP; `8 / 3 * width`, rounded up to a
      multiple of 8, where None.
    causal: a token attends to itself and the tokens before it only.
    rope: rotate queries and keys by their position.
    rope_base: wavelength base of the rotation.
    qkv_bias: the query, key and value projections have a bias.
    qk_norm: normalise each query and key head before the rotation.
    norm_epsilon: added to the mean square in RMSNorm.
    dtype: type of activations, float32 or bfloat16. Parameters, norm
      statistics and softmax are float32 with either.
    remat: recompute each block's activations in the backward pass.
    attention: the attention function.
  """

  num_layers: int
  width: int
  num_heads: int
  num_kv_heads: int | None = None
  head_dim: int | None = None
  mlp_width: int | None = None
  causal: bool = False
  rope: bool = False
  rope_base: float = 10_000.0
  qkv_bias: bool = False
  qk_norm: bool = False
  norm_epsilon: float = 1e-6
  dtype: Any = jnp.float32
  remat: bool = False
  attention: attention_lib.AttentionFn = attention_lib.dot_product_attention

  def __post_init__(self):
    for name in ("num_layers", "width", "num_heads"):
      _require_positive(name, getattr(self, name))
    for name in ("num_kv_heads", "head_dim", "mlp_width"):
      if getattr(self, name) is not None:
        _require_positive(name, getattr(self, name))
    if self.num_heads % self.resolved_num_kv_heads:
      raise ValueError(
        f"num_kv_heads={self.num_kv_heads} does not divide "
        f"num_heads={self.num_heads}"
      )
    if self.head_dim is None and self.width % self.num_heads:
      raise ValueError(
        f"width={self.width} is no multiple of num_heads={self.num_heads}; "
        "set head_dim"
      )
    if self.rope and self.resolved_head_dim % 2:
      raise ValueError(
        f"head_dim={self.resolved_head_dim} must be even for rope"
      )
    if self.rope_base <= 1:
      raise ValueError(f"rope_base={self.rope_base} must exceed 1")
    if self.norm_epsilon <= 0:
      raise ValueError(f"norm_epsilon={self.norm_epsilon} must be positive")
    if jnp.dtype(self.dtype) not in (jnp.float32, jnp.bfloat16):
      raise ValueError(f"dtype={self.dtype} is neither float32 nor bfloat16")

  @property
  def resolved_num_kv_heads(self) -> int:
    """G, with the default filled in."""
    return self.num_kv_heads or self.num_heads

  @property
  def resolved_head_dim(self) -> int:
    """K, size of one head, with the default filled in."""
    return self.head_dim or self.width // self.num_heads

  @property
  def resolved_mlp_width(self) -> int:
    """Inner size of the MLP, with the default filled in."""
    return self.mlp_width or -(-8 * self.width // 3 // 8) * 8


def _require_positive(name: str, value: int) -> None:
  if value < 1:
    raise ValueError(f"{name}={value} must be at least 1")


def rotate_by_position(
  heads: chex.Array, positions: chex.Array, *, base: float
) -> chex.Array:
  """Rotary position embedding (RoPE), first half paired with second half.

  The pair (x_i, x_{i + K/2}) turns by the angle position * base**(-2 i / K),
  so that the product of a query and a key depends on the difference of their
  positions only. This is the pairing of the public Llama and Qwen weights.

  Args:
    heads: [N, L, H, K], queries or keys, K even.
    positions: int32 [N, L].
    base: wavelength base.

  Returns:
    [N, L, H, K] in the type of `heads`; computed in float32.

  Reference: arXiv 2104.09864.
  """
  chex.assert_rank([heads, positions], [4, 2])
  half = heads.shape[-1] // 2
  frequency = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
  angle = positions[:, :, None, None].astype(jnp.float32) * frequency
  cosine, sine = jnp.cos(angle), jnp.sin(angle)
  first, second = jnp.split(heads.astype(jnp.float32), 2, axis=-1)
  rotated = jnp.concatenate(
    [first * cosine - second * sine, second * cosine + first * sine], axis=-1
  )
  return rotated.astype(heads.dtype)


def _projection_init(scale: float = 1.0) -> nn.initializers.Initializer:
  return nn.initializers.variance_scaling(scale, "fan_in", "truncated_normal")


class RMSNorm(nn.Module):
  """x / sqrt(mean(x^2) + epsilon) * scale, with float32 statistics.

  Reference: arXiv 1910.07467.
  """

  epsilon: float
  dtype: Any

  @nn.compact
  def __call__(self, inputs: chex.Array) -> chex.Array:
    """Normalises [..., D] over the last axis; returns `dtype`."""
    scale = self.param("scale", nn.initializers.ones, (inputs.shape[-1],))
    values = inputs.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(values), axis=-1, keepdims=True)
    values = values * jax.lax.rsqrt(mean_square + self.epsilon)
    return (values * scale).astype(self.dtype)


class Attention(nn.Module):
  """Grouped-query self-attention with one projection for q, k and v."""

  config: TransformerConfig

  @nn.compact
  def __call__(
    self, hidden: chex.Array, mask: chex.Array, positions: chex.Array
  ) -> chex.Array:
    """Attends within [N, L, D] under bool [N, 1, L or 1, L]."""
    config = self.config
    heads, head_dim = config.num_heads, config.resolved_head_dim
    kv_heads = config.resolved_num_kv_heads
    # One wide product instead of three, so that narrow policies do not spend
    # their time on starting small matmuls.
    merged = nn.Dense(
      (heads + 2 * kv_heads) * head_dim,
      use_bias=config.qkv_bias,
      dtype=config.dtype,
      kernel_init=_projection_init(),
      name="qkv",
    )(hidden)
    merged = merged.reshape(*hidden.shape[:-1], -1, head_dim)
    query, key, value = jnp.split(merged, [heads, heads + kv_heads], axis=-2)
    if config.qk_norm:
      query = RMSNorm(config.norm_epsilon, config.dtype, name="q_norm")(query)
      key = RMSNorm(config.norm_epsilon, config.dtype, name="k_norm")(key)
    if config.rope:
      query = rotate_by_position(query, positions, base=config.rope_base)
      key = rotate_by_position(key, positions, base=config.rope_base)
    output = config.attention(query, key, value, mask)
    return nn.Dense(
      config.width,
      use_bias=False,
      dtype=config.dtype,
      kernel_init=_projection_init(0.5 / config.num_layers),
      name="out",
    )(output.reshape(*hidden.shape[:-1], -1))


class GatedMLP(nn.Module):
  """SwiGLU: down(silu(gate(x)) * up(x)). Reference: arXiv 2002.05202."""

  config: TransformerConfig

  @nn.compact
  def __call__(self, hidden: chex.Array) -> chex.Array:
    """Maps [..., D] to [..., D], token by token."""
    config = self.config
    merged = nn.Dense(
      2 * config.resolved_mlp_width,
      use_bias=False,
      dtype=config.dtype,
      kernel_init=_projection_init(),
      name="gate_up",
    )(hidden)
    gate, up = jnp.split(merged, 2, axis=-1)
    return nn.Dense(
      config.width,
      use_bias=False,
      dtype=config.dtype,
      kernel_init=_projection_init(0.5 / config.num_layers),
      name="down",
    )(jax.nn.silu(gate) * up)


class Block(nn.Module):
  """Pre-norm residual block: attention, then MLP."""

  config: TransformerConfig

  @nn.compact
  def __call__(
    self, hidden: chex.Array, mask: chex.Array, positions: chex.Array
  ) -> chex.Array:
    """Maps [N, L, D] to [N, L, D]."""
    config = self.config
    normed = RMSNorm(config.norm_epsilon, config.dtype, name="attention_norm")(
      hidden
    )
    hidden = hidden + Attention(config, name="attention")(
      normed, mask, positions
    )
    normed = RMSNorm(config.norm_epsilon, config.dtype, name="mlp_norm")(hidden)
    return hidden + GatedMLP(config, name="mlp")(normed)


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
  ) -> chex.Array:
    """Runs the blocks over any number of leading batch axes.

    Args:
      embeddings: float [..., L, D] with D = `config.width`.
      mask: bool [..., L], True where there is a token. Tokens elsewhere are
        never attended to and may hold anything, NaN included.
      positions: int32 [..., L], used by RoPE only; by default each valid
        token's rank among the valid ones, so that padding on either side
        changes nothing.

    Returns:
      `config.dtype` [..., L, D], the final norm applied; finite but without
      meaning where `mask` is False.
    """
    config = self.config
    chex.assert_type([embeddings, mask], [float, bool])
    chex.assert_equal_shape_prefix([embeddings, mask], mask.ndim)
    chex.assert_shape(embeddings, (*mask.shape, config.width))
    if positions is None:
      positions = jnp.maximum(jnp.cumsum(mask, axis=-1, dtype=jnp.int32) - 1, 0)
    chex.assert_equal_shape([positions, mask])
    shape, length = embeddings.shape, mask.shape[-1]
    # Attention takes one batch axis. Padding becomes zero, because a NaN there
    # would survive its attention weight of zero.
    hidden = jnp.where(mask[..., None], embeddings, 0.0).astype(config.dtype)
    hidden = hidden.reshape(-1, length, config.width)
    positions = positions.reshape(-1, length)
    attention_mask = mask.reshape(-1, 1, 1, length)
    if config.causal:
      attention_mask &= jnp.tril(jnp.ones((length, length), bool))
    block = nn.remat(Block) if config.remat else Block
    for index in range(config.num_layers):
      hidden = block(config, name=f"block_{index}")(
        hidden, attention_mask, positions
      )
    hidden = RMSNorm(config.norm_epsilon, config.dtype, name="final_norm")(
      hidden
    )
    return hidden.reshape(shape)
