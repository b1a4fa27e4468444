"""Log-probabilities of tokens without the logits of a whole batch.

At a vocabulary of 49152 the float32 logits of 8 rows of 1024 tokens take
1.6 GB, and their gradient as much again. Here they exist for a few columns of
the rows at a time, in the backward pass too.
"""

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
) -> tuple[chex.Array, chex.Array | None]:
  """Log-probability of each target, and the entropy it was chosen under.

  With z = hidden W / temperature over the vocabulary, log_prob = z_target -
  logsumexp(z) and entropy = logsumexp(z) - sum_v softmax(z)_v z_v. The backward
  pass computes the logits of a chunk again: one product of four instead of
  one of three, for memory that does not grow with the length.

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

  @jax.checkpoint
  def one_chunk(hidden: chex.Array, targets: chex.Array):
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
      return log_prob, None
    prob = jnp.exp(logits - normaliser[..., None])
    return log_prob, normaliser - jnp.sum(prob * logits, axis=-1)

  def join(array: chex.Array) -> chex.Array:
    """[chunks, N, chunk] to [N, L]."""
    return jnp.moveaxis(array, 0, 1).reshape(batch, -1)[:, :length]

  _, result = jax.lax.scan(
    lambda carry, columns: (carry, one_chunk(*columns)),
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
