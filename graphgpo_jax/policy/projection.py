"""A linear map whose columns are several parts, each perhaps adapted."""

from typing import Any

import chex
import flax.linen as nn
import jax.numpy as jnp

from graphgpo_jax.policy import lora as lora_lib


class Projection(nn.Module):
  """y = x W + b, plus a low-rank correction per adapted part of the columns.

  Without LoRA this is `nn.Dense`, parameters' names and first values included.

  Attributes:
    parts: name and number of columns of each part, in order.
    use_bias: whether there is b.
    dtype: type of the product.
    param_dtype: type of new W and b.
    kernel_init: initialiser of W [in, sum of columns].
    lora: the adapters, in the collection "lora", if any.
  """

  parts: tuple[tuple[str, int], ...]
  use_bias: bool
  dtype: Any
  param_dtype: Any
  kernel_init: nn.initializers.Initializer
  lora: lora_lib.LoraConfig | None = None

  @nn.compact
  def __call__(self, inputs: chex.Array) -> chex.Array:
    """Maps [..., in] to `dtype` [..., sum of columns]."""
    size = sum(columns for _, columns in self.parts)
    kernel = self.param(
      "kernel", self.kernel_init, (inputs.shape[-1], size), self.param_dtype
    )
    inputs = inputs.astype(self.dtype)
    output = jnp.dot(inputs, kernel.astype(self.dtype))
    if self.use_bias:
      bias = self.param(
        "bias", nn.initializers.zeros, (size,), self.param_dtype
      )
      output += bias.astype(self.dtype)
    if self.lora is not None:
      output = self._adapt(self.lora, inputs, output)
    return output

  def _adapt(
    self,
    lora: lora_lib.LoraConfig,
    inputs: chex.Array,
    output: chex.Array,
  ) -> chex.Array:
    """Adds the corrections of the parts that are targets."""
    # Part by part, so that no zeros are computed for parts without adapters.
    corrected, start = [], 0
    for name, columns in self.parts:
      part = output[..., start : start + columns]
      start += columns
      if name in lora.targets:
        adapter = self._adapter(lora, name, inputs.shape[-1], columns)
        part += lora_lib.correction(inputs, *adapter, scale=lora.scale)
      corrected.append(part)
    return jnp.concatenate(corrected, axis=-1)

  def _adapter(
    self, lora: lora_lib.LoraConfig, name: str, rows: int, columns: int
  ) -> tuple[chex.Array, chex.Array]:
    """A, normal / sqrt(in), and B, zero: a new adapter changes nothing."""

    def create() -> dict[str, chex.Array]:
      normal = nn.initializers.normal(rows**-0.5)
      return {
        "a": normal(self.make_rng("params"), (rows, lora.rank)),
        "b": jnp.zeros((lora.rank, columns)),
      }

    adapter = self.variable("lora", name, create).value
    return adapter["a"], adapter["b"]
