"""Metrics of a run: an append-only JSONL file, and TensorBoard beside it."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any


class MetricsWriter:
  """Writes one line per step to `metrics.jsonl`; the step never goes back.

  A run that is started again finds the lines that are there: a step that has
  its line already is not written twice, and half a line, which a killed run may
  leave, is cut off.
  """

  def __init__(self, workdir: str | os.PathLike, *, tensorboard: bool = True):
    """Opens the files of a work directory.

    Args:
      workdir: existing folder.
      tensorboard: write TensorBoard events to `workdir/tensorboard`, too.

    Raises:
      ImportError: TensorBoard events are wanted and tensorboardX is missing.
      ValueError: a line of the file is no JSON object with a `step`.
    """
    self._path = pathlib.Path(workdir) / "metrics.jsonl"
    self.last_step = _cut_to_whole_lines(self._path)
    self._events = None
    if tensorboard:
      tensorboardX = require_tensorboard()  # noqa: N806
      self._events = tensorboardX.SummaryWriter(
        str(pathlib.Path(workdir) / "tensorboard")
      )
    self._file = self._path.open("a", encoding="utf-8")

  def write(self, step: int, values: Mapping[str, Any]) -> None:
    """Appends the metrics of a step, unless the file has them already.

    Args:
      step: updates done.
      values: scalars by name; names under `time/` are timings.
    """
    if step <= self.last_step:
      return
    self.last_step = step
    numbers = {name: float(value) for name, value in sorted(values.items())}
    self._file.write(json.dumps({"step": step, **numbers}) + "\n")
    self._file.flush()
    if self._events is not None:
      for name, number in numbers.items():
        self._events.add_scalar(name, number, step)
      # A killed run does not write its steps again.
      self._events.flush()

  def close(self) -> None:
    """Flushes and closes the files."""
    self._file.close()
    if self._events is not None:
      self._events.close()


def require_tensorboard() -> Any:
  """The tensorboardX module.

  Raises:
    ImportError: it is missing; the message names the command that brings it.
  """
  try:
    import tensorboardX
  except ImportError as error:
    raise ImportError(
      "TensorBoard metrics need tensorboardX: pip install "
      "'graphgpo-jax[viz]', or set config.tensorboard=False"
    ) from error
  return tensorboardX


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


def read_metrics(path: str | os.PathLike) -> list[dict[str, float]]:
  """Reads a metrics file.

  Args:
    path: a `metrics.jsonl`.

  Returns:
    One dictionary per line.

  Raises:
    ValueError: a line is no JSON object with a `step`; its number is named.
  """
  lines = []
  # A byte that is no text then fails as JSON, in a line with a number.
  with open(path, encoding="utf-8", errors="replace") as file:
    for number, text in enumerate(file, start=1):
      try:
        line = json.loads(text)
        line["step"] = int(line["step"])
      except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
          f"{path}, line {number}: expected a JSON object with a step"
        ) from error
      lines.append(line)
  return lines
