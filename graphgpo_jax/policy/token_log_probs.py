"""Log-probabilities of tokens without the logits of a whole batch.

At a vocabulary of 49152 the float32 logits of 8 rows of 1024 tokens take
1.6 GB, and their gradient as much again. Here they exist for a few columns of
the rows at a time, in the backward pass too.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp


def token_log_probs(
  hidden: chex.Array,
  weights: chex.Array,
  targets: chex.Array,
  *,
  chunk: int,
  temperature: chex.Numeric = 1.0,
  with_entropy: bool = True,
  entropy_gradient: bool = True,
) -> tuple[chex.Array, chex.Array | None]:
  """Log-probability of each target, and the entropy it was chosen under.

  With z = hidden W / temperature over the vocabulary, log_prob = z_target -
  logsumexp(z) and entropy = logsumexp(z) - sum_v softmax(z)_v z_v. The backward
  pass computes the logits of a chunk again: one product of four instead of
  one of three, for memory that does not grow with the length. Where `weights`
  are constants, as under LoRA, and the entropy has no gradient, the forward
  pass takes d log_prob / d hidden along instead, (W_target - sum_v softmax(z)_v
  W_v) / temperature: two products, and nothing is computed again.

  Args:
    hidden: float [N, L, D]; column i says what comes at i + 1, so the caller
      passes `hidden[:, :-1]` with `tokens[:, 1:]`.
    weights: float [D, V], a head's kernel, or [V, D], a tied embedding table;
      which of the two is read off the shape.
    targets: int32 [N, L]. Outside the vocabulary, as in padding, the result
      is finite and without meaning: minus the logsumexp.
    chunk: columns whose logits exist at once; need not divide L.
    temperature: the logits' divisor, positive; a number or float32 [].
    with_entropy: also compute the entropy, another pass over the logits.
    entropy_gradient: False where the entropy is only looked at: no gradient
      flows through it.

  Returns:
    log_prob float32 [N, L] in nats, and entropy float32 [N, L] in nats or
    None.

  Raises:
    ValueError: `chunk` or a plain number's `temperature` is not positive, or
      `weights` fits neither shape, or both.
  """
  chex.assert_rank([hidden, weights, targets], [3, 2, 2])
  chex.assert_equal_shape_prefix([hidden, targets], 2)
  chex.assert_type([hidden, targets], [float, int])
  if chunk < 1:
    raise ValueError(f"chunk={chunk} must be at least 1")
  if isinstance(temperature, int | float) and temperature <= 0:
    raise ValueError(f"temperature={temperature} must be positive")
  contracted = _contracted_axis(hidden.shape[-1], weights.shape)
  batch, length, width = hidden.shape
  chunk = min(chunk, max(length, 1))
  padding = -length % chunk

  def split(array: chex.Array) -> chex.Array:
    """[N, L, ...] to [chunks, N, chunk, ...]."""
    widths = [(0, 0), (0, padding)] + [(0, 0)] * (array.ndim - 2)
    array = jnp.pad(array, widths)
    array = array.reshape(batch, -1, chunk, *array.shape[2:])
    return jnp.moveaxis(array, 1, 0)

  score = functools.partial(
    _score,
    temperature=temperature,
    contracted=contracted,
    with_entropy=with_entropy,
  )

  def one_chunk(hidden: chex.Array, weights: chex.Array, targets: chex.Array):
    log_prob, entropy, _ = score(hidden, weights, targets)
    if not entropy_gradient:
      entropy = jax.lax.stop_gradient(entropy)
    return log_prob, entropy

  def one_chunk_and_slope(
    hidden: chex.Array, weights: chex.Array, targets: chex.Array
  ):
    log_prob, entropy, logits = score(hidden, weights, targets)
    slope = _slope(logits, weights, targets, contracted) / temperature
    return (log_prob, entropy), slope

  score_chunk = _with_early_slope(
    one_chunk,
    one_chunk_and_slope,
    early=isinstance(temperature, int | float)
    and not (with_entropy and entropy_gradient),
  )

  def join(array: chex.Array) -> chex.Array:
    """[chunks, N, chunk] to [N, L]."""
    return jnp.moveaxis(array, 0, 1).reshape(batch, -1)[:, :length]

  _, result = jax.lax.scan(
    lambda carry, columns: (
      carry,
      score_chunk(columns[0], weights, columns[1]),
    ),
    None,
    (split(hidden), split(targets)),
  )
  log_prob, entropy = result
  return join(log_prob), join(entropy) if with_entropy else None


def _contracted_axis(width: int, shape: tuple[int, ...]) -> int:
  """The axis of `weights` that is D."""
  if shape[0] == shape[1] or width not in shape:
    raise ValueError(
      f"weights of shape {shape} must be [D, V] or [V, D] with D={width} and V "
      "another number"
    )
  return shape.index(width)


def _score(hidden, weights, targets, *, temperature, contracted, with_entropy):
  """log_prob and entropy (or None) of a chunk [N, C], and its logits."""
  logits = jax.lax.dot_general(
    hidden,
    weights.astype(hidden.dtype),
    (((2,), (contracted,)), ((), ())),
    preferred_element_type=jnp.float32,
  )
  logits = logits / temperature
  normaliser = jax.nn.logsumexp(logits, axis=-1)
  # A comparison, not a gather: its gradient is no scatter, and it stays
  # local where the vocabulary is sharded.
  entries = jnp.arange(logits.shape[-1])
  chosen = jnp.where(entries == targets[..., None], logits, 0.0)
  log_prob = jnp.sum(chosen, axis=-1) - normaliser
  if not with_entropy:
    return log_prob, None, logits
  prob = jnp.exp(logits - normaliser[..., None])
  entropy = normaliser - jnp.sum(prob * logits, axis=-1)
  return log_prob, entropy, logits


def _slope(logits, weights, targets, contracted):
  """W_target - sum_v softmax(logits)_v W_v, float32 [N, C, D]."""
  entries = jnp.arange(logits.shape[-1])
  aim = (entries == targets[..., None]).astype(jnp.float32)
  # One product for both terms.
  aim -= jax.nn.softmax(logits, axis=-1)
  return jax.lax.dot_general(
    aim.astype(weights.dtype),
    weights,
    (((2,), (1 - contracted,)), ((), ())),
    preferred_element_type=jnp.float32,
  )


def _with_early_slope(
  function: Callable[..., Any], with_slope: Callable[..., Any], *, early: bool
) -> Callable[..., Any]:
  """`function`, whose gradient computes it again or takes an early slope.

  Args:
    function: `(hidden, weights, targets) -> (log_prob, entropy)`.
    with_slope: the same and d log_prob / d hidden.
    early: take the slope early where `weights` turn out to be constants.
  """
  if not early:
    return jax.checkpoint(function)
  scored = jax.custom_vjp(function)

  def forward(hidden, weights, targets):
    values = (hidden.value, weights.value, targets.value)
    if weights.perturbed:
      return function(*values), (values, None)
    result, slope = with_slope(*values)
    return result, (None, slope.astype(hidden.value.dtype))

  def backward(kept, slopes):
    values, slope = kept
    along = slopes[0]
    if isinstance(along, jax.custom_derivatives.SymbolicZero):
      along = jnp.zeros(along.shape, along.dtype)
    if slope is not None:
      return (along[..., None] * slope).astype(slope.dtype), None, None
    hidden, weights, targets = values

    def log_prob(hidden, weights):
      return function(hidden, weights, targets)[0]

    return *jax.vjp(log_prob, hidden, weights)[1](along), None

  scored.defvjp(forward, backward, symbolic_zeros=True)
  return scored
