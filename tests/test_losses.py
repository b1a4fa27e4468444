import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from graphgpo_jax import losses

SHAPE = (3, 5)


@pytest.fixture
def rng():
  return np.random.default_rng(0)


def token_arrays(rng, shape=SHAPE):
  """log_prob, old_log_prob, advantage; ratios clear of every kink."""
  old = rng.normal(-1.5, 0.4, shape)
  # Log-ratios of +-0.05..0.1 and +-0.4..0.5: no finite difference crosses a
  # bound at log 0.8 = -0.22, log 1.2 = 0.18 or log 3 = 1.1.
  size = rng.uniform(0.05, 0.1, shape) + 0.35 * rng.integers(0, 2, shape)
  log_prob = old + size * rng.choice([-1, 1], shape)
  advantage = rng.choice([-1.0, 1.0], shape) * rng.uniform(0.3, 2.0, shape)
  return tuple(x.astype(np.float32) for x in (log_prob, old, advantage))


def surrogate_oracle(log_prob, old, advantage, low, high, dual=None):
  result = np.zeros(log_prob.shape)
  for index in np.ndindex(log_prob.shape):
    ratio = math.exp(float(log_prob[index]) - float(old[index]))
    adv = float(advantage[index])
    bounded = min(max(ratio, 1 - low), 1 + high)
    loss = -min(ratio * adv, bounded * adv)
    if dual is not None and adv < 0:
      loss = min(loss, -dual * adv)
    result[index] = loss
  return result


def gradient_checks(function, *args):
  with jax.enable_x64(True):
    args = [jnp.asarray(np.asarray(a), jnp.float64) for a in args]
    check_grads(function, args, order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


class TestSurrogate:
  @pytest.mark.parametrize("dual", [None, 1.3, 3.0])
  def test_matches_oracle(self, rng, dual):
    arrays = token_arrays(rng)
    loss = losses.clipped_surrogate(
      *arrays, clip_low=0.2, clip_high=0.28, dual_clip=dual
    )
    expected = surrogate_oracle(*arrays, 0.2, 0.28, dual)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)

  @pytest.mark.parametrize("dual", [None, 1.3])
  def test_gradient(self, rng, dual):
    log_prob, old, advantage = token_arrays(rng)
    with jax.enable_x64(True):
      old, advantage = old.astype(np.float64), advantage.astype(np.float64)
    gradient_checks(
      lambda x: jnp.sum(
        losses.clipped_surrogate(x, old, advantage, dual_clip=dual)
      ),
      log_prob,
    )

  @pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped"),
    [
      (1.25, 1.0, -1.25, False),  # under the upper bound of 1.3
      (1.5, 1.0, -1.3, True),
      (1.5, -1.0, 1.5, False),  # the larger loss counts
      (0.85, -1.0, 0.9, True),  # under the lower bound of 0.9
      (0.85, 1.0, -0.85, False),
      (7.0, -2.0, 8.0, True),  # dual clip: 4 * 2
      (7.0, 2.0, -2.6, True),
    ],
  )
  def test_hand_cases(self, ratio, advantage, loss, clipped):
    args = (
      jnp.log(jnp.float32(ratio)),
      jnp.float32(0.0),
      jnp.float32(advantage),
    )
    clip = {"clip_low": 0.1, "clip_high": 0.3, "dual_clip": 4.0}
    value, slope = jax.value_and_grad(losses.clipped_surrogate)(*args, **clip)
    np.testing.assert_allclose(value, loss, rtol=1e-6)
    assert bool(losses.is_clipped(*args, **clip)) == clipped
    assert (float(slope) == 0.0) == clipped

  def test_no_gradient_to_old_and_advantage(self, rng):
    log_prob, old, advantage = token_arrays(rng)
    slopes = jax.grad(
      lambda *a: jnp.sum(losses.clipped_surrogate(*a)), argnums=(1, 2)
    )(log_prob, old, advantage)
    chex.assert_trees_all_equal(slopes, jax.tree.map(jnp.zeros_like, slopes))

  def test_exploded_ratio_is_finite(self):
    far = jnp.array([0.0, -300.0])
    loss, slope = jax.value_and_grad(
      lambda x: jnp.sum(losses.clipped_surrogate(x, far[::-1], -jnp.ones(2)))
    )(far)
    chex.assert_tree_all_finite((loss, slope))

  def test_rejects_dual_clip_below_one(self):
    with pytest.raises(ValueError, match="dual_clip"):
      losses.clipped_surrogate(*[jnp.zeros(2)] * 3, dual_clip=0.9)


