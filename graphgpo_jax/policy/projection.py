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
    shape = inputs.shape[:-1]
    # One axis of tokens: over two a CPU takes the weights' gradients, sums over
    # both, several times more slowly.
    inputs = inputs.reshape(-1, inputs.shape[-1]).astype(self.dtype)
    output = self._product(inputs, kernel.astype(self.dtype))
    if self.use_bias:
      bias = self.param(
        "bias", nn.initializers.zeros, (size,), self.param_dtype
      )
      output += bias.astype(self.dtype)
    return output.reshape(*shape, size)

  def _product(self, inputs: chex.Array, kernel: chex.Array) -> chex.Array:
    """The product x W, with the corrections of the parts that are targets."""
    # All parts in one product each way, B in blocks: narrow products are slow,
    # and cutting the output into parts would copy it.
    size, start = kernel.shape[1], 0
    all_a, all_b = [], []
    for name, columns in self.parts:
      if self.lora is not None and name in self.lora.targets:
        a, b = self._adapter(self.lora, name, inputs.shape[-1], columns)
        all_a.append(a)
        all_b.append(jnp.pad(b, ((0, 0), (start, size - start - columns))))
      start += columns
    if self.lora is None or not all_a:
      return jnp.dot(inputs, kernel)
    return lora_lib.adapted_product(
      inputs,
      kernel,
      jnp.concatenate(all_a, axis=1),
      jnp.concatenate(all_b, axis=0),
      scale=self.lora.scale,
    )

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
