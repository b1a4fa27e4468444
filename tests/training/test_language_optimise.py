"""The third phase keeps on the device what need not leave it."""

import jax
import numpy as np
import pytest

from graphgpo_jax.training import language_experiment
from tests.policy.acting import speaking
from tests.training import test_language_experiment

# A played collection: test-all.
pytestmark = pytest.mark.slow


def test_scores_of_parts_are_those_of_the_whole_and_stay():
  own = test_language_experiment.experiment().optimise
  (rows,) = test_language_experiment.packed()
  assert rows.mask.shape[0] % 4 == 0 and rows.mask.shape[0] > 8
  variables = test_language_experiment.start().variables
  scores = own._in_parts(own._score, variables, rows)
  assert isinstance(scores, jax.Array)
  np.testing.assert_allclose(scores, own._score(variables, rows), atol=1e-5)
  assert np.asarray(scores)[rows.loss_mask].max() < 0


def test_an_update_asks_the_device_once(monkeypatch):
  config = test_language_experiment.make_config(
    loss__minibatch_rows=7, loss__importance_cap=2.0
  )
  own = language_experiment.LanguageExperiment(config, speaking.pretrained())
  state = own.initial_state(jax.random.key(0))
  asked = []
  real = jax.device_get

  def counted(tree):
    asked.append(len(jax.tree.leaves(tree)))
    return real(tree)

  monkeypatch.setattr(jax, "device_get", counted)
  _, numbers = own.optimise(
    state,
    test_language_experiment.played()[0].episodes,
    test_language_experiment.credited()[0],
    np.random.default_rng(0),
  )
  assert len(asked) == 1 and asked[0] > 10
  assert numbers["optimiser/steps"] > 1
  assert all(type(value) is float for value in numbers.values())
