"""Where a run keeps what it compiles."""

import os
import subprocess
import sys

import jax
import pytest

from experiments import running
from tests import binaries

_FOLDER = "jax_compilation_cache_dir"
_SHORTEST = "jax_persistent_cache_min_compile_time_secs"
_VARIABLE = "JAX_COMPILATION_CACHE_DIR"


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
  """Nothing is set, and afterwards all is as it was."""
  before = {name: getattr(jax.config, name) for name in (_FOLDER, _SHORTEST)}
  monkeypatch.delenv(_VARIABLE, raising=False)
  jax.config.update(_FOLDER, None)
  jax.config.update(_SHORTEST, 1.0)
  yield
  for name, value in before.items():
    jax.config.update(name, value)


def used():
  return getattr(jax.config, _FOLDER), getattr(jax.config, _SHORTEST)


def test_the_workdir_keeps_it():
  running.cache_compiled("runs/one", None)
  assert used() == (os.path.join("runs/one", "compile_cache"), 0.0)


def test_a_folder_that_is_named_goes_before_all(monkeypatch):
  monkeypatch.setenv(_VARIABLE, "elsewhere")
  running.cache_compiled("runs/one", "named")
  assert used() == ("named", 0.0)


def test_the_variable_goes_before_the_workdir(monkeypatch):
  # As jax has read it when it was imported.
  monkeypatch.setenv(_VARIABLE, "elsewhere")
  jax.config.update(_FOLDER, "elsewhere")
  running.cache_compiled("runs/one", None)
  assert used() == ("elsewhere", 1.0)


def test_an_empty_variable_is_none(monkeypatch):
  monkeypatch.setenv(_VARIABLE, "")
  running.cache_compiled("runs/one", None)
  assert used()[0] == os.path.join("runs/one", "compile_cache")


def test_an_empty_name_keeps_nothing(monkeypatch):
  monkeypatch.setenv(_VARIABLE, "elsewhere")
  jax.config.update(_FOLDER, "elsewhere")
  running.cache_compiled("runs/one", "")
  assert used()[0] is None


def start(place, workdir, *arguments, **environment):
  """A process of the smallest run, without the variable unless it is given."""
  return subprocess.Popen(
    [
      *(sys.executable, "-m", "experiments.train"),
      f"--config={place / 'tiny.py'}",
      f"--workdir={workdir}",
      *arguments,
    ],
    cwd=binaries.ROOT,
    env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": binaries.FAST}
    | environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


@pytest.mark.slow
def test_a_run_leaves_its_programs(tmp_path):
  binaries.write_config(tmp_path / "tiny.py", updates=1)
  elsewhere = tmp_path / "elsewhere"
  default = start(tmp_path, tmp_path / "default")
  off = start(
    tmp_path,
    tmp_path / "off",
    "--compile_cache_dir=",
    **{_VARIABLE: str(elsewhere)},
  )
  for process in (default, off):
    status, _, errors = binaries.finish(process)
    assert status == 0, errors
  programs = [
    path.name for path in (tmp_path / "default" / "compile_cache").iterdir()
  ]
  # All phases, by what jax calls them.
  assert any("optimise" in name for name in programs)
  assert len(programs) > 5
  assert not (tmp_path / "off" / "compile_cache").exists()
  assert not elsewhere.exists() or not any(elsewhere.iterdir())
