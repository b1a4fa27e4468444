"""The optimiser phase against one plain gradient over all valid steps."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from graphgpo_jax import losses
from graphgpo_jax.envs import types
from graphgpo_jax.rollouts import on_device
from graphgpo_jax.training import optimise as optimise_lib
from graphgpo_jax.training import state as state_lib

SHAPE = (2, 3, 5)
ROWS = 30
ACTIONS = 4
AGGREGATES = (
  losses.token_mean,
  losses.sequence_mean_token_mean,
  losses.sequence_mean_token_sum,
)


def apply_fn(params, observation):
  """Linear in the one-hot of a token."""
  return params["table"][observation.tokens[..., 0, 0]] + params["bias"]


def apply_rows(params, observation):
  """A parameter for each step, and so a gradient for each."""
  return params[observation.tokens[..., 0, 0]]


@functools.cache
def batch(per_row=False):
  """Rollouts of unequal length, and advantages, some of them 0."""
  random = np.random.default_rng(3)
  lengths = np.array([[5, 2, 1], [3, 0, 4]])
  mask = np.arange(SHAPE[2]) < lengths[..., None]
  ids = np.arange(ROWS).reshape(SHAPE)
  tokens = ids if per_row else random.integers(0, 6, SHAPE)
  rollouts = on_device.Rollouts(
    observation=types.Observation(
      tokens=jnp.asarray(tokens, jnp.int32)[..., None, None],
      token_mask=jnp.ones((*SHAPE, 1), bool),
      action_mask=jnp.ones((*SHAPE, ACTIONS), bool),
    ),
    state_keys=jnp.zeros((*SHAPE[:2], SHAPE[2] + 1, 2), jnp.uint32),
    action=jnp.asarray(random.integers(0, ACTIONS, SHAPE), jnp.int32),
    log_prob=jnp.asarray(random.uniform(-2.0, -1.0, SHAPE), jnp.float32),
    reward=jnp.zeros(SHAPE),
    action_valid=jnp.ones(SHAPE, bool),
    mask=jnp.asarray(mask),
    success=jnp.zeros(SHAPE[:2], bool),
    episode_return=jnp.zeros(SHAPE[:2]),
  )
  advantage = random.normal(size=SHAPE) * (random.random(SHAPE) < 0.8)
  return rollouts, jnp.asarray(advantage * mask, jnp.float32)


def parameters(seed=0):
  table_key, bias_key = jax.random.split(jax.random.key(seed))
  return {
    "table": jax.random.normal(table_key, (6, ACTIONS)),
    "bias": jax.random.normal(bias_key, (ACTIONS,)),
  }


def start(params, optimizer, reference=None):
  return state_lib.TrainState(
    params=params,
    opt_state=optimizer.init(params),
    reference_params=reference,
    step=jnp.int32(7),
  )


def run(
  rollouts=None,
  advantage=None,
  *,
  optimizer=None,
  params=None,
  reference=None,
  apply=apply_fn,
  key=0,
  **options,
):
  """One jitted call of the phase; SGD with rate 1 unless told otherwise."""
  given = batch()
  optimizer = optimizer or optax.sgd(1.0)
  optimise = optimise_lib.make_optimise(apply, optimizer, **options)
  before = start(
    parameters() if params is None else params, optimizer, reference
  )
  after, metrics = jax.jit(optimise)(
    before,
    given[0] if rollouts is None else rollouts,
    given[1] if advantage is None else advantage,
    jax.random.key(key),
  )
  return before, after, jax.device_get(metrics)


def plain_loss(params, reference=None, **options):
  """The loss over all valid steps at once, and its metrics."""
  rollouts, advantage = batch()

  def flat(array):
    return array.reshape(-1, SHAPE[2])

  logits = apply_fn(params, rollouts.observation)
  reference_log_prob = None
  if reference is not None:
    reference_log_prob = flat(
      losses.log_prob(
        apply_fn(reference, rollouts.observation), rollouts.action
      )
    )
  return losses.policy_loss(
    flat(losses.log_prob(logits, rollouts.action)),
    flat(rollouts.log_prob),
    flat(advantage),
    flat(rollouts.mask),
    reference_log_prob,
    flat(losses.entropy(logits)),
    **options,
  )


def gradient_of(before, after):
  return jax.tree.map(jnp.subtract, before.params, after.params)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_row_weights_are_the_aggregation(aggregate):
  random = np.random.default_rng(0)
  for share in (0.0, 0.3, 1.0):
    values = jnp.asarray(random.normal(size=(6, 5)), jnp.float32)
    mask = jnp.asarray(random.random((6, 5)) < share)
    weights = optimise_lib.row_weights(aggregate, mask)
    assert not np.asarray(weights)[~np.asarray(mask)].any()
    np.testing.assert_allclose(
      jnp.sum(weights * values), aggregate(values, mask), rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow
# 15 valid steps of 30: sizes that divide them, don't, exceed them, exceed all.
@pytest.mark.parametrize("chunk_size", [4, 5, 16, 100])
def test_chunks_do_not_change_the_gradient(chunk_size):
  before, after, metrics = run(chunk_size=chunk_size, entropy_coefficient=0.1)
  gradient, expected = jax.grad(plain_loss, has_aux=True)(
    before.params, entropy_coefficient=0.1
  )
  chex.assert_trees_all_close(gradient_of(before, after), gradient, atol=1e-5)
  for name, other in (
    ("policy", "policy_loss"),
    ("entropy", "entropy"),
    ("clip_fraction", "clip_fraction"),
    ("kl", "old_kl"),
  ):
    np.testing.assert_allclose(
      metrics[f"loss/{name}"], expected[other], rtol=1e-4, err_msg=name
    )
  np.testing.assert_allclose(
    metrics["loss/gradient_norm"], optax.global_norm(gradient), rtol=1e-4
  )


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_every_option_of_the_loss_reaches_the_gradient(aggregate):
  reference = parameters(5)
  options = {
    "clip_low": 0.1,
    "clip_high": 0.3,
    "dual_clip": 1.5,
    "kl_coefficient": 0.5,
    "kl": losses.kl_k2,
    "entropy_coefficient": 0.05,
    "aggregate": aggregate,
  }
  before, after, metrics = run(reference=reference, chunk_size=4, **options)
  gradient, expected = jax.grad(plain_loss, has_aux=True)(
    before.params, reference, **options
  )
  chex.assert_trees_all_close(gradient_of(before, after), gradient, atol=1e-5)
  np.testing.assert_allclose(
    metrics["loss/clip_fraction"] if aggregate is losses.token_mean else 0,
    expected["clip_fraction"] if aggregate is losses.token_mean else 0,
    rtol=1e-5,
  )
  np.testing.assert_allclose(
    metrics["loss/reference_kl"], expected["kl"], rtol=1e-4
  )
  chex.assert_trees_all_equal(after.reference_params, reference)


@pytest.mark.parametrize("num_minibatches", [1, 2, 4, 7])
def test_every_valid_step_is_used_once_an_epoch(num_minibatches):
  # A step's parameters are its own and the loss is linear at ratio 1, so the
  # sum over an epoch tells how often it was used. A sum as the aggregation
  # gives every step the weight 1, whatever the minibatch.
  rollouts, _ = batch(per_row=True)
  params = jnp.zeros((ROWS, ACTIONS))
  rollouts = rollouts.replace(log_prob=jnp.full(SHAPE, -np.log(ACTIONS)))
  epochs = 2
  before, after, _ = run(
    rollouts,
    jnp.ones(SHAPE),
    params=params,
    apply=apply_rows,
    # So small that the second epoch finds the policy of the first.
    optimizer=optax.sgd(1e-3),
    num_minibatches=num_minibatches,
    num_epochs=epochs,
    chunk_size=4,
    aggregate=lambda values, mask: jnp.sum(jnp.where(mask, values, 0.0)),
  )
  chosen = np.take_along_axis(
    np.asarray(after.params - before.params),
    np.asarray(rollouts.action).reshape(-1, 1),
    axis=1,
  )[:, 0]
  uses = chosen / (1e-3 * (1 - 1 / ACTIONS))
  expected = epochs * np.asarray(rollouts.mask).reshape(-1)
  np.testing.assert_allclose(uses, expected, atol=0.01)


def test_another_key_makes_other_minibatches():
  options = {"num_minibatches": 3}
  _, first, _ = run(**options)
  _, same, _ = run(**options)
  _, other, _ = run(key=1, **options)
  chex.assert_trees_all_equal(first, same)
  assert (first.params["table"] != other.params["table"]).any()


def test_no_advantage_skips_the_optimiser():
  optimizer = optax.adamw(1.0, weight_decay=0.1)
  # The steps that are no steps do not count as useful.
  advantage = jnp.where(batch()[0].mask, 0.0, 3.0)
  before, after, metrics = run(
    advantage=advantage,
    optimizer=optimizer,
    entropy_coefficient=1.0,
    num_minibatches=2,
  )
  chex.assert_trees_all_equal(before.params, after.params)
  chex.assert_trees_all_equal(before.opt_state, after.opt_state)
  assert int(after.step) == int(before.step) + 1
  assert metrics["optimiser/skipped"] == 1
  _, after, metrics = run(optimizer=optimizer)
  assert int(after.step) == int(before.step) + 1
  assert metrics["optimiser/skipped"] == 0


def test_nan_in_masked_steps_harms_nothing():
  rollouts, advantage = batch()
  spoilt = jnp.where(rollouts.mask, 0.0, jnp.nan)
  _, clean, expected = run(num_minibatches=2, chunk_size=4)
  _, after, metrics = run(
    rollouts.replace(
      log_prob=rollouts.log_prob + spoilt, reward=rollouts.reward + spoilt
    ),
    advantage + spoilt,
    num_minibatches=2,
    chunk_size=4,
  )
  chex.assert_trees_all_equal(clean.params, after.params)
  chex.assert_trees_all_equal(expected, metrics)


def test_no_step_at_all_changes_nothing():
  rollouts, advantage = batch()
  rollouts = rollouts.replace(mask=jnp.zeros(SHAPE, bool))
  before, after, metrics = run(rollouts, advantage, num_minibatches=3)
  chex.assert_trees_all_equal(before.params, after.params)
  assert metrics["optimiser/skipped"] == 1


def test_entropy_bonus_raises_the_entropy():
  random = np.random.default_rng(1)
  advantage = jnp.asarray(1e-6 * random.normal(size=SHAPE), jnp.float32)
  found = []
  for coefficient in (0.0, 1.0):
    _, after, _ = run(advantage=advantage, entropy_coefficient=coefficient)
    logits = apply_fn(after.params, batch()[0].observation)
    found.append(float(jnp.mean(losses.entropy(logits))))
  assert found[1] > found[0] + 0.01


def test_reference_term_pulls_to_the_reference():
  reference = parameters(5)
  distances = []
  for coefficient in (0.0, 1.0):
    _, after, metrics = run(
      reference=reference,
      kl_coefficient=coefficient,
      optimizer=optax.sgd(0.3),
      num_epochs=20,
    )
    gap = jax.tree.map(jnp.subtract, after.params, reference)
    distances.append(float(optax.global_norm(gap)))
    assert (metrics["loss/reference_kl"] > 0) == (coefficient > 0)
  assert distances[1] < distances[0]


def test_more_minibatches_than_steps():
  # 15 valid steps: a minibatch without a step must not move the optimiser,
  # whose momentum would carry the parameters on.
  _, after, metrics = run(
    num_minibatches=40, optimizer=optax.adam(1e-2), chunk_size=4
  )
  chex.assert_tree_all_finite((after, metrics))
  count = [
    leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(after.opt_state)
    if "count" in jax.tree_util.keystr(path)
  ]
  assert [int(number) for number in count] == [15]


@pytest.mark.parametrize("num_minibatches", [4, 11, 14])
def test_minibatches_are_as_equal_as_can_be(num_minibatches):
  """No optimiser step sees two steps more than another, and none sees none."""
  rollouts, _ = batch()
  sizes = []

  def aggregate(values, mask):
    jax.debug.callback(lambda size: sizes.append(int(size)), jnp.sum(mask))
    return losses.token_mean(values, mask)

  run(
    rollouts,
    num_minibatches=num_minibatches,
    aggregate=aggregate,
  )
  jax.effects_barrier()
  # The callback also runs where the weights are differentiated.
  assert sizes and max(sizes) - min(sizes) <= 1, sizes
  assert min(sizes) > 0


@pytest.mark.parametrize(
  "name", ["num_epochs", "num_minibatches", "chunk_size"]
)
def test_counts_are_checked(name):
  with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
    optimise_lib.make_optimise(apply_fn, optax.sgd(1.0), **{name: 0})


def test_optimizer_arguments_are_checked():
  with pytest.raises(ValueError, match="learning_rate must be positive"):
    state_lib.make_optimizer(learning_rate=0.0)
  with pytest.raises(ValueError, match="max_grad_norm must be positive"):
    state_lib.make_optimizer(learning_rate=1.0, max_grad_norm=-1.0)
  with pytest.raises(ValueError, match="decay_steps must be at least 0"):
    state_lib.make_optimizer(learning_rate=1.0, decay_steps=-1)
  with pytest.raises(ValueError, match="final_fraction must lie in"):
    state_lib.make_optimizer(learning_rate=1.0, final_fraction=1.5)


@pytest.mark.parametrize(
  "options, expected",
  [
    ({"warmup_steps": 2}, [0.0, 0.25, 0.5, 0.5, 0.5, 0.5]),
    ({"decay_steps": 4}, [0.5, 0.3875, 0.275, 0.1625, 0.05, 0.05]),
    (
      {"warmup_steps": 1, "decay_steps": 2, "final_fraction": 0.5},
      [0.0, 0.5, 0.375, 0.25, 0.25, 0.25],
    ),
  ],
)
def test_optimizer_clips_warms_up_and_decays(options, expected):
  optimizer = state_lib.make_optimizer(learning_rate=0.5, **options)
  params = jnp.ones(3)
  opt_state = optimizer.init(params)
  moves = []
  for _ in expected:
    updates, opt_state = optimizer.update(jnp.full(3, 1e6), opt_state, params)
    moves.append(float(jnp.max(jnp.abs(updates))))
  # Adam's first steps have the size of the rate.
  np.testing.assert_allclose(moves, expected, atol=1e-3)


def test_reference_is_a_copy():
  state = state_lib.create_state(
    lambda key: {"w": jax.random.normal(key, (3,))},
    optax.sgd(1.0),
    jax.random.key(0),
    with_reference=True,
  )
  chex.assert_trees_all_equal(state.params, state.reference_params)
  pointers = [
    leaf.unsafe_buffer_pointer()
    for leaf in (state.params["w"], state.reference_params["w"])
  ]
  assert pointers[0] != pointers[1]
