import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax import losses
from graphgpo_jax.envs import types
from graphgpo_jax.policy import actor, transformer

SPEC = types.EnvironmentSpec(
  name="toy",
  num_tokens=8,
  feature_sizes=(5, 3, 9),
  num_pointer_actions=4,
  pointer_start=2,
  num_fixed_actions=3,
  horizon=10,
)
CONFIG = transformer.TransformerConfig(num_layers=1, width=16, num_heads=2)


def observe(shape, seed=0):
  rng = np.random.default_rng(seed)
  tokens = np.stack(
    [
      rng.integers(0, size, (*shape, SPEC.num_tokens))
      for size in SPEC.feature_sizes
    ],
    axis=-1,
  )
  return types.Observation(
    tokens=jnp.asarray(tokens, jnp.int32),
    token_mask=jnp.asarray(rng.random((*shape, SPEC.num_tokens)) < 0.8),
    action_mask=jnp.asarray(rng.random((*shape, SPEC.num_actions)) < 0.6),
  )


@pytest.fixture(scope="module")
def policy():
  init_fn, apply_fn = actor.make_actor(SPEC, CONFIG)
  params = init_fn(jax.random.key(0))
  # A new policy is nearly uniform by design; larger logits show more.
  params = jax.tree.map(lambda x: 3.0 * x, params)
  return params, jax.jit(apply_fn)


def test_new_policy_is_nearly_uniform_but_sees():
  init_fn, apply_fn = actor.make_actor(SPEC, CONFIG, mask_actions=False)
  logits = jax.jit(apply_fn)(init_fn(jax.random.key(1)), observe((16,)))
  assert logits.shape == (16, SPEC.num_actions)
  assert logits.dtype == jnp.float32
  assert 0 < np.abs(logits).max() < 0.1
  assert np.all(np.std(logits, axis=0) > 0)


def test_any_batch_axes(policy):
  params, apply_fn = policy
  observation = observe((2, 3))
  logits = apply_fn(params, observation)
  assert logits.shape == (2, 3, SPEC.num_actions)
  flat = jax.tree.map(lambda x: x.reshape(6, *x.shape[2:]), observation)
  np.testing.assert_allclose(
    apply_fn(params, flat), logits.reshape(6, -1), rtol=1e-5, atol=1e-5
  )
  single = jax.tree.map(lambda x: x[1, 2], observation)
  np.testing.assert_allclose(
    apply_fn(params, single), logits[1, 2], rtol=1e-5, atol=1e-5
  )


def test_permuting_tokens_permutes_pointers(policy):
  params, apply_fn = policy
  observation = observe((5,))
  order = np.array([3, 1, 0, 2])
  tokens = np.arange(SPEC.num_tokens)
  tokens[2:6] = 2 + order
  actions = np.arange(SPEC.num_actions)
  actions[:4] = order
  permuted = types.Observation(
    tokens=observation.tokens[:, tokens],
    token_mask=observation.token_mask[:, tokens],
    action_mask=observation.action_mask[:, actions],
  )
  # Padding tokens may be pointed at, yet have no meaningful logit.
  meaningful = np.ones((5, SPEC.num_actions), bool)
  meaningful[:, :4] = observation.token_mask[:, 2:6]
  expected = np.where(meaningful, apply_fn(params, observation), 0.0)
  logits = apply_fn(params, permuted)
  logits = np.where(meaningful[:, actions], logits, 0.0)
  np.testing.assert_allclose(logits, expected[:, actions], rtol=1e-5, atol=1e-5)


def test_masked_actions_are_never_drawn(policy):
  params, apply_fn = policy
  observation = observe((16,))
  probs = jax.nn.softmax(apply_fn(params, observation))
  legal = observation.action_mask
  assert np.all(np.any(legal, -1))
  np.testing.assert_array_equal(np.where(legal, 0.0, probs), 0.0)
  assert np.all(np.where(legal, probs, 1.0) > 0)


def test_nothing_admissible_is_uniform(policy):
  params, apply_fn = policy
  observation = dataclasses.replace(
    observe((2,)),
    action_mask=jnp.zeros((2, SPEC.num_actions), bool),
    token_mask=jnp.zeros((2, SPEC.num_tokens), bool),
  )
  np.testing.assert_allclose(
    jax.nn.softmax(apply_fn(params, observation)),
    1.0 / SPEC.num_actions,
    rtol=1e-6,
  )


def test_gradients_are_finite(policy):
  params, apply_fn = policy
  observation = observe((6,))
  observation = dataclasses.replace(
    observation,
    action_mask=observation.action_mask.at[0].set(False),
    token_mask=observation.token_mask.at[1].set(False),
  )
  actions = jnp.arange(6, dtype=jnp.int32)

  def loss(params):
    logits = apply_fn(params, observation)
    return jnp.mean(
      losses.entropy(logits) + losses.log_prob(logits, actions).clip(-100.0)
    )

  result = jax.jit(jax.value_and_grad(loss))(params)
  chex.assert_tree_all_finite(result)
  assert max(np.abs(x).max() for x in jax.tree.leaves(result[1])) > 0


@pytest.mark.parametrize(("pointers", "fixed"), [(0, 5), (4, 0)])
def test_one_kind_of_action_is_enough(pointers, fixed):
  spec = dataclasses.replace(
    SPEC, num_pointer_actions=pointers, num_fixed_actions=fixed
  )
  init_fn, apply_fn = actor.make_actor(spec, CONFIG)
  observation = dataclasses.replace(
    observe(()), action_mask=jnp.ones(pointers + fixed, bool)
  )
  params = jax.eval_shape(init_fn, jax.random.key(0))
  logits = jax.eval_shape(apply_fn, params, observation)
  assert logits.shape == (pointers + fixed,)


def test_embedding_sums_the_features():
  module = actor.FeatureEmbedding((5, 3, 9), 4, jnp.float32)
  tokens = observe((2,)).tokens
  params = module.init(jax.random.key(0), tokens)
  table = params["params"]["table"]
  expected = sum(
    table[offset + tokens[..., index]] for index, offset in enumerate((0, 5, 8))
  )
  np.testing.assert_allclose(module.apply(params, tokens), expected, atol=1e-6)


@pytest.mark.parametrize(
  ("spec", "config", "message"),
  [
    ({}, {"causal": True}, "causal"),
    ({}, {"rope": True}, "rope"),
    ({"num_pointer_actions": 0, "num_fixed_actions": 0}, {}, "no action"),
    ({"pointer_start": 5}, {}, "pointer_start"),
  ],
)
def test_what_make_actor_refuses(spec, config, message):
  with pytest.raises(ValueError, match=message):
    actor.make_actor(
      dataclasses.replace(SPEC, **spec), dataclasses.replace(CONFIG, **config)
    )
