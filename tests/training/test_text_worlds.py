"""Time limits of text worlds, and what a language model's log loses."""

import inspect
import types

import jax
import numpy as np
import pytest

from graphgpo_jax.rollouts.host import records
from graphgpo_jax.rollouts.host import workers as workers_lib
from graphgpo_jax.training import (
  language_settings,
  language_trainer,
  language_update,
  metrics,
  settings,
  text_worlds,
)
from tests.training import test_text_experiment

CHECKS = (settings.check_config, language_settings.check_config)


def make_config(check):
  """A config of either kind of policy, in the world of coins."""
  if check is settings.check_config:
    return test_text_experiment.make_config()
  config = language_settings.default_config()
  config.environment.name = test_text_experiment.WORLD
  config.text.tasks.all = {"first": 20}
  config.rollout.tasks_per_update = 2
  return config


@pytest.mark.parametrize("check", CHECKS)
def test_time_limits_are_the_pools_by_default(check):
  text = make_config(check).text
  pool = inspect.signature(workers_lib.WorkerPool).parameters
  for name in ("step_timeout", "reset_timeout"):
    assert text[name] == pool[name].default


@pytest.mark.parametrize("check", CHECKS)
def test_time_limits_reach_the_workers(check, monkeypatch):
  class StartedError(Exception):
    pass

  def start(make, **options):
    raise StartedError(options)

  monkeypatch.setattr(workers_lib, "WorkerPool", start)
  config = make_config(check)
  # Whole numbers, as a flag may give them.
  config.text.step_timeout = 7
  config.text.reset_timeout = 11.5
  check(config)
  world = text_worlds.TextWorld(config, with_panel=False)
  with pytest.raises(StartedError) as caught:
    world.train(None, jax.random.key(0))
  (options,) = caught.value.args
  assert (options["step_timeout"], options["reset_timeout"]) == (7.0, 11.5)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("name", ["step_timeout", "reset_timeout"])
@pytest.mark.parametrize("check", CHECKS)
def test_time_limits_must_be_positive(check, name, value):
  config = make_config(check)
  check(config)
  config.text[name] = value
  with pytest.raises(
    ValueError, match=f"config.text.{name} must be positive, got {value}"
  ):
    check(config)


def test_a_language_model_tells_lost_groups(tmp_path, caplog):
  """The trainer's loop alone: no model, a log that is full now and then."""
  config = make_config(language_settings.check_config)
  config.num_updates = 3
  config.eval_every = 0
  losses = [2, 0, 1]

  class Log:
    dropped = 0

    def write(self, episodes, state_key, *, update, success_reward):
      self.dropped += losses[update - 1]

  def optimise(current, episodes, advantage, random):
    del episodes, advantage, random
    return current.replace(step=current.step + 1), {"loss/total": 0.5}

  experiment = types.SimpleNamespace(
    config=config,
    state_key=None,
    collect=lambda variables, key: (types.SimpleNamespace(episodes=()), {}),
    assign=lambda played, estimator: (np.zeros(0), {}),
    optimise=optimise,
  )

  def run(log):
    writer = metrics.MetricsWriter(tmp_path, tensorboard=False)
    writer.go_on_from(0)
    start = language_update.LanguageState(
      trained={}, frozen={}, opt_state=(), step=np.int32(0)
    )
    told = []
    for state, values in language_trainer.iterate(experiment, start, log):
      writer.write(int(state.step), values)
      told.append(values[records.NOT_LOGGED])
    writer.close()
    return told

  assert run(Log()) == losses
  before = (tmp_path / "metrics.jsonl").read_bytes()
  losses = [0, 0, 0]
  assert run(Log()) == losses
  assert (tmp_path / "metrics.jsonl").read_bytes() == before
  assert "came out otherwise" not in caplog.text
