"""Low-rank adapters (LoRA): train a small correction, freeze the weights.

The adapters live in the Linen collection "lora", a tree shaped like "params"
with {"a", "b"} per adapted part of a projection, e.g.
`transformer/block_0/attention/qkv/q/a`. A gradient with respect to that
collection alone computes no gradient of a weight at all.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp

if typing.TYPE_CHECKING:
  from graphgpo_jax.policy import transformer_config

TARGETS = ("q", "k", "v", "out", "gate", "up", "down")


@dataclasses.dataclass(frozen=True)
class LoraConfig:
  """Which projections get adapters, and of what size.

  y = x W + (alpha / rank) (x A) B, with A [in, rank] and B [rank, out].

  Attributes:
    rank: columns of A.
    alpha: scale; the correction's size does not depend on the rank.
    targets: the parts that get adapters, of "q", "k", "v", "out", "gate",
      "up" and "down".

  Reference: arXiv 2106.09685.
  """

  rank: int
  alpha: float
  targets: tuple[str, ...] = TARGETS

  def __post_init__(self):
    # A list would make the configuration unhashable, and so no static argument.
    object.__setattr__(self, "targets", tuple(self.targets))
    if self.rank < 1:
      raise ValueError(f"rank={self.rank} of LoRA must be at least 1")
    if self.alpha <= 0:
      raise ValueError(f"alpha={self.alpha} of LoRA must be positive")
    unknown = sorted(set(self.targets) - set(TARGETS))
    if unknown or not self.targets:
      raise ValueError(
        f"targets={self.targets} of LoRA must be some of {TARGETS}"
      )

  @property
  def scale(self) -> float:
    """Factor on the product of A and B: alpha / rank."""
    return self.alpha / self.rank


def correction(
  inputs: chex.Array, a: chex.Array, b: chex.Array, *, scale: float
) -> chex.Array:
  """What an adapter adds: scale (x A) B.

  Args:
    inputs: [..., in].
    a: [in, rank].
    b: [rank, out].
    scale: alpha / rank.

  Returns:
    [..., out] in the type of `inputs`.
  """
  narrow = jnp.dot(inputs, a.astype(inputs.dtype))
  return jnp.dot(narrow, b.astype(inputs.dtype)) * scale


def adapted_product(
  inputs: chex.Array,
  kernel: chex.Array,
  a: chex.Array,
  b: chex.Array,
  *,
  scale: float,
) -> chex.Array:
  """The product x W + scale (x A) B, in the cheaper order.

  For many rows, in float32, it is x (W + scale A B): products with a side of
  `rank` take far longer than their operations, and all rows together pay for
  one sum of weights. In bfloat16 that sum would lose small corrections, so
  there the products stay apart. Where W is a constant, no gradient of it is
  computed either way.

  Args:
    inputs: [T, in].
    kernel: [in, out] in the type of `inputs`.
    a: [in, rank].
    b: [rank, out].
    scale: alpha / rank.

  Returns:
    [T, out] in the type of `inputs`.
  """
  rows, (width, columns) = inputs.shape[0], kernel.shape
  if inputs.dtype == jnp.float32 and rows * (width + columns) > width * columns:
    return _merged_product(inputs, kernel, a, b, jnp.float32(scale))
  return jnp.dot(inputs, kernel) + correction(inputs, a, b, scale=scale)


@jax.custom_vjp
def _merged_product(inputs, kernel, a, b, scale):
  return jnp.dot(inputs, kernel + scale * jnp.dot(a, b))


def _merged_forward(inputs, kernel, a, b, scale):
  return _merged_product(inputs, kernel, a, b, scale), (
    inputs,
    kernel,
    a,
    b,
    scale,
  )


def _merged_backward(kept, slope):
  # Not through the merged weights: compilers keep them from the forward pass,
  # a second copy of all weights.
  inputs, kernel, a, b, scale = kept
  narrow_inputs = jnp.dot(inputs, a)
  narrow_slope = scale * jnp.dot(slope, b.T)
  # A compiler leaves out the slopes of whatever turns out to be a constant.
  return (
    jnp.dot(slope, kernel.T) + jnp.dot(narrow_slope, a.T),
    jnp.dot(inputs.T, slope),
    jnp.dot(inputs.T, narrow_slope),
    scale * jnp.dot(narrow_inputs.T, slope),
    None,
  )


_merged_product.defvjp(_merged_forward, _merged_backward)


def merge(
  params: Mapping[str, Any],
  lora: Mapping[str, Any],
  config: transformer_config.TransformerConfig,
) -> dict[str, Any]:
  """Folds adapters into the weights: W + (alpha / rank) A B.

  Args:
    params: tree of parameters of a `Transformer`, or of any model that holds
      one; leaves are [in, out] kernels among others.
    lora: tree of the collection "lora" of the same model.
    config: the transformer's, with `lora` set.

  Returns:
    A tree like `params`, in its types, for a model without LoRA.

  Raises:
    ValueError: `config.lora` is None, or `lora` has a node that is not in
      `params`.
  """
  if config.lora is None:
    raise ValueError("config.lora is None: nothing says how to merge")
  return _merge(params, lora, config, ())


def _merge(
  params: Mapping[str, Any],
  lora: Mapping[str, Any],
  config: transformer_config.TransformerConfig,
  path: tuple[str, ...],
) -> dict[str, Any]:
  merged = dict(params)
  for name, node in lora.items():
    here = (*path, name)
    if name not in params:
      raise ValueError(f"params has no {'/'.join(here)}, which lora adapts")
    if "kernel" in params[name]:
      kernel = _merged_kernel(params[name]["kernel"], node, name, config)
      merged[name] = {**params[name], "kernel": kernel}
    else:
      merged[name] = _merge(params[name], node, config, here)
  return merged


def _merged_kernel(
  kernel: chex.Array,
  adapters: Mapping[str, Mapping[str, chex.Array]],
  name: str,
  config: transformer_config.TransformerConfig,
) -> chex.Array:
  """W with each adapted part's product added to that part's columns."""
  assert config.lora is not None
  columns = []
  for part, size in config.projection_parts(name):
    if part in adapters:
      product = adapters[part]["a"] @ adapters[part]["b"]
      columns.append(config.lora.scale * product)
    else:
      columns.append(jnp.zeros((kernel.shape[0], size)))
  # Added in float32 and rounded once.
  merged = kernel.astype(jnp.float32) + jnp.concatenate(columns, axis=-1)
  return merged.astype(kernel.dtype)
