"""A causal language model over token ids."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import chex
import flax.linen as nn
import jax.numpy as jnp

from graphgpo_jax.policy import heads, kv_cache, partition, transformer
from graphgpo_jax.policy import transformer_config as config_lib


@dataclasses.dataclass(frozen=True)
class LanguageModelConfig:
  """Shape and arithmetic of a `LanguageModel`.

  Attributes:
    vocabulary_size: V.
    transformer: its `causal` must be True.
    tied_embeddings: the embedding table reads out the logits as well.
  """

  vocabulary_size: int
  transformer: config_lib.TransformerConfig
  tied_embeddings: bool = True

  def __post_init__(self):
    if self.vocabulary_size < 1:
      raise ValueError(
        f"vocabulary_size={self.vocabulary_size} must be at least 1"
      )
    if not self.transformer.causal:
      raise ValueError("a language model needs transformer.causal=True")


class TokenEmbedding(nn.Module):
  """Table of one vector per token.

  Attributes:
    vocabulary_size: V.
    width: D.
    param_dtype: type of a new table.
  """

  vocabulary_size: int
  width: int
  param_dtype: Any

  @nn.compact
  def __call__(self) -> chex.Array:
    """The table, [V, D]."""
    return self.param(
      "table",
      nn.initializers.normal(self.width**-0.5),
      (self.vocabulary_size, self.width),
      self.param_dtype,
    )


class LanguageModel(nn.Module):
  """Transformer between an embedding table and logits over the vocabulary.

  Parameters: {"embedding": {"table": [V, D]}, "transformer": {...}} and
  {"head": {"kernel": [D, V]}} where embeddings are not tied. With
  `transformer.lora`, adapters in the collection "lora".

  Attributes:
    config: its shape.
  """

  config: LanguageModelConfig

  def setup(self) -> None:
    """Names the parts, and with them the tree of parameters."""
    config = self.config
    self.embedding = TokenEmbedding(
      config.vocabulary_size,
      config.transformer.width,
      config.transformer.param_dtype,
    )
    self.transformer = transformer.Transformer(config.transformer)
    self.head = heads.VocabularyHead(
      config.vocabulary_size, config.transformer.param_dtype
    )

  def __call__(
    self,
    tokens: chex.Array,
    mask: chex.Array,
    *,
    positions: chex.Array | None = None,
    segments: chex.Array | None = None,
  ) -> chex.Array:
    """Logits of the token after each one; arguments as for `hidden`.

    Returns:
      float32 [N, L, V].
    """
    return self.logits(
      self.hidden(tokens, mask, positions=positions, segments=segments)
    )

  def hidden(
    self,
    tokens: chex.Array,
    mask: chex.Array,
    *,
    positions: chex.Array | None = None,
    segments: chex.Array | None = None,
  ) -> chex.Array:
    """Hidden states, the final norm applied.

    Args:
      tokens: int32 [N, L]; anything where `mask` is False. A valid token that
        is not in the vocabulary gives NaN.
      mask: bool [N, L], True where there is a token.
      positions: int32 [N, L]; by default each valid token's rank among those
        of its row, or of its segment.
      segments: int32 [N, L] for rows that hold several sequences: a token
        attends within its own segment only. The tokens of a segment stand
        together in one run.

    Returns:
      [N, L, D] in the transformer's `dtype`.
    """
    return self.transformer(
      self._embed(tokens, mask), mask, positions, segments=segments
    )

  def extend(
    self, tokens: chex.Array, mask: chex.Array, cache: kv_cache.KVCache
  ) -> tuple[chex.Array, kv_cache.KVCache]:
    """Reads a chunk that goes on where the cache ends.

    Any cutting of a sequence into chunks, with any padding in them, gives the
    hidden states of `hidden` on the whole of it.

    Args:
      tokens: int32 [N, L]; L = 1 decodes.
      mask: bool [N, L], True where there is a token.
      cache: with room for L more slots.

    Returns:
      Hidden states [N, L, D], and the cache with the chunk in it.
    """
    return self.transformer(self._embed(tokens, mask), mask, cache=cache)

  def logits(self, hidden: chex.Array) -> chex.Array:
    """Reads float32 [..., V] out of hidden states [..., D]."""
    if self.config.tied_embeddings:
      return self.head(hidden, self._table())
    return self.head(hidden)

  def _table(self) -> chex.Array:
    return partition.constrain_vocabulary(self.embedding(), axis=0)

  def _embed(self, tokens: chex.Array, mask: chex.Array) -> chex.Array:
    chex.assert_rank([tokens, mask], 2)
    chex.assert_equal_shape([tokens, mask])
    chex.assert_type([tokens, mask], [int, bool])
    # -1 would wrap around; out of range on the other side is filled with NaN.
    tokens = jnp.where(tokens < 0, self.config.vocabulary_size, tokens)
    return partition.constrain_rows(
      jnp.take(self._table(), tokens, axis=0, mode="fill")
    )


def output_weights(params: Mapping[str, Any]) -> chex.Array:
  """The weights that read out logits, for `token_log_probs`.

  Args:
    params: parameters of a `LanguageModel`.

  Returns:
    The head's kernel [D, V], or the embedding table [V, D] where tied.
  """
  if "head" in params:
    return partition.constrain_vocabulary(params["head"]["kernel"], axis=1)
  return partition.constrain_vocabulary(params["embedding"]["table"], axis=0)
