"""The built wheel, installed where no checkout is: files, commands, types."""

import configparser
import email
import importlib.util
import inspect
import json
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import zipfile

import numpy as np
import pytest

import graphgpo_jax
from experiments import commands, running
from tests import oracle

_ROOT = pathlib.Path(__file__).parent.parent
# What builds, and mypy, are of this extra.
_BUILDS = pytest.mark.extra("dev")
# A run of seconds.
_TINY = [
  f"--config.{setting}"
  for setting in (
    "num_updates=1",
    "tensorboard=False",
    "panel.size=4",
    "environment.num_receptacles=2",
    "environment.num_objects=1",
    "policy.num_layers=1",
    "policy.width=8",
    "policy.num_heads=2",
    "rollout.tasks_per_update=2",
    "rollout.rollouts_per_task=3",
    "loss.num_minibatches=2",
    "loss.chunk_size=8",
  )
]
_DOWNSTREAM = """
import numpy as np

import graphgpo_jax


def mean_advantage(steps: dict[str, list[object]]) -> float:
  credit = graphgpo_jax.assign_credit(steps, "graphgpo", omega=0.5)
  advantage: np.ndarray = credit["advantage"]
  return float(advantage.mean())
"""
_MISTAKE = """

graphgpo_jax.assign_credit("steps.jsonl", state_similarity="near")
"""


def _environment(path=""):
  """The caller's, but for what would let Python find the checkout."""
  environment = dict(os.environ, JAX_PLATFORMS="cpu", PYTHONPATH=path)
  environment.pop("XLA_FLAGS", None)
  return environment


def _scripts():
  parser = configparser.ConfigParser()
  parser.read(_ROOT / "setup.cfg")
  lines = parser["options.entry_points"]["console_scripts"].split("\n")
  return dict(re.split(r" *= *", line) for line in lines if line)


def test_every_command_starts_a_binary(monkeypatch):
  started = []
  monkeypatch.setattr(commands, "_start", started.append)
  targets = _scripts().values()
  assert targets
  for target in targets:
    module, _, function = target.partition(":")
    assert module == "graphgpo_jax.experiments.commands"
    getattr(commands, function)()
    found = importlib.util.find_spec(f"experiments.{started[-1]}")
    text = pathlib.Path(found.origin).read_text(encoding="utf-8")
    assert 'if __name__ == "__main__":' in text
  offered = [
    name
    for name, _ in inspect.getmembers(commands, inspect.isfunction)
    if not name.startswith("_")
  ]
  assert len(set(targets)) == len(targets) == len(offered) == len(set(started))


