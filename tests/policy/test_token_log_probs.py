import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.policy import token_log_probs as module
from tests.policy.tiny_language_models import QUICK

RNG = np.random.default_rng(0)
HIDDEN = RNG.normal(size=(3, 10, 8)).astype(np.float32)
KERNEL = RNG.normal(size=(8, 30)).astype(np.float32)
TARGETS = RNG.integers(0, 30, (3, 10)).astype(np.int32)
WEIGHT = RNG.normal(size=(2, 3, 10)).astype(np.float32)


def unchunked(hidden, kernel, temperature):
  log_probs = jax.nn.log_softmax(hidden @ kernel / temperature)
  entropy = -jnp.sum(jnp.exp(log_probs) * log_probs, -1)
  chosen = jnp.take_along_axis(log_probs, TARGETS[..., None], -1)
  return chosen[..., 0], entropy


def weighed(function):
  def loss(hidden, kernel, temperature):
    results = function(hidden, kernel, temperature)
    return sum(jnp.sum(w * r) for w, r in zip(WEIGHT, results, strict=True))

  return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))


@pytest.mark.parametrize(
  ("chunk", "tied"), [(1, False), (4, True), (5, False), (100, True)]
)
def test_equals_the_whole_softmax(chunk, tied):
  def chunked(hidden, kernel, temperature):
    return module.token_log_probs(
      hidden,
      kernel.T if tied else kernel,
      TARGETS,
      chunk=chunk,
      temperature=temperature,
    )

  arguments = (HIDDEN, KERNEL, jnp.float32(0.7))
  chex.assert_trees_all_close(
    jax.jit(chunked)(*arguments), unchunked(*arguments), atol=1e-5
  )
  chex.assert_trees_all_close(
    weighed(chunked)(*arguments),
    weighed(unchunked)(*arguments),
    rtol=1e-5,
    atol=1e-5,
  )


@pytest.mark.parametrize("with_entropy", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_an_entropy_without_gradient(with_entropy, tied):
  """Whether or not the weights are constants, early slopes among others."""
  targets = np.where(np.arange(10) < 8, TARGETS, -1)

  def chunked(hidden, kernel):
    log_prob, _ = module.token_log_probs(
      hidden,
      kernel.T if tied else kernel,
      targets,
      chunk=4,
      temperature=0.7,
      with_entropy=with_entropy,
      entropy_gradient=False,
    )
    return jnp.sum(WEIGHT[0] * log_prob)

  def whole(hidden, kernel):
    logits = hidden @ kernel / 0.7
    chosen = jnp.take_along_axis(logits, TARGETS[..., None], -1)[..., 0]
    chosen = jnp.where(targets >= 0, chosen, 0.0)
    return jnp.sum(WEIGHT[0] * (chosen - jax.nn.logsumexp(logits, -1)))

  for argnums in (0, 1, (0, 1)):
    found, expected = (
      jax.jit(jax.value_and_grad(function, argnums))(HIDDEN, KERNEL)
      for function in (chunked, whole)
    )
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-5)


def test_no_slope_in_an_entropy_without_gradient():
  def entropy(hidden):
    return jnp.sum(
      module.token_log_probs(
        hidden, KERNEL, TARGETS, chunk=4, entropy_gradient=False
      )[1]
    )

  np.testing.assert_array_equal(jax.grad(entropy)(HIDDEN), 0.0)


def test_constant_weights_cost_two_products():
  """Forward and slope; computing logits again would be a third."""

  def flops(entropy_gradient):
    def loss(hidden):
      log_prob, _ = module.token_log_probs(
        hidden,
        jnp.ones((64, 4096)),
        jnp.zeros((2, 16), jnp.int32),
        chunk=8,
        entropy_gradient=entropy_gradient,
      )
      return jnp.sum(log_prob)

    shape = jax.ShapeDtypeStruct((2, 16, 64), jnp.float32)
    compiled = jax.jit(jax.value_and_grad(loss)).lower(shape).compile(QUICK)
    return compiled.cost_analysis()["flops"]

  # The compiler counts a loop's body once, whatever the number of chunks.
  product = 2 * 2 * 8 * 64 * 4096
  assert (
    2 * product <= flops(False) < 2.5 * product < 3 * product <= flops(True)
  )


def test_entropy_can_be_left_out():
  both, _ = module.token_log_probs(HIDDEN, KERNEL, TARGETS, chunk=4)
  alone, entropy = module.token_log_probs(
    HIDDEN, KERNEL, TARGETS, chunk=4, with_entropy=False
  )
  assert entropy is None
  np.testing.assert_array_equal(alone, both)


def test_any_padding_is_finite():
  targets = np.where(np.arange(10) < 6, TARGETS, -1)
  log_prob, _ = module.token_log_probs(HIDDEN, KERNEL, targets, chunk=4)
  chex.assert_tree_all_finite(log_prob)
  expected, _ = module.token_log_probs(HIDDEN, KERNEL, TARGETS, chunk=4)
  np.testing.assert_allclose(log_prob[:, :6], expected[:, :6], atol=1e-6)


def test_bfloat16_accumulates_in_float32():
  low = (HIDDEN.astype(jnp.bfloat16), KERNEL.astype(jnp.bfloat16))
  log_prob, entropy = module.token_log_probs(*low, TARGETS, chunk=4)
  assert log_prob.dtype == entropy.dtype == jnp.float32
  exact = unchunked(*(x.astype(np.float32) for x in low), 1.0)
  np.testing.assert_allclose(log_prob, exact[0], atol=1e-4)


@functools.cache
def temporary_bytes(chunk):
  """Temporary memory of the loss and its gradient at a real vocabulary."""
  shapes = [
    jax.ShapeDtypeStruct((2, 256, 64), jnp.float32),
    jax.ShapeDtypeStruct((49152, 64), jnp.float32),
    jax.ShapeDtypeStruct((2, 256), jnp.int32),
  ]

  def loss(hidden, table, targets):
    if chunk is None:
      logits = hidden @ table.T
      chosen = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
      return jnp.sum(chosen - jax.nn.logsumexp(logits, -1))
    log_prob, _ = module.token_log_probs(
      hidden, table, targets, chunk=chunk, with_entropy=False
    )
    return jnp.sum(log_prob)

  gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
  compiled = gradient.lower(*shapes).compile(QUICK)
  return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("chunk", [16, 64])
def test_memory_is_half_at_most(chunk):
  # Not a mere ratio of two unknowns: all logits take 100 MB.
  assert temporary_bytes(None) > 2 * 256 * 49152 * 4
  assert temporary_bytes(chunk) <= 0.5 * temporary_bytes(None)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"chunk": 0}, "chunk"),
    ({"temperature": 0.0}, "temperature"),
    ({"weights": KERNEL[:5]}, "weights"),
    ({"weights": KERNEL[:, :8]}, "weights"),
  ],
)
def test_what_is_refused(changes, message):
  weights = changes.pop("weights", KERNEL)
  with pytest.raises(ValueError, match=message):
    module.token_log_probs(HIDDEN, weights, TARGETS, **{"chunk": 4, **changes})
