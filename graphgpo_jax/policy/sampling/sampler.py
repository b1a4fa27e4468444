"""Samples of a language model: token ids in, token ids out."""

from collections.abc import Callable, Sequence
from typing import Any

import chex

from graphgpo_jax.policy import language_model
from graphgpo_jax.policy.sampling import episode as episode_lib
from graphgpo_jax.policy.sampling import options as options_lib
from graphgpo_jax.policy.sampling import stops


class Sampler:
  """Draws continuations of prompts.

  Compiled once per batch size and bucket of cache slots, a bucket being
  `prefill_chunk` times a power of two. Tokens are drawn on the device
  `segment` at a time; between two segments the host looks for stop strings
  and makes room in the cache.

  Attributes:
    model: the language model.
    variables: {"params": ...}, with "lora" where the model has adapters. May
      be replaced between calls by others of the same shapes; episodes begun
      before keep theirs.
    stop_table: stop sequences as an array.
    stop_strings: strings that end a sample.
    decode: token ids to text.
    max_length: the most tokens of a prompt and its sample together.
    segment: tokens drawn between two looks.
    prefill_chunk: prompt columns read at a time.
  """

  def __init__(
    self,
    model: language_model.LanguageModel,
    variables: Any,
    *,
    eos_ids: Sequence[int] = (),
    stop_sequences: Sequence[Sequence[int]] = (),
    stop_strings: Sequence[str] = (),
    decode: Callable[[Sequence[int]], str] | None = None,
    max_length: int | None = None,
    segment: int = 16,
    prefill_chunk: int = 64,
  ):
    """Prepares a sampler; compiles nothing yet.

    Args:
      model: the language model.
      variables: {"params": ...}, with "lora" where the model has adapters.
        On a mesh of `partition` the batch and its cache are divided over it.
      eos_ids: token ids that end a sample; the one drawn is part of it.
      stop_sequences: sequences of token ids that end a sample and are part of
        it. They count in what was drawn only, never in the prompt.
      stop_strings: strings that end a sample, cut after the first token that
        completes one. Up to `segment` - 1 tokens are drawn in vain.
      decode: token ids to text, needed for stop strings.
      max_length: the most tokens of a prompt and its sample together, such as
        the model's context; unbounded where None.
      segment: tokens drawn between two looks of the host.
      prefill_chunk: prompt columns read at a time.

    Raises:
      ValueError: stop strings without `decode`, an empty stop string, a
        `segment` or `prefill_chunk` below 1, `variables` without "params".
    """
    if "params" not in variables:
      raise ValueError('variables must hold "params", the model\'s parameters')
    if stop_strings and decode is None:
      raise ValueError("stop_strings need decode, from token ids to text")
    if isinstance(stop_strings, str) or not all(stop_strings):
      raise ValueError(f"stop_strings={stop_strings!r} must be strings, no ''")
    if segment < 1 or prefill_chunk < 1:
      raise ValueError(
        f"segment={segment} and prefill_chunk={prefill_chunk} must be at "
        "least 1"
      )
    self.model = model
    self.variables = variables
    self.stop_table = stops.stop_table(
      [[token] for token in eos_ids] + [list(ids) for ids in stop_sequences]
    )
    self.stop_strings = tuple(stop_strings)
    self.decode = decode
    self.max_length = max_length
    self.segment = segment
    self.prefill_chunk = prefill_chunk

  def sample(
    self,
    prompts: Sequence[Sequence[int] | None],
    key: chex.PRNGKey,
    options: options_lib.SamplingOptions,
    *,
    indices: Sequence[int] | None = None,
    stream: episode_lib.StreamFn | None = None,
  ) -> list[options_lib.Sample]:
    """Draws a sample after each prompt; see `Episode.sample`."""
    return self.episode(len(prompts)).sample(
      prompts, key, options, indices=indices, stream=stream
    )

  def episode(self, batch: int) -> episode_lib.Episode:
    """Begins `batch` conversations that keep their caches between turns."""
    return episode_lib.Episode(self, batch)
