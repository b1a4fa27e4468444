"""The worlds of `experiments.evidence`: each a config and what differs from it.

Any binary takes a world of this table for its config:

    python -m experiments.compare \
      --config=experiments/evidence_worlds.py:two_tiers --seeds=0,1,2 \
      --workdir=runs/two_tiers
"""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_collections

_ROOT = pathlib.Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True)
class World:
  """A config file plus overrides.

  Attributes:
    config: path of the config file, from the top of the project.
    overrides: values by key of the config, dots between sections. The
      environment's section is open: keys may be new there.
  """

  config: str
  overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def describe(self) -> str:
    """The config file and the overrides, in words for a page."""
    text = f"`{self.config}`"
    if self.overrides:
      changes = [f"`{key}={value!r}`" for key, value in self.overrides.items()]
      text += f" with {', '.join(changes)}"
    return text


_TWO_TIERS = "experiments/configs/household_two_tiers.py"
# These say what a slip does; how often is said below.
_HOUSEHOLD_SLIP = "experiments/configs/household_slip.py"
_SOKOBAN_SLIP = "experiments/configs/sokoban_slip.py"

# A power mean between the expectation and the shortest way, for graphhca.
_POWER = {"estimator_options.graphhca.power": 5.0}

WORLDS: Mapping[str, World] = {
  "household": World("experiments/configs/household.py"),
  "household_slip_0.1": World(_HOUSEHOLD_SLIP, {"environment.slip": 0.1}),
  "household_slip_0.3": World(_HOUSEHOLD_SLIP, {"environment.slip": 0.3}),
  "two_tiers": World(_TWO_TIERS),
  "two_tiers_slip_0.1": World(_TWO_TIERS, {"environment.slip": 0.1}),
  "two_tiers_slip_0.3": World(_TWO_TIERS, {"environment.slip": 0.3}),
  "household_power_5": World("experiments/configs/household.py", _POWER),
  "household_slip_0.1_power_5": World(
    _HOUSEHOLD_SLIP, {"environment.slip": 0.1, **_POWER}
  ),
  "household_slip_0.3_power_5": World(
    _HOUSEHOLD_SLIP, {"environment.slip": 0.3, **_POWER}
  ),
  "two_tiers_power_5": World(_TWO_TIERS, _POWER),
  "two_tiers_slip_0.1_power_5": World(
    _TWO_TIERS, {"environment.slip": 0.1, **_POWER}
  ),
  "two_tiers_slip_0.3_power_5": World(
    _TWO_TIERS, {"environment.slip": 0.3, **_POWER}
  ),
  "six_tiers": World("experiments/configs/household_all.py"),
  "sokoban": World("experiments/configs/sokoban.py"),
  "sokoban_slip_0.1": World(_SOKOBAN_SLIP, {"environment.slip": 0.1}),
  "sokoban_slip_0.3": World(_SOKOBAN_SLIP, {"environment.slip": 0.3}),
  "sokoban_two_boxes": World("experiments/configs/sokoban_two_boxes.py"),
}


def get_config(name: str) -> ml_collections.ConfigDict:
  """The config of a world of `WORLDS`."""
  return config_of(WORLDS, name)


def config_of(
  worlds: Mapping[str, World], name: str
) -> ml_collections.ConfigDict:
  """The config of a world of a table.

  Args:
    worlds: the table.
    name: a world of it.

  Returns:
    What its config file's `get_config` gives, overridden.

  Raises:
    ValueError: no such world.
  """
  if name not in worlds:
    raise ValueError(f"no world {name!r}; there are {', '.join(worlds)}")
  world = worlds[name]
  # A path that is absolute stays as it is.
  config = load_module(_ROOT / world.config).get_config()
  config.update_from_flattened_dict(dict(world.overrides))
  return config


def load_module(path: pathlib.Path) -> Any:
  """The module of a file outside the packages, or inside.

  Raises:
    ValueError: the file does not exist or is no Python file.
  """
  found = importlib.util.spec_from_file_location(path.stem, path)
  if found is None or found.loader is None or not path.exists():
    raise ValueError(f"{path} is no Python file that exists")
  module = importlib.util.module_from_spec(found)
  found.loader.exec_module(module)
  return module
