"""Configs of text worlds for a policy that chooses commands."""

import importlib

import pytest

from graphgpo_jax.training import settings, text_settings

CONFIGS = ("text_alfworld", "text_coin")


@pytest.mark.parametrize("name", CONFIGS)
def test_config(name):
  module = importlib.import_module(f"experiments.configs.{name}")
  config = module.get_config()
  settings.check_config(config)
  assert text_settings.is_text(config)
  assert f"--config=experiments/configs/{name}.py" in module.__doc__


@pytest.mark.parametrize("name", CONFIGS)
def test_panel_never_meets_training(name):
  config = importlib.import_module(f"experiments.configs.{name}").get_config()
  training = text_settings.task_sets(config, side="train")
  panel = text_settings.panel(config)
  assert len(set(panel)) == config.panel.size
  assert not set(panel) & {task for tasks in training for task in tasks}
