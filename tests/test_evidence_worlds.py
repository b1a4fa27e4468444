"""experiments.evidence: what its flags and its table of worlds say."""

import importlib
import pathlib

import pytest

from experiments import choices, evidence_worlds
from graphgpo_jax import envs
from graphgpo_jax.credit import estimators
from graphgpo_jax.training import settings


def test_all_is_every_estimator():
  assert choices.estimator_names(["all"]) == list(estimators.ESTIMATORS)
  assert choices.estimator_names(["grpo", "gigpo"]) == ["grpo", "gigpo"]
  assert choices.seeds(["3", "0"]) == [3, 0]
  for words in ([], ["grpo", "grpo"], ["grpo", "ppo"], ["grpo", "all"]):
    with pytest.raises(ValueError):
      choices.estimator_names(words)
  for words in ([], ["1", "1"], ["x"]):
    with pytest.raises(ValueError, match="--seeds takes"):
      choices.seeds(words)


@pytest.mark.parametrize("name", evidence_worlds.WORLDS)
def test_every_world_can_be_built(name):
  config = evidence_worlds.get_config(name)
  settings.check_config(config)
  options = config.environment.to_dict()
  environment = envs.make_environment(options.pop("name"), **options)
  assert environment.spec.horizon >= 15


def test_overrides_are_set():
  worlds = {
    "a": evidence_worlds.World(
      "experiments/configs/smoke.py",
      {"environment.slip": 0.1, "optimizer.learning_rate": 0.5},
    )
  }
  config = evidence_worlds.config_of(worlds, "a")
  assert config.environment.slip == 0.1
  assert config.optimizer.learning_rate == 0.5
  # The file's own config is another one.
  module = importlib.import_module("experiments.configs.smoke")
  assert "slip" not in module.get_config().environment
  assert worlds["a"].describe() == (
    "`experiments/configs/smoke.py` with `environment.slip=0.1`, "
    "`optimizer.learning_rate=0.5`"
  )
  with pytest.raises(ValueError, match="no world 'b'; there are a"):
    evidence_worlds.config_of(worlds, "b")
  with pytest.raises(ValueError, match="missing.py"):
    evidence_worlds.load_module(pathlib.Path("missing.py"))
