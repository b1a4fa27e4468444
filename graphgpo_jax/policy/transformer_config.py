"""Shape and arithmetic of a transformer."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from graphgpo_jax.policy import attention as attention_lib
from graphgpo_jax.policy import lora as lora_lib
from graphgpo_jax.policy import rope as rope_lib


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
    rope_scaling: stretching of the rotation to a longer context.
    qkv_bias: the query, key and value projections have a bias.
    out_bias: the output projection of attention has a bias.
    qk_norm: normalise each query and key head before the rotation.
    norm_epsilon: added to the mean square in RMSNorm.
    dtype: type of activations, float32 or bfloat16. Norm statistics and
      softmax are float32 with either.
    param_dtype: type of new parameters, float32 or bfloat16; the latter only
      for weights that are not trained, since small updates round to nothing.
    lora: low-rank adapters beside the projections, in a collection of their
      own, always float32.
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
  rope_scaling: rope_lib.RopeScaling | None = None
  qkv_bias: bool = False
  out_bias: bool = False
  qk_norm: bool = False
  norm_epsilon: float = 1e-6
  dtype: Any = jnp.float32
  param_dtype: Any = jnp.float32
  lora: lora_lib.LoraConfig | None = None
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
    if self.rope_scaling is not None and not self.rope:
      raise ValueError("rope_scaling is set, but rope is False")
    if self.rope_base <= 1:
      raise ValueError(f"rope_base={self.rope_base} must exceed 1")
    if self.norm_epsilon <= 0:
      raise ValueError(f"norm_epsilon={self.norm_epsilon} must be positive")
    for name in ("dtype", "param_dtype"):
      value = getattr(self, name)
      if jnp.dtype(value) not in (jnp.float32, jnp.bfloat16):
        raise ValueError(f"{name}={value} is neither float32 nor bfloat16")

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

  def projection_parts(self, name: str) -> tuple[tuple[str, int], ...]:
    """The parts of a projection's columns, in order.

    Args:
      name: "qkv", "out", "gate_up" or "down".

    Returns:
      Name and number of columns of each part.
    """
    size = self.resolved_head_dim
    query, key = self.num_heads * size, self.resolved_num_kv_heads * size
    inner = self.resolved_mlp_width
    return {
      "qkv": (("q", query), ("k", key), ("v", key)),
      "out": (("out", self.width),),
      "gate_up": (("gate", inner), ("up", inner)),
      "down": (("down", self.width),),
    }[name]


def _require_positive(name: str, value: int) -> None:
  if value < 1:
    raise ValueError(f"{name}={value} must be at least 1")
