"""Which module may import what."""

import ast
import pathlib
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "graphgpo_jax"
ALGORITHM = sorted([*PACKAGE.glob("credit/**/*.py"), PACKAGE / "losses.py"])
ALLOWED = {"jax", "chex"}


def imported_modules(path):
  """Yields the dotted names that a file imports, at any depth."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield alias.name
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path.name} has a relative import"
      for alias in node.names:
        yield f"{node.module}.{alias.name}"


@pytest.mark.parametrize(
  "path", ALGORITHM, ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_algorithm_needs_only_jax_and_chex(path):
  for name in imported_modules(path):
    top = name.split(".")[0]
    if top in ALLOWED or top in sys.stdlib_module_names:
      continue
    assert path.parent != PACKAGE, f"{path.name} imports {name}"
    assert name.startswith("graphgpo_jax.credit"), f"{path.name}: {name}"


def test_algorithm_has_files():
  assert len(ALGORITHM) > 2
