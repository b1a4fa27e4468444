"""The loss of rows."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax import losses
from graphgpo_jax.rollouts import turns
from graphgpo_jax.training import language_loss
from tests.training.language_rows import (
  AGGREGATIONS,
  OPTIONS,
  WEIGHS,
  assert_same_by_token,
  make_rows,
  of_tokens,
  pack,
  score,
)


@pytest.mark.parametrize("aggregate, weigh", AGGREGATIONS)
def test_weights_are_those_of_the_losses(aggregate, weigh):
  rows = make_rows()
  values = np.random.default_rng(0).normal(size=rows.mask.shape)
  found = np.sum(weigh(rows.loss_mask, rows.segment) * values)
  expected = aggregate(jnp.float32(values), jnp.asarray(rows.loss_mask))
  assert found == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("weigh", WEIGHS)
def test_weights_do_not_depend_on_packing(weigh):
  rows = make_rows()
  packed = pack(rows)
  expected = of_tokens(rows, weigh(rows.loss_mask, rows.segment))
  found = of_tokens(packed, weigh(packed.loss_mask, packed.segment))
  assert_same_by_token(found, expected, 1e-7)
  weights = np.asarray(weigh(packed.loss_mask, packed.segment))
  assert not weights[~packed.loss_mask].any()


@pytest.mark.parametrize("weigh", WEIGHS)
def test_nothing_to_learn_from_has_no_weight(weigh):
  rows = turns.empty_rows(2, 5)
  weights = np.asarray(weigh(rows.loss_mask, rows.segment))
  np.testing.assert_array_equal(weights, np.zeros((2, 5)))


def arrays_like(rows, seed=3):
  """Log-probabilities near the old ones, entropies, and a reference's."""
  random = np.random.default_rng(seed)
  near = [
    rows.old_log_prob + random.normal(0, 0.3, rows.mask.shape) for _ in range(2)
  ]
  entropy = random.random(rows.mask.shape)
  return [jnp.float32(values) for values in (near[0], entropy, near[1])]


@pytest.mark.parametrize("aggregate, weigh", AGGREGATIONS)
def test_loss_is_the_policy_loss_of_the_package(aggregate, weigh):
  rows = make_rows()
  log_prob, entropy, reference = arrays_like(rows)
  ours = functools.partial(score, weigh, rows=rows, **OPTIONS)
  theirs = functools.partial(
    losses.policy_loss,
    old_log_prob=jnp.asarray(rows.old_log_prob),
    advantage=jnp.asarray(rows.advantage),
    mask=jnp.asarray(rows.loss_mask),
    aggregate=aggregate,
    **OPTIONS,
  )

  def both(one, other):
    return jax.value_and_grad(one, argnums=(0, 1), has_aux=True)(
      log_prob, entropy
    ), jax.value_and_grad(other, argnums=(0, 1), has_aux=True)(
      log_prob, entropy
    )

  ((found, metrics), gradient), ((expected, given), slope) = both(
    lambda x, y: ours(x, y, reference_log_prob=reference),
    lambda x, y: theirs(x, reference_log_prob=reference, entropy=y),
  )
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  for one, other in zip(gradient, slope, strict=True):
    np.testing.assert_allclose(one, other, atol=1e-6)
  for name, other in {
    "loss/policy": "policy_loss",
    "loss/reference_kl": "kl",
    "loss/entropy": "entropy",
    "loss/clip_fraction": "clip_fraction",
    "loss/kl": "old_kl",
  }.items():
    np.testing.assert_allclose(metrics[name], given[other], rtol=1e-4)
  assert 0 < metrics["loss/clip_fraction"] < 1


