"""The policy of an on-device environment: observation to action logits."""

from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from graphgpo_jax.envs import types
from graphgpo_jax.policy import heads, transformer

Params = Any
InitFn = Callable[[chex.PRNGKey], Params]
ApplyFn = Callable[[Params, types.Observation], chex.Array]

# Finite, so that p * log p and every gradient stay finite; so low that the
# probability is exactly 0 in float32.
ILLEGAL_LOGIT = -1e9


class FeatureEmbedding(nn.Module):
  """Sum of one learnt vector per feature of a token.

  Attributes:
    feature_sizes: F sizes; feature f lies in [0, feature_sizes[f]).
    width: D.
    dtype: type of the product and of the result.
  """

  feature_sizes: tuple[int, ...]
  width: int
  dtype: Any

  @nn.compact
  def __call__(self, tokens: chex.Array) -> chex.Array:
    """Embeds int32 [..., F] as [..., D]; features out of range add nothing."""
    chex.assert_axis_dimension(tokens, -1, len(self.feature_sizes))
    table = self.param(
      "table",
      nn.initializers.normal(len(self.feature_sizes) ** -0.5),
      (sum(self.feature_sizes), self.width),
    )
    # A product with the one-hot features, not a gather: a gather would clamp
    # a feature that is out of range, and its gradient is a scatter. At the
    # sizes of an environment both took the same time on CPU.
    one_hot = jnp.concatenate(
      [
        jax.nn.one_hot(tokens[..., index], size, dtype=self.dtype)
        for index, size in enumerate(self.feature_sizes)
      ],
      axis=-1,
    )
    return one_hot @ table.astype(self.dtype)


class Actor(nn.Module):
  """Transformer over a set of tokens with pointer and fixed actions.

  Positions are features of the tokens where an environment has any, so
  attention is bidirectional and without RoPE.

  Attributes:
    feature_sizes: F sizes of the tokens' features.
    num_pointer_actions: P; action p < P points at token `pointer_start + p`.
    pointer_start: index of the token that action 0 points at.
    num_fixed_actions: actions P, ..., that belong to no token.
    config: the transformer.
    mask_actions: give inadmissible actions the logit `ILLEGAL_LOGIT`.
  """

  feature_sizes: tuple[int, ...]
  num_pointer_actions: int
  pointer_start: int
  num_fixed_actions: int
  config: transformer.TransformerConfig
  mask_actions: bool = True

  @nn.compact
  def __call__(self, observation: types.Observation) -> chex.Array:
    """Logits of all actions, over any number of leading batch axes.

    Args:
      observation: tokens int32 [..., L, F], token_mask bool [..., L] and
        action_mask bool [..., A].

    Returns:
      float32 [..., A], the pointer actions first, then the fixed ones. Where
      no action is admissible every logit is `ILLEGAL_LOGIT`: uniform.
    """
    mask = observation.token_mask
    chex.assert_type([observation.tokens, mask], [int, bool])
    chex.assert_equal_shape_prefix([observation.tokens, mask], mask.ndim)
    embeddings = FeatureEmbedding(
      self.feature_sizes, self.config.width, self.config.dtype, name="embedding"
    )(observation.tokens)
    hidden = transformer.Transformer(self.config, name="transformer")(
      embeddings, mask
    )
    parts = []
    if self.num_pointer_actions:
      stop = self.pointer_start + self.num_pointer_actions
      pointed = hidden[..., self.pointer_start : stop, :]
      parts.append(heads.PointerHead(name="pointer")(pointed))
    if self.num_fixed_actions:
      head = heads.ActionHead(self.num_fixed_actions, name="fixed")
      parts.append(head(hidden, mask))
    logits = jnp.concatenate(parts, axis=-1)
    chex.assert_equal_shape([logits, observation.action_mask])
    if self.mask_actions:
      logits = jnp.where(observation.action_mask, logits, ILLEGAL_LOGIT)
    return logits


def make_actor(
  spec: types.EnvironmentSpec,
  config: transformer.TransformerConfig,
  *,
  mask_actions: bool = True,
) -> tuple[InitFn, ApplyFn]:
  """Builds the policy of an environment as a pair of pure functions.

  Args:
    spec: the environment's static facts.
    config: the transformer; not causal and without RoPE.
    mask_actions: give inadmissible actions the logit `ILLEGAL_LOGIT`.

  Returns:
    `init_fn(key) -> params`, a tree of float32 arrays, and
    `apply_fn(params, observation) -> logits`, float32 [..., A] for an
    observation with any leading batch axes, or none.

  Raises:
    ValueError: `config` is causal or has RoPE, or `spec` has no action or a
      pointer action without a token.
  """
  if config.causal or config.rope:
    raise ValueError(
      "an actor reads a set of tokens: config.causal and config.rope must be "
      f"False, got causal={config.causal}, rope={config.rope}"
    )
  if spec.num_actions < 1:
    raise ValueError(f"{spec.name} has no action")
  if spec.pointer_start + spec.num_pointer_actions > spec.num_tokens:
    raise ValueError(
      f"{spec.name} has {spec.num_tokens} tokens, fewer than pointer_start="
      f"{spec.pointer_start} plus {spec.num_pointer_actions} pointer actions"
    )
  actor = Actor(
    feature_sizes=tuple(spec.feature_sizes),
    num_pointer_actions=spec.num_pointer_actions,
    pointer_start=spec.pointer_start,
    num_fixed_actions=spec.num_fixed_actions,
    config=config,
    mask_actions=mask_actions,
  )
  # Parameter shapes depend on sizes only, so any observation will do.
  example = types.Observation(
    tokens=jnp.zeros((spec.num_tokens, len(spec.feature_sizes)), jnp.int32),
    token_mask=jnp.ones(spec.num_tokens, bool),
    action_mask=jnp.ones(spec.num_actions, bool),
  )

  def init_fn(key: chex.PRNGKey) -> Params:
    # Compiled, because op by op an initialisation takes seconds on CPU.
    return jax.jit(actor.init)(key, example)["params"]

  def apply_fn(params: Params, observation: types.Observation) -> chex.Array:
    return actor.apply({"params": params}, observation)

  return init_fn, apply_fn
