"""Policy-gradient losses: pure functions of log-probabilities and masks.

Per-token functions take arrays of any one shape; aggregations take [..., L]
with the tokens of a sequence last. Advantages, old and reference
log-probabilities carry no gradient.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

# exp of +-20 is 5e8 and 2e-9: finite in float32, and far outside every clip.
_MAX_LOG_RATIO = 20.0

# Finite stand-in for -inf, so that p * log p is 0 * finite instead of NaN.
_LOWEST_LOGIT = -1e9


def policy_ratio(log_prob: chex.Array, old_log_prob: chex.Array) -> chex.Array:
  """Ratio r = pi(a|s) / pi_old(a|s), its logarithm clamped to +-20.

  Args:
    log_prob: float [...], natural logarithm under the policy being trained.
    old_log_prob: float [...], under the policy that acted.

  Returns:
    float [...]; no gradient flows to `old_log_prob`, nor where clamped.
  """
  chex.assert_equal_shape([log_prob, old_log_prob])
  chex.assert_type([log_prob, old_log_prob], float)
  log_ratio = log_prob - jax.lax.stop_gradient(old_log_prob)
  return jnp.exp(jnp.clip(log_ratio, -_MAX_LOG_RATIO, _MAX_LOG_RATIO))


def clipped_surrogate(
  log_prob: chex.Array,
  old_log_prob: chex.Array,
  advantage: chex.Array,
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  dual_clip: float | None = None,
) -> chex.Array:
  """Clipped surrogate loss of each token.

  loss = max(-r A, -clip(r, 1 - clip_low, 1 + clip_high) A), and where A < 0
  at most -dual_clip A, so that one token whose ratio exploded cannot rule the
  update.

  Args:
    log_prob: float [...], under the policy being trained.
    old_log_prob: float [...], under the policy that acted.
    advantage: float [...].
    clip_low: how far the ratio may fall below 1.
    clip_high: how far the ratio may rise above 1.
    dual_clip: largest ratio that counts where the advantage is negative, above
      1; no bound where None.

  Returns:
    float [...], to be minimised.

  Raises:
    ValueError: `dual_clip` is not above 1.

  Reference: arXiv 1707.06347 (PPO), 2503.14476 (DAPO, separate bounds),
    1912.09729 (dual clip).
  """
  if dual_clip is not None and dual_clip <= 1.0:
    raise ValueError(f"dual_clip={dual_clip} must exceed 1")
  chex.assert_equal_shape([log_prob, advantage])
  ratio = policy_ratio(log_prob, old_log_prob)
  advantage = jax.lax.stop_gradient(advantage)
  clipped_ratio = jnp.clip(ratio, 1.0 - clip_low, 1.0 + clip_high)
  loss = jnp.maximum(-ratio * advantage, -clipped_ratio * advantage)
  if dual_clip is not None:
    bounded = jnp.minimum(loss, -dual_clip * advantage)
    loss = jnp.where(advantage < 0, bounded, loss)
  return loss


def is_clipped(
  log_prob: chex.Array,
  old_log_prob: chex.Array,
  advantage: chex.Array,
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  dual_clip: float | None = None,
) -> chex.Array:
  """Marks the tokens that a bound of `clipped_surrogate` cuts off.

  Takes the arguments of `clipped_surrogate`. The mean over valid tokens is the
  clip fraction.

  Returns:
    bool [...], True where a bound is active and stops the gradient.
  """
  chex.assert_equal_shape([log_prob, advantage])
  ratio = policy_ratio(log_prob, old_log_prob)
  clipped = (advantage > 0) & (ratio > 1.0 + clip_high)
  clipped |= (advantage < 0) & (ratio < 1.0 - clip_low)
  if dual_clip is not None:
    clipped |= (advantage < 0) & (ratio > dual_clip)
  return clipped


def _log_ratio_to_reference(
  log_prob: chex.Array, reference_log_prob: chex.Array
) -> chex.Array:
  chex.assert_equal_shape([log_prob, reference_log_prob])
  chex.assert_type([log_prob, reference_log_prob], float)
  return log_prob - jax.lax.stop_gradient(reference_log_prob)


def kl_k1(log_prob: chex.Array, reference_log_prob: chex.Array) -> chex.Array:
  """KL(pi || pi_ref) per token by log pi - log pi_ref.

  Unbiased, of high variance, often negative. As a loss it is useless on
  policy: its gradient is zero in expectation.

  Args:
    log_prob: float [...], under the policy being trained, of its own samples.
    reference_log_prob: float [...], under the reference policy.

  Returns:
    float [...], nats.

  Reference: Schulman, "Approximating KL Divergence", 2020.
  """
  return _log_ratio_to_reference(log_prob, reference_log_prob)


def kl_k2(log_prob: chex.Array, reference_log_prob: chex.Array) -> chex.Array:
  """KL(pi || pi_ref) per token by (log pi - log pi_ref)^2 / 2.

  Biased as a value, of low variance, never negative. On policy its gradient
  is an unbiased gradient of the divergence.

  Args:
    log_prob: float [...], under the policy being trained, of its own samples.
    reference_log_prob: float [...], under the reference policy.

  Returns:
    float [...], nats.

  Reference: Schulman, "Approximating KL Divergence", 2020.
  """
  return 0.5 * jnp.square(_log_ratio_to_reference(log_prob, reference_log_prob))


def kl_k3(
  log_prob: chex.Array,
  reference_log_prob: chex.Array,
  *,
  max_value: float | None = None,
) -> chex.Array:
  """KL(pi || pi_ref) per token by q - log q - 1 with q = pi_ref / pi.

  Unbiased as a value, of low variance, never negative; other code names it
  "low_var_kl". Its gradient on policy is that of KL(pi_ref || pi).

  Args:
    log_prob: float [...], under the policy being trained, of its own samples.
    reference_log_prob: float [...], under the reference policy.
    max_value: nats that an estimate is clamped to, with no gradient beyond;
      common recipes take 10. log q is clamped to +-20 in any case.

  Returns:
    float [...], nats.

  Reference: Schulman, "Approximating KL Divergence", 2020.
  """
  log_q = -_log_ratio_to_reference(log_prob, reference_log_prob)
  log_q = jnp.clip(log_q, -_MAX_LOG_RATIO, _MAX_LOG_RATIO)
  # expm1 keeps the digits that exp(x) - 1 loses near zero, where a policy
  # that has hardly moved spends all its time.
  estimate = jnp.expm1(log_q) - log_q
  return estimate if max_value is None else jnp.minimum(estimate, max_value)


def entropy(logits: chex.Array, mask: chex.Array | None = None) -> chex.Array:
  """H = -sum_a p_a log p_a with p = softmax(logits), for each row.

  Args:
    logits: float [..., A]. Inadmissible actions may hold -1e9 or -inf, or
      anything at all, NaN included, where `mask` is False.
    mask: bool [..., A], True where the action is admissible.

  Returns:
    float [...], nats; 0, without a gradient, where `mask` has no True.
  """
  chex.assert_type(logits, float)
  lowest = jnp.asarray(_LOWEST_LOGIT, logits.dtype)
  logits = jnp.where(jnp.isneginf(logits), lowest, logits)
  if mask is not None:
    chex.assert_equal_shape([logits, mask])
    chex.assert_type(mask, bool)
    logits = jnp.where(mask, logits, lowest)
  log_probs = jax.nn.log_softmax(logits)
  terms = jnp.exp(log_probs) * log_probs
  return -jnp.sum(terms if mask is None else jnp.where(mask, terms, 0.0), -1)


def log_prob(logits: chex.Array, actions: chex.Array) -> chex.Array:
  """Returns log softmax(logits)_a of the action taken in each row.

  Args:
    logits: float [..., A], none of them +inf or NaN.
    actions: int [...] in [0, A).

  Returns:
    float [...], natural logarithm.
  """
  chex.assert_type([logits, actions], [float, int])
  chex.assert_shape(actions, logits.shape[:-1])
  logits = logits - jax.lax.stop_gradient(
    jnp.max(logits, axis=-1, keepdims=True)
  )
  # Selecting by comparison fuses into the reduction; an index would make the
  # gradient a scatter.
  chosen = jnp.arange(logits.shape[-1]) == actions[..., None]
  chosen_logit = jnp.sum(jnp.where(chosen, logits, 0.0), axis=-1)
  return chosen_logit - jax.nn.logsumexp(logits, axis=-1)


def _mean(
  total: chex.Array, count: chex.Array, axis_name: str | None
) -> chex.Array:
  """Divides the sums over all devices of `axis_name`; 0 for 0 / 0."""
  if axis_name is not None:
    total, count = jax.lax.psum((total, count), axis_name)
  return total / jnp.maximum(count, 1)


def _masked_sum(values: chex.Array, mask: chex.Array) -> chex.Array:
  chex.assert_equal_shape([values, mask])
  chex.assert_type([values, mask], [float, bool])
  return jnp.sum(jnp.where(mask, values, 0.0), axis=-1)


def token_mean(
  values: chex.Array, mask: chex.Array, *, axis_name: str | None = None
) -> chex.Array:
  """Mean over all valid tokens: long sequences weigh more.

  Args:
    values: float [..., L].
    mask: bool [..., L], True where valid.
    axis_name: mapped axis over whose devices numerator and denominator are
      summed. Under `jax.pmap` the gradient is then to be averaged with
      `jax.lax.pmean`: transposing the sum multiplies it by the device count.

  Returns:
    float []; 0 where nothing is valid.

  Reference: arXiv 2503.14476 (DAPO).
  """
  total = jnp.sum(_masked_sum(values, mask))
  return _mean(total, jnp.sum(mask), axis_name)


def sequence_mean_token_mean(
  values: chex.Array, mask: chex.Array, *, axis_name: str | None = None
) -> chex.Array:
  """Mean over sequences of the mean over their tokens.

  Args:
    values: float [..., L].
    mask: bool [..., L], True where valid.
    axis_name: as in `token_mean`.

  Returns:
    float []; sequences without a valid token do not count.

  Reference: arXiv 2402.03300 (GRPO).
  """
  total = _masked_sum(values, mask)
  mean = total / jnp.maximum(jnp.sum(mask, axis=-1), 1)
  return _mean(jnp.sum(mean), jnp.sum(jnp.any(mask, axis=-1)), axis_name)


def sequence_mean_token_sum(
  values: chex.Array, mask: chex.Array, *, axis_name: str | None = None
) -> chex.Array:
  """Mean over sequences of the sum over their tokens.

  Args:
    values: float [..., L].
    mask: bool [..., L], True where valid.
    axis_name: as in `token_mean`.

  Returns:
    float []; sequences without a valid token do not count.

  Reference: arXiv 2503.20783 (Dr. GRPO, up to its constant).
  """
  total = jnp.sum(_masked_sum(values, mask))
  return _mean(total, jnp.sum(jnp.any(mask, axis=-1)), axis_name)


def mask_inputs(
  mask: chex.Array, *values: chex.Array
) -> tuple[chex.Array, ...]:
  """Zeroes invalid positions before anything is computed from them.

  Masking a loss afterwards is not enough: the gradient of exp(inf) times a
  mask of 0 is NaN. Masking the inputs cuts value and gradient.

  Args:
    mask: bool [...], True where valid.
    *values: arrays [...] of the same shape.

  Returns:
    The arrays, in order.
  """
  chex.assert_equal_shape([mask, *values])
  chex.assert_type(mask, bool)
  return tuple(jnp.where(mask, value, 0) for value in values)


def policy_loss(
  log_prob: chex.Array,
  old_log_prob: chex.Array,
  advantage: chex.Array,
  mask: chex.Array,
  reference_log_prob: chex.Array | None = None,
  entropy: chex.Array | None = None,
  *,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  dual_clip: float | None = None,
  kl_coefficient: Any = 0.0,
  entropy_coefficient: Any = 0.0,
  kl: Callable[[chex.Array, chex.Array], chex.Array] = kl_k3,
  aggregate: Callable[..., chex.Array] = token_mean,
  axis_name: str | None = None,
) -> tuple[chex.Array, dict[str, chex.Array]]:
  """Clipped surrogate, KL penalty and entropy bonus in one scalar.

    loss = agg(surrogate) + kl_coefficient * agg(kl)
           - entropy_coefficient * agg(entropy)

  Args:
    log_prob: float [..., L], under the policy being trained.
    old_log_prob: float [..., L], under the policy that acted.
    advantage: float [..., L].
    mask: bool [..., L], True where valid. Elsewhere the other arrays may hold
      anything, NaN included.
    reference_log_prob: float [..., L], under the reference policy.
    entropy: float [..., L], of the policy at each token.
    clip_low: how far the ratio may fall below 1.
    clip_high: how far the ratio may rise above 1.
    dual_clip: bound of the ratio where the advantage is negative.
    kl_coefficient: weight of the KL penalty; a float, or a float [] array.
    entropy_coefficient: weight of the bonus; a float, or a float [] array.
    kl: (log_prob, reference_log_prob) -> estimate per token.
    aggregate: `(values, mask, *, axis_name) -> scalar`.
    axis_name: as in `token_mean`.

  Returns:
    The loss, float [], and metrics, float [] without gradients: `policy_loss`,
    `clip_fraction`, `ratio_mean`, `ratio_max`, `old_kl` (k3 of the policy
    against the one that acted), `kl` and `entropy` where their arrays are
    given. The middle four are over tokens, whatever `aggregate` is.

  Raises:
    ValueError: a coefficient is not 0 and its array is missing.

  Reference: arXiv 1707.06347, 2402.03300.
  """
  chex.assert_type([log_prob, old_log_prob, advantage], float)
  if reference_log_prob is None and kl_coefficient != 0:
    raise ValueError("kl_coefficient needs reference_log_prob")
  if entropy is None and entropy_coefficient != 0:
    raise ValueError("entropy_coefficient needs entropy")
  log_prob, old_log_prob, advantage = mask_inputs(
    mask, log_prob, old_log_prob, advantage
  )
  clip: dict[str, Any] = {
    "clip_low": clip_low,
    "clip_high": clip_high,
    "dual_clip": dual_clip,
  }
  surrogate = clipped_surrogate(log_prob, old_log_prob, advantage, **clip)
  loss = aggregate(surrogate, mask, axis_name=axis_name)
  ratio = policy_ratio(log_prob, old_log_prob)
  clipped = is_clipped(log_prob, old_log_prob, advantage, **clip)
  ratio_max = jnp.max(jnp.where(mask, ratio, 0.0), initial=0.0)
  if axis_name is not None:
    # The gradient is cut first: pmax has none to give.
    ratio_max = jax.lax.pmax(jax.lax.stop_gradient(ratio_max), axis_name)

  def mean(values):
    return token_mean(values, mask, axis_name=axis_name)

  metrics = {
    "policy_loss": loss,
    "clip_fraction": mean(clipped.astype(ratio.dtype)),
    "ratio_mean": mean(ratio),
    "ratio_max": ratio_max,
    "old_kl": mean(kl_k3(old_log_prob, log_prob)),
  }
  if reference_log_prob is not None:
    (reference_log_prob,) = mask_inputs(mask, reference_log_prob)
    penalty = kl(log_prob, reference_log_prob)
    metrics["kl"] = aggregate(penalty, mask, axis_name=axis_name)
    loss = loss + kl_coefficient * metrics["kl"]
  if entropy is not None:
    (entropy,) = mask_inputs(mask, entropy)
    metrics["entropy"] = aggregate(entropy, mask, axis_name=axis_name)
    loss = loss - entropy_coefficient * metrics["entropy"]
  return loss, jax.lax.stop_gradient(metrics)


def broadcast_step_advantage(
  step_advantage: chex.Array, step_of_token: chex.Array
) -> chex.Array:
  """Gives each token the advantage of the step it belongs to.

  Args:
    step_advantage: float [B, T].
    step_of_token: int32 [B, L], the token's step; -1 where it has none, such
      as in prompts, observations and padding.

  Returns:
    float [B, L]; 0 where a token has no step.
  """
  chex.assert_rank([step_advantage, step_of_token], 2)
  chex.assert_equal_shape_prefix([step_advantage, step_of_token], 1)
  chex.assert_type([step_advantage, step_of_token], [float, int])
  advantage = jnp.take_along_axis(
    step_advantage,
    jnp.maximum(step_of_token, 0),
    axis=1,
    mode="fill",
    fill_value=0,
  )
  return jnp.where(step_of_token >= 0, advantage, 0.0)
