"""The work directory of a run: claimed by its config, safe from another."""

import json
import os
import pathlib

import ml_collections


def claim_workdir(
  workdir: str | os.PathLike, config: ml_collections.ConfigDict
) -> pathlib.Path:
  """Makes `workdir` this config's own, or finds that it is already.

  Args:
    workdir: folder, made if it is missing.
    config: the run's config; written to `config.json`.

  Returns:
    The folder.

  Raises:
    ValueError: the folder holds another config (the keys that differ are
      named), or a `config.json` that cannot be read, or is no folder but a
      file or an address such as gs://.
  """
  if "://" in os.fspath(workdir):
    raise ValueError(
      f"workdir {workdir} is an address: expected a folder; mount the bucket"
    )
  folder = pathlib.Path(workdir)
  if folder.exists() and not folder.is_dir():
    raise ValueError(f"workdir {folder} is not a folder")
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / "config.json"
  wanted = json.loads(config.to_json(sort_keys=True))
  if path.exists():
    found = read_config(folder)
    differing = sorted(_differences(found, wanted))
    if differing:
      raise ValueError(
        f"workdir {folder} holds another config; it differs in "
        f"{', '.join(differing)}. Choose another workdir or that config"
      )
    return folder
  temporary = path.with_suffix(".json.partial")
  temporary.write_text(json.dumps(wanted, indent=2, sort_keys=True) + "\n")
  os.replace(temporary, path)
  return folder


def read_config(workdir: str | os.PathLike) -> dict:
  """Reads the config that a work directory was claimed with.

  Raises:
    ValueError: there is none, or it is no JSON object.
  """
  path = pathlib.Path(workdir) / "config.json"
  try:
    found = json.loads(path.read_text())
  except FileNotFoundError as error:
    raise ValueError(f"{workdir} holds no run: no config.json") from error
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path} is not JSON: {error}") from error
  if not isinstance(found, dict):
    raise ValueError(f"{path}: expected a JSON object, got {found!r:.60}")
  return found


def _differences(found, wanted, path=""):
  if isinstance(found, dict) and isinstance(wanted, dict):
    for name in found.keys() | wanted.keys():
      yield from _differences(
        found.get(name), wanted.get(name), f"{path}{name}."
      )
  elif found != wanted:
    yield f"{path[:-1]} ({found!r} there, {wanted!r} here)"
