"""Losses and gradients that are not finite: refused, counted, then the end."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from graphgpo_jax.training import (
  environment_experiment,
  guard,
  loop,
  metrics,
  trainer,
)
from tests.training import tiny


def break_updates(monkeypatch, bad):
  """Credit is NaN at one step in updates whose number is in `bad`."""
  built = tiny.experiment()
  programs, seen = built.programs, iter(range(100))

  def assign(real, rollouts):
    advantage, found = real(rollouts)
    if next(seen) in bad:
      advantage = advantage.at[0, 0, 0].set(jnp.nan)
    return advantage, found

  def broken(estimator):
    real = programs(estimator)
    return dataclasses.replace(
      real, assign=functools.partial(assign, real.assign)
    )

  monkeypatch.setattr(built, "programs", broken)
  monkeypatch.setattr(environment_experiment, "Experiment", lambda _: built)


def test_a_step_is_refused_and_counted(monkeypatch):
  seed = tiny.learning_seed()
  break_updates(monkeypatch, {1})
  run = list(tiny.run_all(tiny.fresh_state(seed), seed))
  states = [state for state, _ in run]
  refused = [found["optimiser/refused"] for _, found in run[1:]]
  # One of its two minibatches holds the step; which, the shuffling decides.
  assert refused == [0, 1, 0]
  for state in states:
    for leaf in jax.tree.leaves(state.params):
      assert np.isfinite(leaf).all()
  assert [int(state.step) for state in states] == [0, 1, 2, 3]


def test_after_some_in_a_row_the_run_ends(monkeypatch, tmp_path):
  seed = tiny.learning_seed()
  config = tiny.make_config(seed=seed, checkpoint_every=1, max_bad_updates=2)
  break_updates(monkeypatch, {1, 2})
  with pytest.raises(guard.NotFiniteError, match="2 updates in a row") as told:
    trainer.train(config, tmp_path)
  (path,) = tmp_path.glob("not_finite_batch_*.npz")
  assert str(path) in str(told.value)
  lines = metrics.read_metrics(tmp_path / "metrics.jsonl")
  assert [line["step"] for line in lines] == [0, 1, 2]
  assert lines[2]["optimiser/refused"] > 0
  with np.load(path, allow_pickle=False) as batch:
    assert np.isnan(batch["advantage"]).sum() == 1
    assert batch["rollouts/mask"].shape == batch["advantage"].shape
    assert batch["key"].dtype == np.uint32
    assert any(name.startswith("rollouts/observation") for name in batch)


def test_the_count_goes_on_after_a_restart(monkeypatch, tmp_path):
  config = tiny.make_config(
    seed=tiny.learning_seed(), checkpoint_every=1, max_bad_updates=2
  )
  break_updates(monkeypatch, {1, 2, 3})
  with pytest.raises(guard.NotFiniteError):
    trainer.train(config, tmp_path)
  # It goes on after update 2, the first that was bad.
  with pytest.raises(guard.NotFiniteError, match="2 updates .* update 3"):
    trainer.train(config, tmp_path)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_the_optimiser_stays_as_it_was(bad):
  optimizer = guard.refuse_not_finite(optax.adam(0.1))
  params = {"a": jnp.ones(3), "b": jnp.zeros(())}
  state = optimizer.init(params)
  good = {"a": jnp.ones(3), "b": jnp.ones(())}
  updates, state = optimizer.update(good, state, params)
  params = optax.apply_updates(params, updates)
  broken = {"a": jnp.array([1.0, bad, 1.0]), "b": jnp.ones(())}
  updates, after = optimizer.update(broken, state, params)
  jax.tree.map(np.testing.assert_array_equal, updates, {"a": 0, "b": 0})
  jax.tree.map(
    np.testing.assert_array_equal, after.inner_state, state.inner_state
  )
  assert (guard.count_refused(state), guard.count_refused(after)) == (0, 1)
  # However many there were.
  many = after._replace(notfinite_count=jnp.int32(2**31 - 2))
  updates, _ = optimizer.update(broken, many, params)
  assert not np.asarray(updates["a"]).any()


def test_a_loss_that_is_not_finite_refuses_its_gradient():
  gradients = {"w": jnp.ones(2)}
  good = {"loss/policy": jnp.float32(1.0), "loss/kl": jnp.float32(jnp.inf)}
  same = guard.poison_unless_finite(gradients, good)
  np.testing.assert_array_equal(same["w"], [1, 1])
  for name in ("loss/policy", "loss/entropy", "loss/reference_kl"):
    broken = {**good, name: jnp.float32(jnp.nan)}
    poisoned = guard.poison_unless_finite(gradients, broken)
    assert np.isnan(poisoned["w"]).all()


def test_no_guard_counts_nothing():
  assert guard.count_refused(optax.adam(0.1).init({"a": jnp.ones(3)})) == 0


def test_the_loop_without_a_limit_goes_on(monkeypatch):
  seed = tiny.learning_seed()
  break_updates(monkeypatch, {0, 1, 2})
  run = loop.iterate(
    tiny.experiment(), tiny.fresh_state(seed), seed=seed, estimator="graphgpo"
  )
  assert len(list(run)) == 4
