"""Metrics of a run: an append-only JSONL file, and TensorBoard beside it."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import logging

from graphgpo_jax import disk
from graphgpo_jax.training import events

# What JSON that is no line of a metrics file makes of its reader.
_NO_LINE = (
  ValueError,
  KeyError,
  TypeError,
  AttributeError,
  OverflowError,
  RecursionError,
)


class MetricsWriter:
  """Writes one line per step to `metrics.jsonl`; the step never goes back.

  A run that is started again finds the lines that are there: a step that has
  its line already is not written twice, and half a line, which a killed run may
  leave, is cut off.

  Lines beyond the checkpoint that a run goes on from (see `go_on_from`) stay
  where they are if the repeated update comes out the same but for names under
  `time/` and `checkpoint/`, as it must on a deterministic device. Where it does
  not, they are cut there and replaced, with a warning: every line is then one
  of the training that led to the newest parameters, and nobody takes the run
  for exact.
  """

  def __init__(
    self,
    workdir: str | os.PathLike,
    *,
    tensorboard: bool = True,
    read_only: bool = False,
  ):
    """Opens the files of a work directory.

    Args:
      workdir: existing folder.
      tensorboard: write TensorBoard events to `workdir/tensorboard`, too.
      read_only: write nothing; another process of the same run does.

    Raises:
      ImportError: TensorBoard events are wanted and tensorboardX is missing.
      ValueError: a line of the file is no JSON object with a `step`.
    """
    self._path = pathlib.Path(workdir) / "metrics.jsonl"
    self._read_only = read_only
    self.last_step = -1 if read_only else _cut_to_whole_lines(self._path)
    self._repeated: dict[int, tuple[int, dict[str, Any]]] = {}
    self._events = None
    if tensorboard and not read_only:
      self._events = events.EventsWriter(pathlib.Path(workdir) / "tensorboard")
    # Nothing that is written to the null device stays, and all of it is taken.
    path = os.devnull if read_only else self._path
    # Unbuffered: a buffer that cannot be written out loses what comes after.
    self._file = open(path, "ab", buffering=0)  # noqa: SIM115
    self._waiting = b""

  def position(self, step: int) -> tuple[int, int]:
    """Where the lines up to a step end, which are on the disk then.

    Args:
      step: updates done.

    Returns:
      The last step up to it that has a line, or -1, and the bytes up to the end
      of that line. What stands after it will be written again.

    Raises:
      OSError: lines cannot be written to the disk.
    """
    if self._read_only:
      return -1, 0
    self._flush()
    os.fsync(self._file.fileno())
    if self.last_step <= step:
      return self.last_step, self._path.stat().st_size
    found = [
      (number, end)
      for number, end, _ in _lines_with_ends(self._path)
      if number <= step
    ]
    return found[-1] if found else (-1, 0)

  def holds(self, step: int, position: int) -> bool:
    """Whether the file's first `position` bytes end with the line of `step`.

    Args:
      step: of the line; -1 for an empty file.
      position: as `position` gave it for some step.

    Returns:
      Whether it is so; True for who only reads, since who writes is asked too.
    """
    if self._read_only:
      return True
    ends = [-1, 0]
    for number, end, _ in _lines_with_ends(self._path):
      if end <= position:
        ends = [number, end]
    return ends == [step, position]

  def go_on_from(self, step: int) -> None:
    """Takes lines after `step` as what the repeated updates have to give."""
    if self._read_only:
      return
    lines = _lines_with_ends(self._path)
    starts = [0, *(end for _, end, _ in lines)]
    self._repeated = {
      number: (start, line)
      for start, (number, _, line) in zip(starts, lines, strict=False)
      if number > step
    }

  def write(self, step: int, values: Mapping[str, Any]) -> None:
    """Appends the metrics of a step, unless the file has them already.

    Args:
      step: updates done.
      values: scalars by name; names under `time/` are timings.
    """
    numbers = {name: float(value) for name, value in sorted(values.items())}
    line = {"step": step, **numbers}
    if step <= self.last_step and not self._differs(step, line):
      return
    self.last_step = step
    self._waiting += (json.dumps(line) + "\n").encode()
    self._flush_if_there_is_room()
    if self._events is not None:
      self._events.write(step, numbers)

  def _flush(self) -> None:
    while self._waiting:
      self._waiting = self._waiting[self._file.write(self._waiting) :]

  def _flush_if_there_is_room(self) -> None:
    """On a full disk, lines wait and training goes on."""
    try:
      self._flush()
    except OSError as error:
      if not disk.is_full(error):
        raise
      logging.error("%s: %s; its lines are kept for later", self._path, error)

  def _differs(self, step: int, line: dict[str, Any]) -> bool:
    """Cuts the file where a repeated update is not what it was."""
    if step not in self._repeated:
      return False
    start, old = self._repeated.pop(step)
    found, wanted = _trained(line), _trained(old)
    # As text: a NaN is not equal to itself.
    if json.dumps(found) == json.dumps(wanted):
      return False
    names = sorted(
      name
      for name in found.keys() | wanted.keys()
      if repr(found.get(name)) != repr(wanted.get(name))
    )
    logging.warning(
      "%s: update %d, repeated after a restart, came out otherwise (%s); its "
      "line and those after it are replaced",
      self._path,
      step,
      ", ".join(names[:5]),
    )
    self._repeated = {}
    self._flush()
    os.truncate(self._path, start)
    return True

  def close(self) -> None:
    """Writes what waits, and closes the files."""
    try:
      self._flush()
    finally:
      self._file.close()
    if self._events is not None:
      self._events.close()


def _trained(line: Mapping[str, Any]) -> dict[str, Any]:
  """What a line says of training, and not of the machine and its disk."""
  return {
    name: value
    for name, value in sorted(line.items())
    if not name.startswith(("time/", "checkpoint/"))
  }


def _lines_with_ends(
  path: pathlib.Path,
) -> list[tuple[int, int, dict[str, Any]]]:
  """Step, end in bytes and content of every line."""
  lines, end = [], 0
  # Read by `read_metrics` before: each one is as it should be.
  for line in path.read_bytes().split(b"\n")[:-1]:
    end += len(line) + 1
    found = json.loads(line)
    lines.append((int(found["step"]), end, found))
  return lines


def _cut_to_whole_lines(path: pathlib.Path) -> int:
  """Cuts half a line off the end; returns the last step, or -1."""
  if not path.exists():
    return -1
  content = path.read_bytes()
  whole = content[: content.rfind(b"\n") + 1]
  if len(whole) < len(content):
    with path.open("r+b") as file:
      file.truncate(len(whole))
  lines = read_metrics(path)
  return int(lines[-1]["step"]) if lines else -1


def read_metrics(
  path: str | os.PathLike, *, allow_cut_line: bool = False
) -> list[dict[str, float]]:
  """Reads a metrics file.

  Args:
    path: a `metrics.jsonl`.
    allow_cut_line: leave out half a line at the end, as a run that is under
      way or was killed may have it.

  Returns:
    One dictionary per line.

  Raises:
    ValueError: a line is no JSON object of numbers with a `step`; its number
      is named.
  """
  lines = []
  # Bytes: one that is no text then fails as JSON, in a line with a number.
  with open(path, "rb") as file:
    for number, text in enumerate(file, start=1):
      if allow_cut_line and not text.endswith(b"\n"):
        break
      try:
        line = json.loads(text)
        lines.append(_numbers(line) | {"step": int(line["step"])})
      except _NO_LINE as error:
        raise ValueError(
          f"{path}, line {number}: expected a JSON object of numbers with a "
          "step"
        ) from error
  return lines


def _numbers(line: Mapping[str, Any]) -> dict[str, Any]:
  for name, value in line.items():
    if type(value) not in (int, float):
      raise ValueError(f"{name} is no number")
  return {name: float(value) for name, value in line.items()}
