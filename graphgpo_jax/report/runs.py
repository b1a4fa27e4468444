"""Runs in a work directory: what they were asked to do, and their metrics."""

import dataclasses
import os
import pathlib
import re
from typing import Any

from graphgpo_jax.training import metrics, workdir

_SEED_AT_END = re.compile(r"[-_]\d+$")


@dataclasses.dataclass(frozen=True)
class Run:
  """One run; runs of one group differ in the seed alone."""

  name: str  # of its folder
  folder: pathlib.Path
  config: dict[str, Any]
  metrics: list[dict[str, float]]  # a line a step
  group: str

  @property
  def estimator(self) -> str:
    """Name of the estimator that it learned with, "" if it is not known."""
    found = self.config.get("estimator", "")
    return found if isinstance(found, str) else ""

  @property
  def world(self) -> str:
    """Name of its environment, "" if it is not known."""
    section = self.config.get("environment")
    found = section.get("name", "") if isinstance(section, dict) else ""
    return found if isinstance(found, str) else ""

  def options(self, estimator: str) -> dict[str, Any] | None:
    """Options of an estimator in its config, None if it names none."""
    section = self.config.get("estimator_options")
    found = section.get(estimator) if isinstance(section, dict) else None
    return dict(found) if isinstance(found, dict) else None


def read_runs(folder: str | os.PathLike) -> list[Run]:
  """Reads a run's work directory, or one that holds several.

  A run may be under way: half a line at the end of its metrics is left out.

  Args:
    folder: with a `metrics.jsonl`, as experiments.train leaves it, or with
      folders like that in it, as experiments.compare does.

  Returns:
    The runs, ordered by name.

  Raises:
    ValueError: there is no run, or a run's file is broken.
  """
  place = pathlib.Path(folder)
  if not place.is_dir():
    raise ValueError(f"workdir {place} is not a folder")
  if (place / "metrics.jsonl").is_file():
    return [_read_run(place)]
  found = [
    _read_run(one)
    for one in sorted(place.iterdir())
    if (one / "metrics.jsonl").is_file()
  ]
  if not found:
    raise ValueError(
      f"{place} holds no run: expected metrics.jsonl in it, or in folders in it"
    )
  return found


def _read_run(folder: pathlib.Path) -> Run:
  name = folder.resolve().name
  return Run(
    name=name,
    folder=folder,
    config=workdir.read_config(folder),
    metrics=metrics.read_metrics(folder / "metrics.jsonl", allow_cut_line=True),
    group=_SEED_AT_END.sub("", name) or name,
  )
