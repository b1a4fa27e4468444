"""Configs that cannot be meant are refused by name."""

import re

import jax
import numpy as np
import pytest

from graphgpo_jax.credit import estimators
from graphgpo_jax.training import environment_experiment, settings, update
from tests.training import made_rollouts, tiny


def test_default_and_tiny_configs_are_sound():
  settings.check_config(settings.default_config())
  settings.check_config(tiny.make_config())


@pytest.mark.parametrize(
  "section, key",
  [("", "sed"), ("loss", "clip"), ("policy", "depth"), ("panel", "sha")],
)
def test_unknown_keys_are_named(section, key):
  config = tiny.make_config()
  with config.unlocked():
    (config[section] if section else config)[key] = 1
  name = f"{section}.{key}" if section else key
  with pytest.raises(ValueError, match=f"config key {name} does not exist"):
    settings.check_config(config)


@pytest.mark.parametrize("section", ["", "loss", "optimizer", "environment"])
def test_missing_keys_are_named(section):
  config = tiny.make_config()
  key = {"": "loss", "loss": "clip_low", "optimizer": "weight_decay"}.get(
    section, "name"
  )
  with config.unlocked():
    del (config[section] if section else config)[key]
  name = f"{section}.{key}" if section else key
  with pytest.raises(ValueError, match=f"config key {name} is missing"):
    settings.check_config(config)


def test_a_value_in_the_place_of_a_section_is_named():
  config = tiny.make_config()
  with config.unlocked(), config.ignore_type():
    config.loss = 3
  with pytest.raises(ValueError, match="loss"):
    settings.check_config(config)


@pytest.mark.parametrize(
  "name, value",
  [
    ("num_updates", 0),
    ("eval_every", 0),
    ("checkpoint_every", -1),
    ("panel.size", 0),
    ("rollout.tasks_per_update", 0),
    ("rollout.rollouts_per_task", 0),
    ("rollout.max_resamples", -1),
    ("loss.aggregate", "mean"),
    ("loss.kl", "k9"),
    ("policy.dtype", "float16"),
    ("estimator", "ppo"),
  ],
)
def test_values_out_of_range_are_named(name, value):
  config = tiny.make_config(**{name.replace(".", "__"): value})
  with pytest.raises(ValueError, match=rf"config\.{re.escape(name)}\b"):
    settings.check_config(config)


@pytest.mark.parametrize(
  "name, value, words",
  [
    ("environment.name", "chess", "household, sokoban"),
    ("environment.horizon", 0, "horizon"),
    ("policy.num_heads", 3, "num_heads"),
    ("optimizer.learning_rate", 0.0, "learning_rate"),
    ("optimizer.max_grad_norm", 0.0, "max_grad_norm"),
    ("loss.num_epochs", 0, "num_epochs"),
    ("loss.num_minibatches", 0, "num_minibatches"),
    ("loss.chunk_size", 0, "chunk_size"),
    ("loss.dual_clip", 0.5, "dual_clip"),
    ("estimator_options.graphgpo.omega", 1.0, "omega"),
  ],
)
def test_an_experiment_is_not_built_of_them(name, value, words):
  config = tiny.make_config(**{name.replace(".", "__"): value})
  with pytest.raises(ValueError, match=words):
    environment_experiment.Experiment(config)


def test_unknown_options_of_open_sections_are_named():
  config = tiny.make_config()
  with config.unlocked():
    config.environment.rooms = 3
  with pytest.raises(ValueError, match="rooms"):
    environment_experiment.Experiment(config)
  config = tiny.make_config()
  with config.unlocked():
    config.estimator_options.graphgpo.omgea = 0.5
  with pytest.raises(ValueError, match="omgea"):
    environment_experiment.Experiment(config)


def built(name):
  """An estimator as the default config builds it."""
  options = settings.default_config().estimator_options[name]
  return update.make_assign(settings.make_estimator(name, dict(options)))


@pytest.mark.parametrize("name", estimators.ESTIMATORS)
def test_every_estimator_can_be_built(name):
  rollouts = made_rollouts.random_rollouts()
  advantage, metrics = jax.eval_shape(built(name), rollouts)
  assert advantage.shape == rollouts.mask.shape
  assert all(value.shape == () for value in metrics.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", estimators.ESTIMATORS)
def test_every_estimator_runs(name):
  rollouts = made_rollouts.random_rollouts()
  advantage, metrics = jax.device_get(jax.jit(built(name))(rollouts))
  assert np.isfinite(advantage).all()
  assert not advantage[~rollouts.mask].any()
  assert advantage.any()
  for value in metrics.values():
    assert np.isfinite(value)
