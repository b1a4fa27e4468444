"""Every config is sound and says how to run it and what to expect."""

import importlib
import pathlib

import pytest

from graphgpo_jax import envs
from graphgpo_jax.envs import panels
from graphgpo_jax.training import settings

# Those of text worlds have tests of their own.
CONFIGS = sorted(
  path.stem
  for path in (
    pathlib.Path(__file__).parent.parent / "experiments" / "configs"
  ).glob("[a-z]*.py")
  if not path.stem.startswith("text_")
)


# Configs whose tasks are another's: only steps or updates differ.
SAME_PANEL = {
  "smoke": "household",
  "household_slip": "household",
  "household_time": "household",
  "household_money": "household",
  "household_memory": "household_two_tiers",
  "sokoban_slip": "sokoban",
}
# Of the panel that results are reported on.
PANELS = {
  "household": (
    "5ae16f79a7b4c6cb2d75cbc295c9f4a5623e2891081f8ffff7f11bc702c2b5e2"
  ),
  "household_two_tiers": (
    "fbe0a45d1fe314251cb1df750d542828da6d9a0e574e07991db6b04554c78c46"
  ),
  "household_all": (
    "dd63d73b7ec908f5e03446afc64de3a62f914e9703653db7992a91f4938a1fc8"
  ),
  "sokoban": (
    "1134ad64188ed592885ba6c65cbe8a37db9c15c60d887ae64123d742e9b23f88"
  ),
  "sokoban_two_boxes": (
    "3758ee3240734a08071a6e88d5ea4b5ef01e3d784042235d8a4e64e150f2734a"
  ),
}


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


@pytest.mark.parametrize("name", CONFIGS)
def test_reported_panels_are_locked(name):
  module = importlib.import_module(f"experiments.configs.{name}")
  config = module.get_config()
  options = config.environment.to_dict()
  environment = envs.make_environment(options.pop("name"), **options)
  panel = panels.make_panel(environment, **config.panel)
  expected = PANELS[SAME_PANEL.get(name, name)]
  assert panels.panel_sha256(panel) == expected
