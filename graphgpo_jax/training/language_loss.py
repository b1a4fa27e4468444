"""The loss of a language model over rows of tokens.

Three functions in a chain: a model gives the log-probability and entropy of
every token (`make_log_probs`), an aggregation gives every token its weight
(`*_weights`), and `rows_loss` makes a scalar of both. Weights belong to the
whole batch, so the sum over any parts of it is the loss of the whole: that is
what makes micro-batches exact. They know segments, so packing changes nothing.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax import losses
from graphgpo_jax.policy import language_model, token_log_probs
from graphgpo_jax.rollouts import turns

Metrics = dict[str, chex.Array]
LogProbFn = Callable[[Any, turns.TokenRows], tuple[chex.Array, Any]]
Weigh = Callable[[chex.Array, chex.Array], chex.Array]


def make_log_probs(
  model: language_model.LanguageModel,
  *,
  chunk: int = 64,
  temperature: float = 1.0,
  with_entropy: bool = True,
  entropy_gradient: bool = True,
) -> LogProbFn:
  """Builds the function that scores the tokens of rows.

  Args:
    model: the language model.
    chunk: positions of a row whose logits exist at once.
    temperature: of the softmax; that of the sampler.
    with_entropy: also compute the entropy, another pass over the logits.
    entropy_gradient: False where the loss has no entropy bonus: then LoRA
      never computes logits twice.

  Returns:
    `log_probs(variables, rows) -> (log_prob, entropy)`, both float32 [R, L]:
    log p(tokens[t] | tokens of the segment before t) and the entropy, in nats,
    of the distribution that token t was drawn from, or None. Without meaning
    at the first token of a segment and in padding. `variables` holds the
    model's collections, "params" and where it has any "lora".
  """

  def log_probs(variables, rows):
    hidden = model.apply(
      variables,
      rows.tokens,
      rows.mask,
      positions=rows.position,
      segments=rows.segment,
      method="hidden",
    )
    # Position t predicts token t + 1; the last has nothing to predict.
    following = jnp.pad(rows.tokens[:, 1:], ((0, 0), (0, 1)))
    predicted = token_log_probs.token_log_probs(
      hidden,
      language_model.output_weights(variables["params"]),
      following,
      chunk=chunk,
      temperature=temperature,
      with_entropy=with_entropy,
      entropy_gradient=entropy_gradient,
    )
    return jax.tree.map(
      lambda values: jnp.pad(values[:, :-1], ((0, 0), (1, 0))), predicted
    )

  return log_probs


def token_mean_weights(
  loss_mask: chex.Array, segment: chex.Array
) -> chex.Array:
  """Weights of `losses.token_mean`: 1 over the number of loss tokens.

  Args:
    loss_mask: bool [R, L].
    segment: int32 [R, L], unused: a token counts the same in any row.

  Returns:
    float32 [R, L]; 0 where `loss_mask` is False.
  """
  chex.assert_equal_shape([loss_mask, segment])
  return loss_mask / jnp.maximum(jnp.sum(loss_mask), 1).astype(jnp.float32)


def sequence_mean_token_mean_weights(
  loss_mask: chex.Array, segment: chex.Array
) -> chex.Array:
  """Weights of `losses.sequence_mean_token_mean`, a sequence being a segment.

  Args:
    loss_mask: bool [R, L].
    segment: int32 [R, L], from 0 within a row.

  Returns:
    float32 [R, L]; 0 where `loss_mask` is False. Segments without a loss token
    do not count.
  """
  count = _segment_counts(loss_mask, segment)
  of_token = jnp.take_along_axis(count, jnp.maximum(segment, 0), axis=1)
  sequences = jnp.maximum(jnp.sum(count > 0), 1)
  return jnp.where(loss_mask, 1.0 / (jnp.maximum(of_token, 1) * sequences), 0.0)


def sequence_mean_token_sum_weights(
  loss_mask: chex.Array, segment: chex.Array
) -> chex.Array:
  """Weights of `losses.sequence_mean_token_sum`, a sequence being a segment.

  Args:
    loss_mask: bool [R, L].
    segment: int32 [R, L], from 0 within a row.

  Returns:
    float32 [R, L]; 0 where `loss_mask` is False. Segments without a loss token
    do not count.
  """
  count = _segment_counts(loss_mask, segment)
  sequences = jnp.maximum(jnp.sum(count > 0), 1)
  return loss_mask / sequences.astype(jnp.float32)


def _segment_counts(loss_mask: chex.Array, segment: chex.Array) -> chex.Array:
  """Loss tokens of each segment, int32 [R, L] with the segment as column."""
  chex.assert_equal_shape([loss_mask, segment])
  chex.assert_type([loss_mask, segment], [bool, int])

  def count(mask, ids):
    # A segment has a token at least, so ids stay below the length.
    return jax.ops.segment_sum(
      mask.astype(jnp.int32), jnp.maximum(ids, 0), num_segments=ids.shape[0]
    )

  return jax.vmap(count)(loss_mask, segment)


def rows_loss(
  log_prob: chex.Array,
  entropy: chex.Array | None,
  rows: turns.TokenRows,
  weight: chex.Array,
  share: chex.Array,
  trainer_log_prob: chex.Array | None = None,
  reference_log_prob: chex.Array | None = None,
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  dual_clip: float | None = None,
  kl_coefficient: float = 0.0,
  entropy_coefficient: float = 0.0,
  kl: Callable[[chex.Array, chex.Array], chex.Array] = losses.kl_k3,
  importance_cap: float | None = None,
) -> tuple[chex.Array, Metrics]:
  """Clipped surrogate, KL penalty and entropy bonus of rows, weighted.

  loss = sum_t weight_t (c_t surrogate_t + kl_coefficient kl_t
                         - entropy_coefficient entropy_t)

  Sampler and trainer compute the same log-probability in different ways
  (caches, types, kernels), and not exactly alike. Given `trainer_log_prob`,
  those of the trainer before the update, the surrogate's ratio is to them, and
  c_t = min(exp(trainer_log_prob - old_log_prob), importance_cap) makes up for
  what the sampler did differently; without a cap c_t = 1.

  Args:
    log_prob: float32 [R, L], under the policy being trained.
    entropy: float32 [R, L], or None without a bonus.
    rows: `old_log_prob` holds the sampler's.
    weight: float32 [R, L], of one of the `*_weights` of the whole batch.
    share: float32 [R, L], `token_mean_weights` of the whole batch, by which
      metrics that are no losses are averaged.
    trainer_log_prob: float32 [R, L], by the same function as `log_prob`.
    reference_log_prob: float32 [R, L], under the reference policy.
    clip_low: how far the ratio may fall below 1.
    clip_high: how far the ratio may rise above 1.
    dual_clip: bound of the ratio where the advantage is negative.
    kl_coefficient: weight of the KL penalty.
    entropy_coefficient: weight of the entropy bonus.
    kl: (log_prob, reference_log_prob) -> estimate per token.
    importance_cap: bound of the importance weights; None leaves them out.

  Returns:
    The loss, float [], and metrics, float [] without gradients. Over parts of
    a batch the loss and all metrics add up, but for those that end in `_max`,
    of which the largest counts. `sampler/difference_mean` and `_max` are of
    |trainer - sampler| log-probability over the loss tokens; without
    `trainer_log_prob` the trainer's are `log_prob`, so that they tell the two
    apart in the first step after sampling only.

  Raises:
    ValueError: a coefficient or a cap is given and its array is missing, the
      cap is not positive, or `dual_clip` is not above 1.

  Reference: arXiv 1707.06347, 2402.03300; truncated importance weights as in
    1802.01561 (V-trace).
  """
  if reference_log_prob is None and kl_coefficient != 0:
    raise ValueError("kl_coefficient needs reference_log_prob")
  if entropy is None and entropy_coefficient != 0:
    raise ValueError("entropy_coefficient needs entropy")
  if importance_cap is not None:
    if trainer_log_prob is None:
      raise ValueError("importance_cap needs trainer_log_prob")
    if not importance_cap > 0:
      raise ValueError(f"importance_cap={importance_cap} must be positive")
  valid = rows.loss_mask
  # Elsewhere anything may stand, and what is computed from it may overflow.
  log_prob, sampler, advantage = losses.mask_inputs(
    valid, log_prob, rows.old_log_prob, rows.advantage
  )
  before = sampler
  if trainer_log_prob is not None:
    (before,) = losses.mask_inputs(valid, trainer_log_prob)
  clip: dict[str, Any] = {
    "clip_low": clip_low,
    "clip_high": clip_high,
    "dual_clip": dual_clip,
  }
  surrogate = losses.clipped_surrogate(log_prob, before, advantage, **clip)
  clipped = losses.is_clipped(log_prob, before, advantage, **clip)
  trainer = log_prob if trainer_log_prob is None else before
  difference = jnp.abs(trainer - sampler)
  metrics = {
    "loss/kl": jnp.sum(share * losses.kl_k3(before, log_prob)),
    "loss/clip_fraction": jnp.sum(share * clipped),
    "sampler/difference_mean": jnp.sum(share * difference),
    "sampler/difference_max": jnp.max(difference, initial=0.0),
    "sampler/tokens": jnp.sum(valid).astype(jnp.float32),
  }
  if importance_cap is not None:
    exact = jax.lax.stop_gradient(losses.policy_ratio(before, sampler))
    surrogate = surrogate * jnp.minimum(exact, importance_cap)
    metrics["sampler/importance_mean"] = jnp.sum(share * exact)
    metrics["sampler/importance_truncated"] = jnp.sum(
      share * (exact > importance_cap)
    )
  loss = metrics["loss/policy"] = jnp.sum(weight * surrogate)
  if entropy is not None:
    (entropy,) = losses.mask_inputs(valid, entropy)
    metrics["loss/entropy"] = jnp.sum(weight * entropy)
    loss = loss - entropy_coefficient * metrics["loss/entropy"]
  if reference_log_prob is not None:
    (reference,) = losses.mask_inputs(valid, reference_log_prob)
    metrics["loss/reference_kl"] = jnp.sum(weight * kl(log_prob, reference))
    loss = loss + kl_coefficient * metrics["loss/reference_kl"]
  return loss, jax.lax.stop_gradient(metrics)


def add_metrics(one: Metrics, other: Metrics) -> Metrics:
  """Metrics of two parts of a batch together, as `rows_loss` describes."""
  return {
    name: jnp.maximum(value, other[name])
    if name.endswith("_max")
    else value + other[name]
    for name, value in one.items()
  }
