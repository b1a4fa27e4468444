"""docs/: what its pages name exists; `make docs` builds them and runs them."""

import importlib.util
import pathlib
import re

import pytest

import graphgpo_jax
from graphgpo_jax.credit import estimators

_ROOT = pathlib.Path(__file__).parent.parent
_DOCS = _ROOT / "docs"
_GUIDES = sorted((_DOCS / "guides").glob("*.md"))
_PAGES = [_DOCS / "index.md", *_GUIDES]


def _read(path):
  return path.read_text(encoding="utf-8")


def _pages(paths):
  return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def test_index_leads_to_every_guide():
  named = set(re.findall(r"^guides/(\w+)$", _read(_DOCS / "index.md"), re.M))
  assert named == {path.stem for path in _GUIDES}


def test_reference_has_every_room():
  package = pathlib.Path(graphgpo_jax.__file__).parent
  rooms = {
    path.stem
    for path in package.iterdir()
    if (path.is_dir() or path.suffix == ".py") and path.name[0] != "_"
  }
  named = set(re.findall(r"^ +graphgpo_jax\.(\w+)$", _reference(), re.M))
  assert named == rooms - {"disk", "extras"}, "see docs/api/index.md"


def _reference():
  return _read(_DOCS / "api" / "index.md")


@_pages(_PAGES)
def test_every_block_is_one_that_is_run(path):
  kinds = set(re.findall(r"^```(\S+)$", _read(path), re.M))
  kinds |= set(re.findall(r"^```(\{\w+\})", _read(path), re.M))
  allowed = {"{doctest}", "{testsetup}", "{toctree}", "{literalinclude}"}
  assert kinds <= allowed


@_pages(_PAGES)
def test_names_exist(path):
  text = _read(path)
  for binary in re.findall(r"python -m (experiments\.\w+)", text):
    assert importlib.util.find_spec(binary) is not None, binary
  for place in re.findall(r"(experiments/[\w/]+\.(?:py|sh))", text):
    assert (_ROOT / place).exists(), place
  for config in re.findall(r"`(text_\w+)`", text):
    assert (_ROOT / "experiments" / "configs" / f"{config}.py").exists()
  for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
    made = target.startswith("../_made/")
    assert made or (path.parent / target).exists(), target


def test_every_estimator_is_in_the_comparison():
  text = _read(_DOCS / "guides" / "estimators.md")
  assert all(f"`{name}`" in text or f"| {name}" in text for name in _names())


def _names():
  assert len(estimators.ESTIMATORS) == 14
  return estimators.ESTIMATORS


def test_metrics_that_guides_name_are_written():
  sources = [
    _read(path)
    for room in ("credit", "training")
    for path in (_ROOT / "graphgpo_jax" / room).rglob("*.py")
  ]
  code = "\n".join(sources)
  for path in _GUIDES:
    for name in re.findall(r"`((?:graph|eval|sampler)/\w+)`", _read(path)):
      assert f'"{name}"' in code, f"{path.stem}: {name}"


def test_settings_that_guides_name_exist():
  code = "\n".join(
    _read(path) for path in (_ROOT / "graphgpo_jax").rglob("*.py")
  )
  for path in _GUIDES:
    for name in re.findall(r"config\.((?:\w+\.)*\w+)", _read(path)):
      key = name.split(".")[-1]
      assert re.search(rf"\b{key}\b", code), f"{path.stem}: config.{name}"
