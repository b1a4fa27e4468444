"""A transformer that chooses one of the commands that are admissible."""

from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from graphgpo_jax.policy import actor, heads, transformer
from graphgpo_jax.policy.acting import reading, words

_MOST_TIMES = 3


class CommandChooser(nn.Module):
  """Reads state and commands as one row, a token for each command.

  Words of the state stand in their order (RoPE). A command's token is the sum
  of its words, each weighted by a learnt vector of its place, of what share of
  them stand in each passage of the state, which holds for words never met in
  training, too, and of how often it was taken before. All commands stand at one
  place behind the state: their order says nothing.

  Attributes:
    spec: sizes of what is read.
    config: the transformer, bidirectional and with RoPE.
  """

  spec: reading.ReadingSpec
  config: transformer.TransformerConfig

  @nn.compact
  def __call__(self, observation: reading.TextObservation) -> chex.Array:
    """Logits of the commands, over any number of leading batch axes.

    Args:
      observation: leaves [..., L], [..., A, C] and [..., A].

    Returns:
      float32 [..., A], `actor.ILLEGAL_LOGIT` where there is no command.
    """
    width, dtype = self.config.width, self.config.dtype
    words_table = self.param(
      "words", nn.initializers.normal(1.0), (self.spec.vocabulary_size, width)
    ).astype(dtype)
    kinds_table = self.param(
      "kinds", nn.initializers.normal(1.0), (self.spec.num_kinds, width)
    ).astype(dtype)
    places = self.param(
      "places",
      nn.initializers.normal(0.5),
      (self.spec.max_command_tokens, width),
    ).astype(dtype)
    state = words_table[observation.tokens] + kinds_table[observation.kinds]
    there = (observation.commands != words.PADDING)[..., None]
    spelled = jnp.where(there, words_table[observation.commands], 0.0)
    commands = jnp.sum(spelled * (1.0 + places), axis=-2)
    commands = commands + kinds_table[reading.COMMAND]
    shared = nn.Dense(
      width,
      use_bias=False,
      kernel_init=nn.initializers.normal(1.0),
      dtype=dtype,
      name="shared_words",
    )
    commands = commands + shared(shared_words(observation, self.spec.num_kinds))
    # Once, twice, more often: beyond that nothing is to be learnt.
    times = jnp.minimum(observation.tried, _MOST_TIMES)
    for name, column in (("tried_here", 0), ("tried_ever", 1)):
      table = self.param(
        name, nn.initializers.normal(1.0), (_MOST_TIMES + 1, width)
      )
      commands = commands + table.astype(dtype)[times[..., column]]
    embeddings = jnp.concatenate([state, commands], axis=-2)
    mask = jnp.concatenate(
      [observation.token_mask, observation.action_mask], axis=-1
    )
    order = jnp.minimum(jnp.arange(mask.shape[-1]), self.spec.max_tokens)
    hidden = transformer.Transformer(self.config, name="transformer")(
      embeddings, mask, jnp.broadcast_to(order, mask.shape).astype(jnp.int32)
    )
    pointed = hidden[..., self.spec.max_tokens :, :]
    logits = heads.PointerHead(name="pointer")(pointed)
    return jnp.where(observation.action_mask, logits, actor.ILLEGAL_LOGIT)


def shared_words(
  observation: reading.TextObservation, num_kinds: int
) -> chex.Array:
  """What share of a command's words stands in each passage.

  Args:
    observation: leaves [..., L], [..., A, C] and [..., A].
    num_kinds: K, kinds of passages.

  Returns:
    float32 [..., A, K], in [0, 1].
  """
  there = observation.commands != words.PADDING
  equal = (
    observation.commands[..., None] == observation.tokens[..., None, None, :]
  )
  equal &= there[..., None] & observation.token_mask[..., None, None, :]
  kinds = observation.kinds[..., None, None, :]
  count = jnp.maximum(jnp.sum(there, axis=-1), 1)
  # Kind by kind: an axis of kinds would make the comparisons K times as large.
  shares = [
    jnp.sum(jnp.any(equal & (kinds == kind), axis=-1), axis=-1) / count
    for kind in range(num_kinds)
  ]
  return jnp.stack(shares, axis=-1)


def make_chooser(
  spec: reading.ReadingSpec, config: transformer.TransformerConfig
) -> tuple[actor.InitFn, Callable[[Any, reading.TextObservation], chex.Array]]:
  """Builds the functions of a policy that chooses commands.

  Args:
    spec: sizes of what is read.
    config: the transformer's sizes; RoPE is switched on.

  Returns:
    `init_fn(key) -> params` and `apply_fn(params, observation) -> logits`,
    float32 [..., A].

  Raises:
    ValueError: `config` is causal or without RoPE.
  """
  if config.causal or not config.rope:
    raise ValueError(
      "a chooser reads all words at once, in their order: config.causal must "
      f"be False and config.rope True, got {config.causal} and {config.rope}"
    )
  module = CommandChooser(spec, config)
  example = reading.empty(spec)

  def init_fn(key: chex.PRNGKey) -> Any:
    return jax.jit(module.init)(key, example)["params"]

  def apply_fn(params: Any, observation: reading.TextObservation) -> chex.Array:
    return module.apply({"params": params}, observation)

  return init_fn, apply_fn
