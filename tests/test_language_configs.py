"""Configs of language models: sound, and they say what was published."""

import importlib
import pathlib

import pytest

from graphgpo_jax.training import language_settings, text_settings

# Omega, tokens of a prompt, steps of an episode, published success.
RECIPES = {
  "text_alfworld_qwen_1_5b": (0.1, 2048, 50, "92.7"),
  "text_alfworld_qwen_7b": (0.1, 2048, 50, "95.3"),
  "text_sokoban_qwen_1_5b": (0.8, 2048, 15, "87.0"),
  "text_sokoban_qwen_7b": (0.8, 2048, 15, "87.0"),
  "text_webshop_qwen_1_5b": (0.2, 5120, 15, "78.7"),
  "text_webshop_qwen_7b": (0.2, 5120, 15, "80.3"),
}
OTHERS = ("text_alfworld_smollm2",)


def load(name):
  return importlib.import_module(f"experiments.configs.{name}")


@pytest.mark.parametrize("name", [*RECIPES, *OTHERS])
def test_config(name):
  language_settings.check_config(load(name).get_config())
  text = load(name).__doc__
  assert f"--config=experiments/configs/{name}.py" in text
  assert "Wall time:" in text and "To expect:" in text


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipe(name):
  config = load(name).get_config()
  omega, prompt, steps, published = RECIPES[name]
  text = " ".join(load(name).__doc__.split())
  assert f"the published result is {published}" in text
  assert "number to reach, not one that was reached here" in text
  found = config.estimator_options.graphgpo
  assert (found.omega, found.invalid_penalty) == (omega, 0.1)
  assert (config.prompt.max_tokens, config.response.max_tokens) == (prompt, 512)
  assert config.prompt.history == 2
  assert config.environment.max_steps == config.text.max_steps == steps
  rollout = config.rollout
  assert (rollout.tasks_per_update, rollout.rollouts_per_task) == (16, 8)
  assert config.optimizer.learning_rate == 1e-6 and config.num_updates == 150
  assert (config.loss.kl_coefficient, config.loss.kl) == (0.01, "low_var_kl")


def test_the_rooms_of_a_run_are_the_recipes():
  config = load("text_sokoban_qwen_7b").get_config()
  (tasks,) = text_settings.task_sets(config, side="train")
  assert tasks[0] == "train/boxes=2,height=6,solution=15,width=6/0"
  panel = text_settings.panel(config)
  assert len(panel) == 128 and not set(panel) & set(tasks)


def test_the_shops_files_are_named_once():
  config = load("text_webshop_qwen_7b").get_config()
  config.environment.data_folder = "files"
  assert config.text.tasks.all.data_folder == "files"


def test_all_configs_of_language_models_are_here():
  folder = pathlib.Path(__file__).parent.parent / "experiments" / "configs"
  found = {
    path.stem
    for path in folder.glob("*.py")
    if "language_settings" in path.read_text() or "qwen" in path.stem
  }
  assert found == {*RECIPES, *OTHERS}
