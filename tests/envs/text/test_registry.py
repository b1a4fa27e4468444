"""Text worlds by name."""

import subprocess
import sys

import pytest

from graphgpo_jax.envs.text import registry

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
