"""Heads: from hidden states to logits, always float32."""

from typing import Any

import chex
import flax.linen as nn
import jax.numpy as jnp

# A unit hidden state gives logits of about this size: a new policy is nearly
# uniform, whatever it sees, and still not blind to what it sees.
INITIAL_LOGIT_SCALE = 0.01

_policy_init = nn.initializers.variance_scaling(
  INITIAL_LOGIT_SCALE**2, "fan_in", "normal"
)


class ActionHead(nn.Module):
  """One logit per action, from the mean of the valid tokens.

  The mean needs no token set aside for the purpose, which environments do not
  promise, and gives every token a direct gradient.

  Attributes:
    num_actions: size of the output.
  """

  num_actions: int

  @nn.compact
  def __call__(self, hidden: chex.Array, mask: chex.Array) -> chex.Array:
    """Reads the actions' logits.

    Args:
      hidden: float [..., L, D].
      mask: bool [..., L], True where there is a token.

    Returns:
      float32 [..., num_actions]; the bias alone where no token is valid.
    """
    chex.assert_type([hidden, mask], [float, bool])
    chex.assert_equal_shape_prefix([hidden, mask], mask.ndim)
    valid = mask[..., None]
    total = jnp.sum(jnp.where(valid, hidden.astype(jnp.float32), 0.0), axis=-2)
    pooled = total / jnp.maximum(jnp.sum(valid, axis=-2), 1)
    return nn.Dense(self.num_actions, kernel_init=_policy_init, name="logits")(
      pooled
    )


class PointerHead(nn.Module):
  """One logit per token, by the same linear map for each.

  So permuting tokens permutes logits, and what was learnt about pointing at
  one token holds for all.
  """

  @nn.compact
  def __call__(self, hidden: chex.Array) -> chex.Array:
    """Maps float [..., P, D], the marked tokens, to float32 [..., P]."""
    chex.assert_type(hidden, float)
    logits = nn.Dense(1, kernel_init=_policy_init, name="logits")(
      hidden.astype(jnp.float32)
    )
    return jnp.squeeze(logits, axis=-1)


class VocabularyHead(nn.Module):
  """Logits over a vocabulary, optionally tied to the embedding table.

  Attributes:
    vocabulary_size: V.
    param_dtype: type of a new kernel.
  """

  vocabulary_size: int
  param_dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, hidden: chex.Array, table: chex.Array | None = None
  ) -> chex.Array:
    """Scores every entry of the vocabulary.

    Args:
      hidden: float [..., D].
      table: float [V, D], the embedding table to share; the head has a kernel
        of its own, and no bias, where None.

    Returns:
      float32 [..., V]. The product takes its inputs in the type of `hidden`
      and accumulates in float32.
    """
    chex.assert_type(hidden, float)
    width = hidden.shape[-1]
    if table is None:
      shape = (width, self.vocabulary_size)
      kernel = self.param("kernel", _policy_init, shape, self.param_dtype)
    else:
      chex.assert_shape(table, (self.vocabulary_size, width))
      kernel = table.T
    return jnp.matmul(
      hidden, kernel.astype(hidden.dtype), preferred_element_type=jnp.float32
    )
