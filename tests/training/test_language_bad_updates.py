"""A language model whose losses are not finite: refused, counted, the end."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from graphgpo_jax.training import (
  guard,
  language_batches,
  language_experiment,
  language_loss,
  language_trainer,
  language_update,
  metrics,
  session,
)
from tests.policy.acting import speaking
from tests.training import language_rows, test_language_experiment

_ASSIGN = language_experiment.LanguageExperiment.assign
_MAKE_MINIBATCHES = language_batches.make_minibatches


def break_updates(monkeypatch, bad):
  """A log-probability is NaN in updates whose number, from 0, is in `bad`.

  Returns:
    A list that fills with the updates' advantages.
  """
  advantages, seen = [], iter(range(100))

  def assign(self, played, estimator):
    advantage, found = _ASSIGN(self, played, estimator)
    # All groups may have failed alike: such an update would learn nothing.
    advantages.append(advantage + np.float32(0.5))
    return advantages[-1], found

  def make_minibatches(rows, **options):
    first, *others = _MAKE_MINIBATCHES(rows, **options)
    if next(seen) in bad:
      first.old_log_prob[tuple(np.argwhere(first.loss_mask)[0])] = np.nan
    return [first, *others]

  monkeypatch.setattr(language_experiment.LanguageExperiment, "assign", assign)
  monkeypatch.setattr(language_batches, "make_minibatches", make_minibatches)
  return advantages


def watch_states(monkeypatch):
  """A list that fills with what is trained and its optimiser, by update."""
  states, record = [], session.Session.record

  def watched(self, current, values, **shown):
    states.append(jax.device_get((current.params, current.opt_state)))
    return record(self, current, values, **shown)

  monkeypatch.setattr(session.Session, "record", watched)
  return states


def same(one, other):
  return all(
    np.array_equal(a, b)
    for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True)
  )


@pytest.mark.slow
def test_after_some_in_a_row_the_run_ends(monkeypatch, tmp_path):
  config = test_language_experiment.make_config(
    num_updates=5, eval_every=0, checkpoint_every=1, max_bad_updates=2
  )
  advantages = break_updates(monkeypatch, {1, 2})
  states = watch_states(monkeypatch)
  with pytest.raises(guard.NotFiniteError, match="2 updates in a row") as told:
    language_trainer.train(config, tmp_path, pretrained=speaking.pretrained())
  # The second of them is the end, before its line.
  lines = metrics.read_metrics(tmp_path / "metrics.jsonl")
  assert [line["step"] for line in lines] == [1, 2]
  assert [line["optimiser/refused"] for line in lines] == [0, 1]
  assert np.isfinite(lines[0]["loss/gradient_norm"])
  assert not np.isfinite(lines[1]["loss/gradient_norm"])
  # The bad step was not taken: neither adapters nor Adam moved.
  (params, opt_state), (kept, guarded) = states
  assert same(params, kept)
  assert same(opt_state.inner_state, guarded.inner_state)
  assert guard.count_refused(guarded) == 1
  # The good one before it was.
  assert opt_state.inner_state[1][0].count == 1
  # What it could not learn from is in the file that the message names.
  (path,) = tmp_path.glob("not_finite_batch_*")
  assert path.name == "not_finite_batch_000003.npz"
  assert str(path) in str(told.value)
  with np.load(path, allow_pickle=False) as batch:
    assert len(advantages) == 3
    np.testing.assert_array_equal(batch["advantage"], advantages[2])
    own = batch["rows/loss_mask"]
    assert own.any() and own.shape == batch["rows/tokens"].shape
    assert np.isin(batch["rows/advantage"][own], advantages[2]).all()
  # Started again it goes on from the last checkpoint and its count.
  break_updates(monkeypatch, {0})
  with pytest.raises(guard.NotFiniteError, match="2 updates .* update 3"):
    language_trainer.train(config, tmp_path, pretrained=speaking.pretrained())


@pytest.mark.slow
def test_a_good_update_between_starts_the_count_anew(monkeypatch, tmp_path):
  config = test_language_experiment.make_config(
    num_updates=3, eval_every=0, max_bad_updates=2
  )
  break_updates(monkeypatch, {0, 2})
  states = watch_states(monkeypatch)
  language_trainer.train(config, tmp_path, pretrained=speaking.pretrained())
  lines = metrics.read_metrics(tmp_path / "metrics.jsonl")
  assert [line["optimiser/refused"] for line in lines] == [1, 0, 1]
  first, second, third = (params for params, _ in states)
  assert not same(first, second) and same(second, third)
  assert not list(tmp_path.glob("not_finite_batch_*"))


def _hidden_nan(log_prob, entropy, rows, *arrays, **options):
  """A loss that is NaN in one micro-batch, with gradients that are finite."""
  loss, found = language_loss.rows_loss(
    log_prob, entropy, rows, *arrays, **options
  )
  bad = jnp.where(jnp.isnan(rows.old_log_prob).any(), jnp.nan, 0.0)
  return loss, {**found, "loss/policy": found["loss/policy"] + bad}


@pytest.mark.parametrize("parts", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_loss_whose_gradient_hides_it_is_refused(parts):
  optimizer = guard.refuse_not_finite(optax.sgd(1.0, momentum=0.9))
  update = language_update.make_update(
    language_rows.log_probs(),
    optimizer,
    num_microbatches=parts,
    loss=_hidden_nan,
  )
  rows = language_rows.make_rows()
  state, _ = update(
    language_update.create_state(language_rows.variables(), optimizer), rows
  )
  before = jax.device_get(state)
  assert guard.count_refused(state.opt_state) == 0
  # Where no loss is, so that nothing but `_hidden_nan` sees it.
  poisoned = np.array(rows.old_log_prob)
  poisoned[tuple(np.argwhere(~np.asarray(rows.loss_mask))[0])] = np.nan
  state, found = update(state, dataclasses.replace(rows, old_log_prob=poisoned))
  assert guard.count_refused(state.opt_state) == 1
  assert np.isnan(found["loss/policy"]) and int(state.step) == 2
  after = jax.device_get(state)
  assert same(before.trained, after.trained)
  assert same(before.opt_state.inner_state, after.opt_state.inner_state)
  # It is the step that was refused, not all that follow.
  state, _ = update(state, rows)
  assert guard.count_refused(state.opt_state) == 1
  assert not same(after.trained, jax.device_get(state.trained))
