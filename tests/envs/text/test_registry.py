"""Text worlds by name."""

import subprocess
import sys

import pytest

from graphgpo_jax.envs.text import registry
from tests.training import coin_world

MINE = ["scienceworld", "sokoban_text", "textworld", "textworld_express"]


def test_no_such_world():
  with pytest.raises(ValueError, match="expected one of alfworld"):
    registry.make("zork")


@pytest.mark.parametrize("world", MINE)
def test_every_world_has_the_keys(world):
  assert {"recipe", "observation", "true"} <= set(registry.key_kinds(world))


@pytest.mark.parametrize("world", MINE)
def test_no_such_key(world):
  with pytest.raises(ValueError, match="expected one of recipe"):
    registry.state_key(world, "smell")


@pytest.mark.parametrize("world", [*MINE, "tests.training.coin_world"])
def test_a_function_of_the_users_is_a_key_of_any_world(world):
  path = "tests.training.coin_world:floor_key"
  key = registry.state_key(world, path)
  step = coin_world.Coin().reset("coin-1")
  assert key(step) == coin_world.floor_key(step) == "downstairs"
  assert registry.key_options(world, path) == {}


@pytest.mark.parametrize(
  ("path", "message"),
  [
    ("tests.training.coin_world:smell", "has no function 'smell'"),
    ("tests.training.coin_world:STATE_KEYS", "has no function 'STATE_KEYS'"),
    ("tests.no_such_module:key", "No module named 'tests.no_such_module'"),
    (":key", "state key ':key'"),
  ],
)
def test_a_function_that_is_none_is_named(path, message):
  with pytest.raises(ValueError, match=message):
    registry.state_key("textworld", path)


def test_a_function_must_return_text():
  key = registry.state_key("textworld", "dataclasses:asdict")
  with pytest.raises(ValueError, match="'dataclasses:asdict': expected text"):
    key(coin_world.Coin().reset("coin-1"))


def test_options_that_a_key_needs():
  assert registry.key_options("scienceworld", "true") == {"true_state": True}
  assert registry.key_options("textworld", "recipe") == {}


def test_no_engine_is_imported_before_an_environment_is_made():
  worlds = ", ".join(f"registry.key_kinds({w!r})" for w in MINE)
  code = (
    "import sys\nfrom graphgpo_jax.envs.text import registry\n"
    f"{worlds}\n"
    "print({'textworld', 'scienceworld', 'textworld_express', 'py4j'}"
    " & set(sys.modules))"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
  ("world", "module"),
  [
    ("scienceworld", "scienceworld.constants"),
    ("textworld", "textworld"),
    ("textworld_express", "textworld_express.constants"),
  ],
)
def test_missing_package_is_named(world, module, monkeypatch):
  monkeypatch.setitem(sys.modules, module, None)
  with pytest.raises(ImportError, match=r"graphgpo-jax\[text\]"):
    registry.make(world)