class TestKL:
  def test_values(self, rng):
    log_prob, reference, _ = token_arrays(rng)
    delta = log_prob.astype(np.float64) - reference
    expected = {
      losses.kl_k1: delta,
      losses.kl_k2: delta**2 / 2,
      losses.kl_k3: np.exp(-delta) + delta - 1,
    }
    for kl, value in expected.items():
      np.testing.assert_allclose(
        kl(log_prob, reference), value, rtol=1e-4, atol=1e-6
      )

  @pytest.mark.parametrize("kl", [losses.kl_k1, losses.kl_k2, losses.kl_k3])
  def test_gradient(self, rng, kl):
    log_prob, reference, _ = token_arrays(rng)
    reference = np.float64(reference)
    gradient_checks(lambda x: jnp.sum(jnp.sin(kl(x, reference))), log_prob)
    slope = jax.grad(lambda r: jnp.sum(kl(log_prob, r)))(
      jnp.asarray(reference, jnp.float32)
    )
    np.testing.assert_array_equal(slope, 0.0)

  @pytest.mark.parametrize("kl", [losses.kl_k1, losses.kl_k3])
  def test_unbiased(self, rng, kl):
    # The expectation is exact: a sum over all actions, not a sample.
    log_p = jax.nn.log_softmax(rng.normal(size=8).astype(np.float32))
    log_q = jax.nn.log_softmax(rng.normal(size=8).astype(np.float32))
    divergence = jnp.sum(jnp.exp(log_p) * (log_p - log_q))
    estimate = jnp.sum(jnp.exp(log_p) * kl(log_p, log_q))
    np.testing.assert_allclose(estimate, divergence, rtol=1e-5)

  def test_k3_is_accurate_near_zero_and_bounded_far_away(self):
    near = losses.kl_k3(jnp.float32(1e-3), jnp.float32(0.0))
    np.testing.assert_allclose(near, 0.5e-6, rtol=0.1)
    far = jnp.float32(-1e6), jnp.float32(0.0)
    assert np.isfinite(losses.kl_k3(*far))
    assert losses.kl_k3(*far, max_value=10.0) == 10.0


class TestRows:
  def test_log_prob(self, rng):
    logits = rng.normal(size=(3, 5, 7)).astype(np.float32) * 3 + 100
    actions = rng.integers(0, 7, (3, 5))
    table = logits - np.log(np.sum(np.exp(np.float64(logits)), -1))[..., None]
    expected = np.take_along_axis(table, actions[..., None], -1)[..., 0]
    np.testing.assert_allclose(
      losses.log_prob(logits, actions), expected, atol=1e-4
    )
    gradient_checks(
      lambda x: jnp.sum(jnp.cos(losses.log_prob(x, actions))), logits
    )

  def test_log_prob_where_all_logits_are_masked(self):
    value = losses.log_prob(jnp.full((4,), -1e9), jnp.int32(2))
    np.testing.assert_allclose(value, -math.log(4), rtol=1e-6)

  def test_entropy(self, rng):
    logits = rng.normal(size=(4, 7)).astype(np.float32)
    p = np.exp(np.float64(logits))
    p /= p.sum(-1, keepdims=True)
    np.testing.assert_allclose(
      losses.entropy(logits), -(p * np.log(p)).sum(-1), rtol=1e-5
    )
    gradient_checks(lambda x: jnp.sum(losses.entropy(x)), logits)

  @pytest.mark.parametrize("filler", [-1e9, -np.inf, np.nan, np.inf, 3.0])
  def test_entropy_ignores_masked_logits(self, rng, filler):
    logits = rng.normal(size=(4, 7)).astype(np.float32)
    mask = rng.random((4, 7)) < 0.6
    mask[:, 0] = True
    mask[3] = False
    filled = np.where(mask, logits, np.float32(filler))

    def total(x):
      return jnp.sum(losses.entropy(x, mask))

    value, slope = jax.value_and_grad(total)(filled)
    expected = sum(
      losses.entropy(row[keep])
      for row, keep in zip(logits[:3], mask[:3], strict=True)
    )
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    chex.assert_tree_all_finite(slope)
    np.testing.assert_array_equal(np.where(mask, 0.0, slope), 0.0)
    assert float(losses.entropy(filled, mask)[3]) == 0.0

  @pytest.mark.parametrize("filler", [-1e9, -np.inf])
  def test_entropy_without_mask_is_finite(self, filler):
    logits = jnp.array([0.0, 0.0, filler])
    value, slope = jax.value_and_grad(losses.entropy)(logits)
    np.testing.assert_allclose(value, math.log(2), rtol=1e-6)
    chex.assert_tree_all_finite(slope)