@pytest.mark.parametrize(
  "named, found",
  [
    ("household", "configs/household.py"),
    ("experiments/configs/smoke.py", "configs/smoke.py"),
    ("experiments/evidence_worlds.py:sokoban", "evidence_worlds.py:sokoban"),
  ],
)
def test_configs_are_found_from_anywhere(named, found, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert running.find_config(named) == str(_ROOT / "experiments" / found)


def test_a_file_that_is_there_comes_before_those_of_the_package(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  for name in ("household", "experiments/configs/smoke.py"):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert running.find_config(name) == name
  for name in ("no_such", "missing.py", "experiments/../../x.py", ""):
    assert running.find_config(name) == name


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  """The wheel, made from the sdist."""
  folder = tmp_path_factory.mktemp("dist")
  subprocess.run(
    [
      *(sys.executable, "-m", "build", "--no-isolation"),
      *("--outdir", str(folder), str(_ROOT)),
    ],
    check=True,
    stdout=subprocess.DEVNULL,
  )
  (wheel,) = folder.glob("*.whl")
  return wheel


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
  """Folder of an environment that has the wheel and this one's packages.

  What this environment itself knows of the checkout, an editable installation,
  is not seen there: a .pth names a folder, whose own .pth files are not read.
  """
  folder = tmp_path_factory.mktemp("installed") / "env"
  python = folder / "bin" / "python"
  for command in (
    [sys.executable, "-m", "venv", "--without-pip", str(folder)],
    [
      *(sys.executable, "-m", "pip", "--quiet", "--python", str(python)),
      *("install", "--no-deps", "--no-index", str(built)),
    ],
  ):
    # Elsewhere: pip takes a checkout's metadata for an installed package.
    subprocess.run(command, check=True, cwd=folder.parent, env=_environment())
  (own,) = folder.glob("lib/python3*/site-packages")
  paths = sysconfig.get_paths()
  lines = dict.fromkeys([paths["purelib"], paths["platlib"]])
  (own / "parent.pth").write_text("\n".join(lines) + "\n")
  return folder


def _run(installed, place, *command, path=""):
  """A command of the environment, in a folder that is no checkout."""
  return subprocess.run(
    [installed / "bin" / command[0], *command[1:]],
    cwd=place,
    env=_environment(path),
    capture_output=True,
    text=True,
    timeout=600,
  )


@pytest.fixture(scope="module")
def alone(built, tmp_path_factory):
  """Folder of an environment of the wheel and what it requires, no more."""
  place = tmp_path_factory.mktemp("alone")
  subprocess.run(
    [sys.executable, "-m", "venv", str(place / "env")],
    check=True,
    env=_environment(),
  )
  # A small requirement by itself: once that comes, the rest has to.
  probe = ["download", "--no-deps", "--dest", str(place), "absl-py"]
  done = _run(place / "env", place, "python", "-m", "pip", "--quiet", *probe)
  if done.returncode:
    pytest.skip(f"pip cannot download: {done.stderr.strip()[-200:]}")
  done = _run(place / "env", place, "python", "-m", "pip", "install", built)
  assert done.returncode == 0, done.stderr
  return place / "env"


def _write_steps(path):
  """A table of steps as JSON lines; gives the table."""
  table = json.loads(json.dumps(oracle.random_table(1), default=str))
  rows = zip(*table.values(), strict=True)
  text = "\n".join(json.dumps(dict(zip(table, r, strict=True))) for r in rows)
  path.write_text(text + "\n")
  return table


def _shipped():
  """Files of the checkout that a wheel must hold, by their name there."""
  listed = subprocess.run(
    ["git", "ls-files", "graphgpo_jax", "experiments"],
    cwd=_ROOT,
    check=True,
    capture_output=True,
    text=True,
  ).stdout.splitlines()
  for name in listed:
    # What is started or opened by its path belongs to a checkout.
    if name.startswith(("experiments/launch/", "experiments/notebooks/")):
      continue
    if name.startswith("experiments/"):
      yield f"graphgpo_jax/{name}"
    else:
      yield name


@_BUILDS
@pytest.mark.slow
def test_wheel_holds_every_file_and_nothing_else(built):
  with zipfile.ZipFile(built) as wheel:
    held = set(wheel.namelist())
  own = {name for name in held if ".dist-info/" not in name}
  assert {name.split("/")[0] for name in own} == {"graphgpo_jax"}
  if not (_ROOT / ".git").exists():
    pytest.skip("no git checkout to compare with")
  wanted = set(_shipped())
  assert wanted > {"graphgpo_jax/py.typed", "graphgpo_jax/losses.py"}
  assert not wanted - own, "missing: see package_data in setup.cfg"


@_BUILDS
@pytest.mark.slow
def test_metadata_names_nothing_that_an_index_does_not_have(built):
  with zipfile.ZipFile(built) as wheel:
    (name,) = [n for n in wheel.namelist() if n.endswith("/METADATA")]
    told = email.message_from_bytes(wheel.read(name))
    assert any("licenses/LICENSE" in n for n in wheel.namelist())
  assert told["Version"] == graphgpo_jax.__version__
  assert told["License-Expression"] == "Apache-2.0"
  assert told["Requires-Python"] == ">=3.11"
  text = told.get_payload(decode=True).decode("utf-8")
  assert text.startswith("# graphgpo_jax") and "BUILD_NOTES.md" in text
  links = re.findall(r"\]\(([^)]+)\)", text)
  assert links and all(link.startswith("https://") for link in links)


@_BUILDS
@pytest.mark.slow
def test_library_runs_and_leaves_the_name_experiments_alone(
  installed, tmp_path
):
  program = (
    "import importlib.util, json, sys, graphgpo_jax\n"
    "from graphgpo_jax.envs.text import panels\n"
    "steps = json.load(open('steps.json'))\n"
    "credit = graphgpo_jax.assign_credit(steps, omega=0.5)\n"
    "assert importlib.util.find_spec('experiments') is None\n"
    "assert 'experiments' not in sys.modules\n"
    "print(json.dumps([graphgpo_jax.__file__,\n"
    "  credit['advantage'].tolist()]))\n"
  )
  table = oracle.random_table(1)
  (tmp_path / "steps.json").write_text(json.dumps(table, default=str))
  done = _run(installed, tmp_path, "python", "-c", program)
  assert done.returncode == 0, done.stderr
  place, advantage = json.loads(done.stdout)
  assert pathlib.Path(place).is_relative_to(installed)
  plain = json.loads((tmp_path / "steps.json").read_text())
  expected = graphgpo_jax.assign_credit(plain, omega=0.5)["advantage"]
  # Another process may have compiled it otherwise.
  np.testing.assert_allclose(advantage, expected, rtol=1e-5, atol=1e-6)


@_BUILDS
@pytest.mark.slow
def test_commands_run_outside_of_a_checkout(installed, tmp_path):
  table = _write_steps(tmp_path / "steps.jsonl")
  done = _run(
    installed,
    tmp_path,
    "graphgpo-assign-credit",
    "--rollouts=steps.jsonl",
    "--output=credit.jsonl",
    "--omega=0.5",
  )
  assert done.returncode == 0, done.stderr
  lines = (tmp_path / "credit.jsonl").read_text().splitlines()
  expected = graphgpo_jax.assign_credit(table, omega=0.5)["advantage"]
  found = [json.loads(line)["advantage"] for line in lines]
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
  # A config of the package that builds on another one, by its bare name; and a
  # package of the user's that has the binaries' name.
  (tmp_path / "theirs" / "experiments").mkdir(parents=True)
  (tmp_path / "theirs" / "experiments" / "__init__.py").write_text("mine = 1\n")
  theirs = str(tmp_path / "theirs")
  arguments = ["--config=smoke", "--workdir=run", *_TINY]
  done = _run(installed, tmp_path, "graphgpo-train", *arguments, path=theirs)
  assert done.returncode == 0, done.stderr
  assert "success on the panel" in done.stdout
  done = _run(
    installed, tmp_path, "graphgpo-train", "--config=no_such", "--workdir=none"
  )
  assert done.returncode not in (0, None) and "Traceback" not in done.stderr
  assert "no_such" in done.stderr
  # Whoever has imported that package is told why he cannot have both.
  program = "import experiments, graphgpo_jax.experiments"
  done = _run(installed, tmp_path, "python", "-c", program, path=theirs)
  assert done.returncode == 1
  assert "another package has" in done.stderr.splitlines()[-1]


@_BUILDS
@pytest.mark.slow
def test_what_it_requires_is_enough(alone, tmp_path):
  done = _run(alone, tmp_path, "python", "-m", "pip", "check")
  assert done.returncode == 0, done.stdout
  readme = (_ROOT / "README.md").read_text(encoding="utf-8")
  # The first example, in the file that a reader would put it into.
  code, printed = re.search(
    r"```python\n(.*?)```\s+It prints:\s+```text\n(.*?)```", readme, re.DOTALL
  ).groups()
  (tmp_path / "example.py").write_text(code)
  done = _run(alone, tmp_path, "python", "example.py")
  assert done.returncode == 0, done.stderr
  assert done.stdout.strip() == printed.strip()
  _write_steps(tmp_path / "steps.jsonl")
  arguments = ["--rollouts=steps.jsonl", "--output=credit.jsonl"]
  done = _run(alone, tmp_path, "graphgpo-assign-credit", *arguments)
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "credit.jsonl").stat().st_size > 100
  # Training takes nearly all of it: flax, optax, orbax, a config, a bar.
  arguments = ["--config=smoke", "--workdir=run", *_TINY]
  done = _run(alone, tmp_path, "graphgpo-train", *arguments)
  assert done.returncode == 0, done.stderr
  assert "success on the panel" in done.stdout


@_BUILDS
@pytest.mark.slow
@pytest.mark.parametrize("mistaken", [False, True])
def test_a_type_checker_reads_the_installed_types(
  installed, tmp_path, mistaken
):
  path = tmp_path / "downstream.py"
  path.write_text(_DOWNSTREAM + _MISTAKE * mistaken)
  done = subprocess.run(
    [
      *(sys.executable, "-m", "mypy", "--strict"),
      *("--python-executable", str(installed / "bin" / "python")),
      *("--cache-dir", str(installed.parent / "mypy_cache"), str(path)),
    ],
    cwd=tmp_path,
    env=_environment(),
    capture_output=True,
    text=True,
  )
  if mistaken:
    assert done.returncode == 1
    assert done.stdout.count("[arg-type]") == 2, done.stdout
  else:
    assert done.returncode == 0, done.stdout