def test_what_stands_outside_the_loss_does_not_matter():
  rows = make_rows()
  arrays = arrays_like(rows)
  spoilt = [jnp.where(rows.loss_mask, values, jnp.nan) for values in arrays]
  bad_rows = dataclasses.replace(
    rows,
    old_log_prob=np.where(rows.loss_mask, rows.old_log_prob, -np.inf),
    advantage=np.where(rows.loss_mask, rows.advantage, np.nan),
  )
  weigh = language_loss.token_mean_weights

  def of(log_prob, rows, arrays):
    return score(
      weigh,
      log_prob,
      arrays[1],
      rows,
      arrays[2],
      arrays[2],
      importance_cap=1.1,
      **OPTIONS,
    )[0]

  found = jax.value_and_grad(of)(spoilt[0], bad_rows, spoilt)
  expected = jax.value_and_grad(of)(arrays[0], rows, arrays)
  np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
  np.testing.assert_allclose(found[1], expected[1], atol=1e-7)
  assert np.any(found[1])
  assert not np.any(np.asarray(found[1])[~rows.loss_mask])


def two_tokens():
  """One row with two tokens of the agent's, advantages 1 and -2."""
  rows = turns.empty_rows(1, 4)
  rows.mask[0] = [True, True, True, False]
  rows.loss_mask[0] = [False, True, True, False]
  rows.segment[0] = [0, 0, 0, -1]
  rows.old_log_prob[0] = [0.0, -1.0, -2.0, 0.0]
  rows.advantage[0] = [0.0, 1.0, -2.0, 0.0]
  return rows


def test_truncated_importance_weights_by_hand():
  rows = two_tokens()
  trainer = jnp.float32([[9.0, -0.5, -2.1, 9.0]])
  now = jnp.float32([[9.0, -0.45, -2.05, 9.0]])
  weigh = language_loss.token_mean_weights
  loss, metrics = score(weigh, now, now, rows, trainer, importance_cap=1.25)
  ratio = np.exp(0.05)
  expected = (-1.25 * ratio + np.exp(-0.1) * 2 * ratio) / 2
  assert float(loss) == pytest.approx(expected, rel=1e-5)
  assert metrics["sampler/difference_mean"] == pytest.approx(0.3, rel=1e-5)
  assert metrics["sampler/difference_max"] == pytest.approx(0.5, rel=1e-5)
  assert metrics["sampler/tokens"] == 2
  assert metrics["sampler/importance_truncated"] == 0.5
  mean = (np.exp(0.5) + np.exp(-0.1)) / 2
  assert metrics["sampler/importance_mean"] == pytest.approx(mean, rel=1e-5)
  # Without a cap the ratio is to the trainer's, and nothing is weighed.
  loss, metrics = score(weigh, now, now, rows, trainer)
  assert float(loss) == pytest.approx((-1 + 2) * ratio / 2, rel=1e-5)
  assert "sampler/importance_mean" not in metrics
  # Without the trainer's the ratio is to the sampler's.
  loss, metrics = score(weigh, now, now, rows)
  expected = (-1.2 + 2 * np.exp(-0.05)) / 2
  assert float(loss) == pytest.approx(expected, rel=1e-5)
  assert metrics["sampler/difference_max"] == pytest.approx(0.55, rel=1e-5)


def test_no_gradient_through_the_importance_weight():
  rows = two_tokens()
  weigh = language_loss.token_mean_weights

  def of(now, trainer):
    return score(weigh, now, now, rows, trainer, importance_cap=9.0)[0]

  now = jnp.float32([[0.0, -0.5, -2.1, 0.0]])
  slope, through = jax.grad(of, argnums=(0, 1))(now, now)
  assert np.any(slope) and not np.any(through)


@pytest.mark.parametrize(
  "options, words",
  [
    ({"kl_coefficient": 0.1}, "kl_coefficient needs reference_log_prob"),
    ({"importance_cap": 2.0}, "importance_cap needs trainer_log_prob"),
    (
      {"importance_cap": 0.0, "trainer_log_prob": jnp.zeros((1, 4))},
      "importance_cap=0.0 must be positive",
    ),
    ({"dual_clip": 0.5}, "dual_clip"),
    ({"entropy_coefficient": 0.1}, "entropy_coefficient needs entropy"),
  ],
)
def test_bad_options_are_refused(options, words):
  zeros = jnp.zeros((1, 4))
  with pytest.raises(ValueError, match=words):
    score(
      language_loss.token_mean_weights, zeros, None, two_tokens(), **options
    )
