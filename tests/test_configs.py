"""Every config is sound and says how to run it and what to expect."""

import importlib
import pathlib

import pytest

from graphgpo_jax import envs
from graphgpo_jax.training import settings

CONFIGS = sorted(
  path.stem
  for path in (
    pathlib.Path(__file__).parent.parent / "experiments" / "configs"
  ).glob("[a-z]*.py")
)


def test_there_are_configs():
  assert {"household", "smoke", "sokoban"} <= set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_config(name):
  module = importlib.import_module(f"experiments.configs.{name}")
  settings.check_config(module.get_config())
  options = module.get_config().environment.to_dict()
  environment = envs.make_environment(options.pop("name"), **options)
  assert environment.spec.horizon >= 30
  text = module.__doc__
  assert f"--config=experiments/configs/{name}.py" in text
  assert "Wall time:" in text and "To expect:" in text
