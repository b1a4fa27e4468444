"""Metrics as TensorBoard events."""

import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

from absl import logging

from graphgpo_jax import disk


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


class EventsWriter:
  """Writes scalars to a folder of event files, each step at once.

  tensorboardX's own `SummaryWriter` writes from a thread, which a full disk
  ends: from then on it waits for that thread for ever. Here a step that finds
  no room is left out, and a file that may end in half an event is followed by
  a new one.
  """

  def __init__(self, folder: str | os.PathLike):
    """Opens a folder, which the first step makes.

    Args:
      folder: of the events.

    Raises:
      ImportError: as `require_tensorboard`.
    """
    require_tensorboard()
    self._folder = pathlib.Path(folder)
    self._file: Any = None
    self._num_files = 0

  def write(self, step: int, numbers: Mapping[str, float]) -> None:
    """Writes the scalars of a step; on a full disk they are left out.

    Args:
      step: updates done.
      numbers: by name.

    Raises:
      OSError: they cannot be written for another reason.
    """
    try:
      self._write(step, numbers)
    except OSError as error:
      if not disk.is_full(error):
        raise
      self._file = None
      logging.error(
        "%s: %s; it lacks update %d, which metrics.jsonl has",
        self._folder,
        error,
        step,
      )

  def _write(self, step, numbers):
    from tensorboardX import event_file_writer, summary
    from tensorboardX.proto import event_pb2

    if self._file is None:
      self._folder.mkdir(parents=True, exist_ok=True)
      # Its name has the second, which two files may share.
      self._file = event_file_writer.EventsWriter(
        str(self._folder / "events"), f".{os.getpid()}.{self._num_files}"
      )
      self._num_files += 1
    for name, number in numbers.items():
      self._file.write_event(
        event_pb2.Event(
          step=step,
          wall_time=time.time(),
          summary=summary.scalar(name, number),
        )
      )
    # A killed run does not write its steps again.
    self._file.flush()

  def close(self) -> None:
    """Closes the file; every step is in it already."""
    if self._file is not None:
      self._file.close()
      self._file = None
