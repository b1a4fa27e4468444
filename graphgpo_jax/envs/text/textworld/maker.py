"""TextWorld's games, made by tw-make into a cache folder.

A game is a folder of the cache with `game.z8`, which the interpreter plays,
`game.json`, which says what is in it, and `checksums.json` with the SHA-256 of
both: a broken file would otherwise take the interpreter's process with it.
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping

from graphgpo_jax.envs.text import text_extra
from graphgpo_jax.envs.text.textworld import games
from graphgpo_jax.envs.text.types import TextWorldError

_FILES = ("game.json", "game.z8")
_CHECKSUMS = "checksums.json"
# Games of one version may differ from those of another.
_VERSION = "1.7.0"
_FLAGS = ("cook", "cut", "drop", "open")


def default_folder() -> pathlib.Path:
  """The user's own cache folder for games."""
  base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
  return pathlib.Path(base) / "graphgpo_jax" / "textworld"


def _arguments(game: str, parameters: Mapping[str, int], seed: int):
  words = [f"tw-{game}", "--seed", str(seed), "--format", "z8", "--silent"]
  for name, value in parameters.items():
    flag = f"--{name.replace('_', '-')}"
    if name not in _FLAGS:
      words += [flag, str(value)]
    elif value:
      words.append(flag)
  # Otherwise every game would have the recipe of seed 0.
  if game == "cooking" and "recipe_seed" not in parameters:
    words += ["--recipe-seed", str(seed)]
  return words


def _sha256(path: pathlib.Path) -> str:
  return hashlib.sha256(path.read_bytes()).hexdigest()


def _check(folder: pathlib.Path, task_id: str) -> None:
  advice = f"delete the folder {folder} to have it made again"
  try:
    expected = json.loads((folder / _CHECKSUMS).read_text())
    found = {name: _sha256(folder / name) for name in _FILES}
  except (OSError, ValueError, RecursionError) as error:
    raise TextWorldError(
      f"the game of {task_id} is broken ({error}): {advice}"
    ) from error
  for name in _FILES:
    if not isinstance(expected, dict) or expected.get(name) != found[name]:
      raise TextWorldError(
        f"the game of {task_id} is broken: {name} is not what was made: "
        f"{advice}"
      )


def _make(task_id: str, folder: pathlib.Path, timeout_seconds: float) -> None:
  """Makes a game into a folder that exists."""
  script = pathlib.Path(sysconfig.get_path("scripts")) / "tw-make"
  if not script.is_file():
    found = shutil.which("tw-make")
    if found is None:
      raise TextWorldError("tw-make, which comes with textworld, is missing")
    script = pathlib.Path(found).resolve()
  command = [sys.executable, str(script), *_arguments(*games.parse(task_id))]
  # A bare name, since it is written into the game: with a folder in it the same
  # task would give another file elsewhere.
  command += ["--output", "game.z8"]
  try:
    done = subprocess.run(
      command,
      cwd=folder,
      # Makers walk over sets: with Python's usual salt the same seed would make
      # another game in the next process.
      env=os.environ | {"PYTHONHASHSEED": "0"},
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      timeout=timeout_seconds,
    )
  except subprocess.TimeoutExpired as error:
    raise TextWorldError(
      f"tw-make did not make {task_id} within {timeout_seconds} s"
    ) from error
  missing = [name for name in _FILES if not (folder / name).is_file()]
  if done.returncode or missing:
    last = " ".join(done.stdout.split("\n")[-4:])[-500:]
    raise TextWorldError(f"tw-make could not make {task_id}: {last}")


def game_file(
  task_id: str,
  *,
  folder: pathlib.Path | None = None,
  timeout_seconds: float = 600.0,
) -> pathlib.Path:
  """Path of a task's game, which is made where it is missing.

  Several processes may ask for one game at once.

  Args:
    task_id: "game/parameters/seed".
    folder: of the cache; `default_folder()` without it.
    timeout_seconds: the most time for making it.

  Raises:
    ValueError: there is no such task.
    ImportError: textworld is missing.
    TextWorldError: the game cannot be made, or the cached one is broken.
  """
  games.parse(task_id)
  cache = (folder or default_folder()).resolve()
  name = hashlib.sha256(f"{_VERSION}/{task_id}".encode()).hexdigest()[:32]
  target = cache / name
  if not target.exists():
    text_extra.require("textworld", "a game of TextWorld")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=cache) as made:
      fresh = pathlib.Path(made) / name
      fresh.mkdir()
      _make(task_id, fresh, timeout_seconds)
      sums = {file: _sha256(fresh / file) for file in _FILES}
      (fresh / _CHECKSUMS).write_text(
        json.dumps({"task": task_id, **sums}, indent=1) + "\n"
      )
      try:
        fresh.rename(target)
      except OSError:
        # Another process was faster; its game is the same one.
        if not target.is_dir():
          raise
  _check(target, task_id)
  return target / "game.z8"