def aggregate_oracle(name, values, mask):
  rows = [v[m] for v, m in zip(values, mask, strict=True) if m.any()]
  if not rows:
    return 0.0
  if name == "token_mean":
    return np.concatenate(rows).mean()
  return np.mean([r.mean() if name.endswith("mean") else r.sum() for r in rows])


AGGREGATES = [
  losses.token_mean,
  losses.sequence_mean_token_mean,
  losses.sequence_mean_token_sum,
]


@pytest.mark.parametrize("aggregate", AGGREGATES)
class TestAggregates:
  def test_matches_oracle(self, rng, aggregate):
    values = rng.normal(size=(6, 9)).astype(np.float32)
    for density in (0.0, 0.2, 1.0):
      mask = rng.random((6, 9)) < density
      filled = np.where(mask, values, np.nan)
      np.testing.assert_allclose(
        aggregate(filled, mask),
        aggregate_oracle(aggregate.__name__, values, mask),
        rtol=1e-5,
        atol=1e-7,
      )
      slope = jax.grad(aggregate)(filled, mask)
      chex.assert_tree_all_finite(slope)
      gradient_checks(lambda x, mask=mask: jnp.sin(aggregate(x, mask)), values)

  def test_axis_name_sums_over_devices(self, rng, aggregate):
    devices = jax.local_device_count()
    values = rng.normal(size=(devices, 4, 9)).astype(np.float32)
    mask = rng.random((devices, 4, 9)) < 0.5

    @functools.partial(jax.pmap, axis_name="devices")
    def value_and_grad(values, mask):
      value, slope = jax.value_and_grad(aggregate)(
        values, mask, axis_name="devices"
      )
      # Every device holds its own values here, so pmean's division is all
      # that is left of averaging the gradient.
      return value, slope / devices

    value, slope = value_and_grad(values, mask)
    expected = jax.value_and_grad(aggregate)(
      values.reshape(-1, 9), mask.reshape(-1, 9)
    )
    np.testing.assert_allclose(value, np.full(devices, expected[0]), rtol=1e-5)
    np.testing.assert_allclose(
      slope.reshape(-1, 9), expected[1], rtol=1e-5, atol=1e-8
    )


