"""The update as a whole: composed, traced once, repeatable, resumable."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.training import checkpoint, loop, settings, state, update
from tests.training import tiny


@pytest.fixture(scope="module")
def composed():
  """The update under one jit, which fails on a second trace."""
  function = update.compose(tiny.experiment().phases("graphgpo"))
  return jax.jit(chex.assert_max_traces(n=1)(function), donate_argnums=0)


@pytest.fixture(scope="module")
def unbroken():
  """States and metrics of a run that learns."""
  seed = tiny.learning_seed()
  return tiny.run_all(tiny.fresh_state(seed), seed)


@pytest.mark.slow
def test_composition_equals_its_phases(composed, unbroken):
  seed = tiny.learning_seed()
  train_state = tiny.fresh_state(seed)
  key = jax.random.key(seed)
  for expected, values in unbroken[1:]:
    given = train_state.params
    train_state, metrics = composed(train_state, key)
    chex.assert_trees_all_close(train_state.params, expected.params, atol=1e-6)
    assert int(train_state.step) == int(expected.step)
    for name, value in jax.device_get(metrics).items():
      np.testing.assert_allclose(value, values[name], rtol=1e-4, atol=1e-6)
    # The buffers were given away.
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given))
  different = {name for name in values if name not in metrics}
  # What the loop adds, and its count of updates that were not taken.
  different.remove("optimiser/refused")
  assert {name.split("/")[0] for name in different} == {"eval", "time"}


@pytest.mark.slow
def test_the_step_decides_what_is_drawn(composed):
  key = jax.random.key(3)
  results = []
  for step in (0, 0, 1):
    start = tiny.fresh_state().replace(step=jnp.int32(step))
    results.append(jax.device_get(composed(start, key)))
  chex.assert_trees_all_equal(results[0], results[1])
  keys = [
    np.asarray(jax.random.key_data(update.update_keys(key, step)[0]))
    for step in (0, 1)
  ]
  assert (keys[0] != keys[1]).any()
  collect = tiny.experiment().collect
  played = [
    collect(tiny.fresh_state().params, update.update_keys(key, step)[0])[0]
    for step in (0, 1)
  ]
  assert (played[0].action != played[1].action).any()
  starts = [rollouts.state_keys[:, 0, 0] for rollouts in played]
  assert (starts[0] != starts[1]).any()


def test_collect_reports_what_was_played():
  params, rollouts = tiny.mixed_rollouts()
  _, metrics = tiny.experiment().collect(
    params, jax.random.key(tiny.mixed_seed())
  )
  steps = int(rollouts.mask.sum())
  count = tiny.TASKS * tiny.ROLLOUTS
  expected = {
    "success": rollouts.success.mean(),
    "return": rollouts.episode_return.mean(),
    "length": steps / count,
    "steps": steps,
    "invalid_actions": 0.0,
    "batches_drawn": 1,
  }
  assert set(metrics) == {f"rollout/{name}" for name in expected}
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[f"rollout/{name}"], value, rtol=1e-6)


@pytest.mark.parametrize("estimator", ["graphgpo", "gigpo", "grpo", "rloo"])
def test_assign_gives_every_step_its_credit(estimator):
  _, rollouts = tiny.mixed_rollouts()
  advantage, metrics = tiny.experiment().assign(estimator)(rollouts)
  assert advantage.shape == rollouts.mask.shape
  assert not np.asarray(advantage)[~np.asarray(rollouts.mask)].any()
  assert np.asarray(advantage).any()
  chex.assert_tree_all_finite((advantage, metrics))
  wins = np.asarray(rollouts.success).any(axis=1).mean()
  share = [value for name, value in metrics.items() if "success" in name]
  np.testing.assert_allclose(share, [wins], rtol=1e-6)


def test_a_resumed_run_is_the_unbroken_one(unbroken, tmp_path):
  seed = tiny.learning_seed()
  checkpoints = checkpoint.Checkpoints(tmp_path)
  assert checkpoints.latest_step() is None
  with pytest.raises(ValueError, match="no checkpoint in .*; train first"):
    checkpoints.restore(tiny.fresh_state())
  run = loop.iterate(
    tiny.experiment(),
    tiny.fresh_state(seed),
    seed=seed,
    estimator="graphgpo",
  )
  for train_state, _ in run:
    step = int(train_state.step)
    if step:
      checkpoints.save(step, train_state)
      checkpoints.save(step, train_state)  # has it: does nothing
    if step == 2:
      break
  checkpoints.close()
  reopened = checkpoint.Checkpoints(tmp_path)
  assert reopened.latest_step() == 2
  restored = reopened.restore(tiny.fresh_state(seed + 1))
  reopened.close()
  chex.assert_trees_all_equal(jax.device_get(restored), unbroken[2][0])
  (rest,) = tiny.run_all(tiny.uncommitted(restored), seed)
  chex.assert_trees_all_equal(rest[0], unbroken[3][0])
  assert tiny.without_times(rest[1]) == tiny.without_times(unbroken[3][1])


def test_runs_of_all_seeds_and_estimators_share_their_programs(unbroken):
  built = tiny.experiment()
  for estimator in ("graphgpo", "grpo"):
    for seed in (0, 1):
      tiny.run_all(tiny.fresh_state(seed), seed, estimator)
  programs = {
    "initial_state": built.initial_state,
    "collect": built.collect,
    "optimise": built.optimise,
    "evaluate": built.evaluate,
    "graphgpo": built.assign("graphgpo"),
    "grpo": built.assign("grpo"),
  }
  sizes = {name: program._cache_size() for name, program in programs.items()}
  assert sizes == dict.fromkeys(programs, 1)


def test_iterate_tells_every_update(unbroken):
  steps = [int(train_state.step) for train_state, _ in unbroken]
  assert steps == [0, 1, 2, 3]
  assert set(unbroken[0][1]) == {
    "eval/success",
    "eval/success_greedy",
    "eval/return",
    "eval/length",
    "time/evaluate",
  }
  for _, metrics in unbroken[1:]:
    assert 0 <= metrics["eval/success"] <= 1
    parts = sum(
      metrics[f"time/{name}"] for name in ("collect", "assign", "optimise")
    )
    assert metrics["time/update"] == pytest.approx(parts)
    assert metrics["time/steps_per_second"] == pytest.approx(
      metrics["rollout/steps"] / parts
    )
    assert all(np.isfinite(value) for value in metrics.values())


def test_estimators_by_name():
  function = settings.make_estimator("graphgpo", {"omega": 0.5})
  assert function.keywords["omega"] == 0.5
  function = settings.make_estimator(
    "gigpo", {"normalization": "mean_std", "epsilon": 1e-3}
  )
  assert function.keywords["normalize"].keywords["epsilon"] == 1e-3
  # The mean alone divides by nothing: an epsilon is taken and not needed.
  settings.make_estimator("gigpo", {"normalization": "mean", "epsilon": 1e-3})
  with pytest.raises(ValueError, match="'ppo'.*graphgpo, gigpo"):
    settings.make_estimator("ppo", {})
  with pytest.raises(ValueError, match="max"):
    settings.make_estimator("grpo", {"normalization": "max"})


@pytest.mark.parametrize(
  "name, options, words",
  [
    ("graphgpo", {"omgea": 0.5}, "omgea"),
    ("graphgpo", {"omega": 1.5}, "omega"),
    ("graphgpo", {"omega": 0.0}, "omega"),
    ("gigpo", {"omega": 0.5}, "omega"),
    ("gigpo", {"discount": -1.0}, "discount"),
  ],
)
def test_estimator_options_are_checked(name, options, words):
  with pytest.raises(ValueError, match=words):
    settings.make_estimator(name, options)


def test_reference_parameters_survive_donation_and_checkpoint(tmp_path):
  # A linear policy: the transformer would only be slow to compile.
  optimizer = state.make_optimizer(learning_rate=0.1)

  def create(key):
    return state.create_state(
      lambda key: {"w": jax.random.normal(key, (3,))},
      optimizer,
      key,
      with_reference=True,
    )

  def learn(train_state):
    params = jax.tree.map(lambda leaf: leaf + 1, train_state.params)
    return train_state.replace(params=params, step=train_state.step + 1)

  train_state = jax.jit(create)(jax.random.key(0))
  first = jax.device_get(train_state.reference_params)
  step = jax.jit(learn, donate_argnums=0)
  for _ in range(2):
    train_state = step(train_state)
  chex.assert_trees_all_equal(train_state.reference_params, first)
  checkpoints = checkpoint.Checkpoints(tmp_path)
  checkpoints.save(2, train_state)
  restored = checkpoints.restore(jax.jit(create)(jax.random.key(1)))
  checkpoints.close()
  chex.assert_trees_all_equal(restored, train_state)
