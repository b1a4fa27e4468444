"""From logits to a token: temperature, top-k, top-p.

The filters find their threshold by bisection over the bits of float32, not by
a sort: exact after 32 passes, k and p may be traced, and sorting a vocabulary
would take longer than the layers of a small model.
"""

import chex
import jax
import jax.numpy as jnp


def sortable_bits(values: chex.Array) -> chex.Array:
  """Int32 numbers in the order of the float32 `values`, of the same shape."""
  chex.assert_type(values, jnp.float32)
  # Adding 0 makes -0 the same as 0, whose bits differ.
  bits = jax.lax.bitcast_convert_type(values + 0.0, jnp.int32)
  return jnp.where(bits >= 0, bits, bits ^ jnp.int32(0x7FFFFFFF))


def _keep_until(
  logits: chex.Array, weight: chex.Array, target: chex.Numeric
) -> chex.Array:
  """Keeps the largest logits, as few as weigh `target` in sum, and ties."""
  order = sortable_bits(logits)
  # Weighs enough, or everything is kept.
  enough = jnp.full(order.shape[:-1], jnp.iinfo(jnp.int32).min)
  most = jnp.max(order, axis=-1)

  def halve(_, bounds):
    enough, most = bounds
    # Mean rounded up, without overflow.
    middle = (enough | most) - ((enough ^ most) >> 1)
    kept = jnp.where(order >= middle[..., None], weight, 0)
    satisfied = jnp.sum(kept, axis=-1) >= target
    return (
      jnp.where(satisfied, middle, enough),
      jnp.where(satisfied, most, middle - 1),
    )

  threshold, _ = jax.lax.fori_loop(0, 32, halve, (enough, most))
  return jnp.where(order >= threshold[..., None], logits, -jnp.inf)


def keep_top_k(logits: chex.Array, top_k: chex.Numeric) -> chex.Array:
  """Sets all but the k largest logits to -inf.

  Args:
    logits: float32 [..., V].
    top_k: int32 [], traced or not; 0 keeps all.

  Returns:
    float32 [..., V]. Ties with the k-th largest stay.
  """
  size = logits.shape[-1]
  top_k = jnp.where(top_k > 0, jnp.minimum(top_k, size), size)
  return _keep_until(logits, jnp.ones((), jnp.int32), top_k)


def keep_top_p(logits: chex.Array, top_p: chex.Numeric) -> chex.Array:
  """Sets all but the likeliest tokens, of mass p together, to -inf.

  The fewest tokens whose probabilities sum to at least p: never none.

  Args:
    logits: float32 [..., V], -inf where filtered out before.
    top_p: float32 [], traced or not; 1 keeps all.

  Returns:
    float32 [..., V]. Ties with the least likely of them stay.

  Reference: arXiv 1904.09751.
  """
  # The sum of all rounds to just below 1 at times, which then keeps all.
  return _keep_until(logits, jax.nn.softmax(logits, axis=-1), top_p)


def draw(
  logits: chex.Array,
  keys: chex.Array,
  *,
  temperature: chex.Numeric,
  top_k: chex.Numeric,
  top_p: chex.Numeric,
) -> tuple[chex.Array, chex.Array]:
  """Draws a token per row.

  The log-probability is that of softmax(logits / temperature) over the whole
  vocabulary, before top-k and top-p: what a trainer computes for the token.
  With temperature 0 the token is the likeliest one, and the log-probability
  that of temperature 1.

  Args:
    logits: float32 [N, V].
    keys: typed PRNG keys [N], one a row, so that a row's draw does not depend
      on its batch.
    temperature: float32 [], at least 0.
    top_k: int32 [], 0 for all.
    top_p: float32 [] in (0, 1], 1 for all.

  Returns:
    Tokens int32 [N] and log-probabilities float32 [N], nats.
  """
  chex.assert_rank([logits, keys], [2, 1])
  greedy = jnp.asarray(temperature) == 0
  scaled = logits / jnp.where(greedy, 1.0, temperature)

  def sample() -> chex.Array:
    # Each filter is 32 passes over the logits, so none runs in vain.
    kept = jax.lax.cond(
      jnp.asarray(top_k) > 0,
      lambda: keep_top_k(scaled, top_k),
      lambda: scaled,
    )
    kept = jax.lax.cond(
      jnp.asarray(top_p) < 1, lambda: keep_top_p(kept, top_p), lambda: kept
    )
    return jax.vmap(jax.random.categorical)(keys, kept)

  token = jax.lax.cond(greedy, lambda: jnp.argmax(logits, axis=-1), sample)
  chosen = jnp.take_along_axis(scaled, token[:, None], axis=-1)[:, 0]
  log_prob = chosen - jax.nn.logsumexp(scaled, axis=-1)
  return token.astype(jnp.int32), log_prob