class TestPolicyLoss:
  def arrays(self, rng):
    log_prob, old, advantage = token_arrays(rng)
    reference = old + rng.normal(0, 0.2, SHAPE).astype(np.float32)
    entropy = rng.uniform(0.1, 1.0, SHAPE).astype(np.float32)
    mask = np.arange(SHAPE[1]) < np.array([[5], [2], [0]])
    return log_prob, old, advantage, mask, reference, entropy

  options = {"kl_coefficient": 0.3, "entropy_coefficient": 0.1}

  @pytest.mark.parametrize("aggregate", AGGREGATES)
  def test_matches_oracle(self, rng, aggregate):
    arrays = self.arrays(rng)
    log_prob, old, advantage, mask, reference, entropy = arrays
    loss, metrics = losses.policy_loss(
      *arrays, **self.options, kl=losses.kl_k2, aggregate=aggregate
    )
    agg = functools.partial(aggregate_oracle, aggregate.__name__, mask=mask)
    surrogate = agg(values=surrogate_oracle(log_prob, old, advantage, 0.2, 0.2))
    penalty = agg(values=0.5 * (log_prob - reference) ** 2)
    bonus = agg(values=entropy)
    np.testing.assert_allclose(
      loss, surrogate + 0.3 * penalty - 0.1 * bonus, rtol=1e-5
    )
    ratio = np.exp(log_prob - old)[mask]
    clipped = np.where(advantage[mask] > 0, ratio > 1.2, ratio < 0.8)
    expected = {
      "policy_loss": surrogate,
      "kl": penalty,
      "entropy": bonus,
      "ratio_mean": ratio.mean(),
      "ratio_max": ratio.max(),
      "clip_fraction": clipped.mean(),
      "old_kl": (ratio - 1 - np.log(ratio)).mean(),
    }
    chex.assert_trees_all_close(metrics, expected, rtol=1e-4)

  @pytest.mark.parametrize("filler", [np.nan, np.inf, -np.inf])
  def test_invalid_positions_reach_nothing(self, rng, filler):
    arrays = list(self.arrays(rng))
    mask = arrays[3]

    def run(*arrays):
      return jax.value_and_grad(
        losses.policy_loss, argnums=(0, 5), has_aux=True
      )(*arrays, **self.options)

    clean = run(*arrays)
    dirty = run(
      *[
        a if a.dtype == bool else np.where(mask, a, np.float32(filler))
        for a in arrays
      ]
    )
    chex.assert_tree_all_finite(dirty)
    chex.assert_trees_all_equal(clean, dirty)

  def test_nothing_valid(self, rng):
    arrays = list(self.arrays(rng))
    arrays[3] = np.zeros(SHAPE, bool)
    loss, metrics = losses.policy_loss(*arrays, **self.options)
    assert float(loss) == 0.0
    assert all(float(value) == 0.0 for value in metrics.values())

  def test_gradient(self, rng):
    arrays = self.arrays(rng)
    fixed = [a if a.dtype == bool else np.float64(a) for a in arrays]

    def loss(log_prob, entropy):
      return losses.policy_loss(log_prob, *fixed[1:5], entropy, **self.options)[
        0
      ]

    gradient_checks(loss, arrays[0], arrays[5])

  def test_variants(self, rng):
    arrays = self.arrays(rng)
    run = functools.partial(losses.policy_loss, **self.options)
    expected = run(*arrays)
    close = functools.partial(chex.assert_trees_all_close, rtol=1e-5)
    close(jax.jit(run)(*arrays), expected)
    stacked = jax.tree.map(lambda x: jnp.stack([x, x]), arrays)
    first = functools.partial(jax.tree.map, lambda x: x[0])
    close(first(jax.vmap(run)(*stacked)), expected)
    close(first(jax.lax.map(lambda a: run(*a), stacked)), expected)
    one = jax.tree.map(lambda x: x[None], arrays)
    mapped = jax.pmap(
      functools.partial(run, axis_name="devices"), axis_name="devices"
    )
    close(first(mapped(*one)), expected)

  def test_traced_coefficients_and_one_trace(self, rng):
    arrays = self.arrays(rng)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(arrays, coefficient):
      return losses.policy_loss(*arrays, kl_coefficient=coefficient)[0]

    low, high = run(arrays, 0.0), run(arrays, 1.0)
    assert float(high) > float(low)

  @pytest.mark.parametrize("name", ["kl", "entropy"])
  def test_coefficient_needs_its_array(self, rng, name):
    with pytest.raises(ValueError, match=f"{name}_coefficient"):
      losses.policy_loss(*self.arrays(rng)[:4], **{f"{name}_coefficient": 0.1})


def test_mask_inputs():
  mask = jnp.array([True, False])
  first, second = losses.mask_inputs(
    mask, jnp.array([1.0, jnp.nan]), jnp.array([2.0, jnp.inf])
  )
  np.testing.assert_array_equal(first, [1.0, 0.0])
  np.testing.assert_array_equal(second, [2.0, 0.0])


def test_broadcast_step_advantage():
  advantage = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
  step = jnp.array([[-1, 0, 0, 1], [2, -1, 1, 9]], jnp.int32)
  np.testing.assert_array_equal(
    losses.broadcast_step_advantage(advantage, step),
    [[0.0, 1.0, 1.0, 2.0], [6.0, 0.0, 5.0, 0.0]],
  )
