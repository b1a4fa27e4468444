"""Checkpoints of a run, by Orbax: written beside training, checked when read.

`checkpoints/<updates done>` is one checkpoint: the whole `TrainState`, each
device writing its part, and a `RunRecord` with a checksum of every array. Orbax
writes to a folder of another name and renames it when all is there.
"""

import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import shutil
import time
from collections.abc import Callable
from typing import Any

import jax
from absl import logging
from orbax.checkpoint import v1 as ocp

from graphgpo_jax.training import checkpoint_reading, distributed, run_record
from graphgpo_jax.training import state as state_lib

TrainState = state_lib.TrainState
RunRecord = run_record.RunRecord

SET_ASIDE = "set_aside"
_UNFINISHED = ".orbax-checkpoint-tmp"
_DELETED = ".deleted"
# Seconds between two looks at what a failed save left, and how many looks.
_PAUSE, _LOOKS = 0.1, 20


class NoCheckpointError(ValueError):
  """There is none, or none that is good."""


class Checkpoints:
  """The checkpoints of one work directory, by the number of updates done.

  Attributes:
    directory: where they lie.
    failed_saves: how many could not be written.
  """

  def __init__(
    self,
    workdir: str | os.PathLike,
    *,
    keep_last: int = 3,
    keep_best: int = 0,
  ):
    """Opens `workdir/checkpoints`, which need not exist.

    Args:
      workdir: of the run.
      keep_last: newest checkpoints that are kept: one to go on from, and some
        in case it cannot be read.
      keep_best: checkpoints with the highest score that are kept beside them.
    """
    self.directory = pathlib.Path(workdir).absolute() / "checkpoints"
    self.failed_saves = 0
    self._keep_last, self._keep_best = keep_last, keep_best
    self._scores: dict[int, float | None] = {}
    self._error: Exception | None = None
    self._thread = concurrent.futures.ThreadPoolExecutor(1)
    self._saving: tuple[int, concurrent.futures.Future] | None = None

  def steps(self) -> list[int]:
    """Updates done at each checkpoint that is whole, in order."""
    if not self.directory.is_dir():
      return []
    names = [path.name for path in self.directory.iterdir() if path.is_dir()]
    return sorted(int(name) for name in names if name.isdecimal())

  def latest_step(self) -> int | None:
    """Updates done at the newest checkpoint, or None where there is none."""
    return max(self.steps(), default=None)

  def records(self) -> list[RunRecord | None]:
    """The records that can be read, oldest first."""
    found = []
    for step in self.steps():
      with contextlib.suppress(Exception):  # Damage has no type of its own.
        found.append(checkpoint_reading.read_record(self._path(step)))
    return found

  def tidy(self) -> None:
    """Removes what a killed run left half written or half deleted."""
    if jax.process_index() == 0:
      for path in self._remains():
        shutil.rmtree(path, ignore_errors=True)

  def save(
    self, step: int, state: TrainState, record: RunRecord | None = None
  ) -> None:
    """Begins to write a checkpoint, unless that step has one.

    Waits for the one before; the rest is done beside training, and the state's
    buffers may be given away at once. What cannot be written is logged and
    counted, and training goes on.

    Args:
      step: updates done.
      state: of the run.
      record: what else is known of it.
    """
    self.wait()
    # The others may see a folder later than the one that made it.
    if distributed.gather(step in self.steps())[0]:
      return
    if self.failed_saves:
      self.tidy()
    record = record or RunRecord(step=step)
    tree = _as_tree(state)
    try:
      distributed.together(self._make_directory)
      written = ocp.save_async(
        self._path(step), tree, custom_metadata=run_record.to_json(record, tree)
      )
    except Exception as error:  # Storage has its own errors by the dozen.
      self.count_failure(step, error)
      return
    self._scores[step] = record.score
    self._saving = step, self._thread.submit(self._finish, written)

  def poll(self) -> None:
    """Counts the save that is on its way, if it has failed meanwhile."""
    if self._saving is not None and self._saving[1].done():
      self.wait()

  def wait(self) -> None:
    """Waits for the save that is on its way."""
    if self._saving is None:
      return
    (step, written), self._saving = self._saving, None
    try:
      written.result()
      self._error = None
    except Exception as error:  # As above.
      self.count_failure(step, error)

  def close(self) -> None:
    """Waits for what is being written."""
    self.wait()
    # Whatever followed: what a failure left may have come late.
    if self.failed_saves:
      self.tidy()
    self._thread.shutdown()

  def count_failure(self, step: int, error: Exception) -> None:
    """Logs and counts a checkpoint that could not be written."""
    self.failed_saves += 1
    self._error = error
    logging.error(
      "the checkpoint of update %d could not be written, training goes on: %s",
      step,
      _first_line(error),
    )
    # Where the disk is full, half a checkpoint would keep it full. Orbax fails
    # at its first error, and its other threads may write on for a while.
    for _ in range(_LOOKS):
      self.tidy()
      time.sleep(_PAUSE)
      if jax.process_index() != 0 or not self._remains():
        break

  def require_saved(self) -> None:
    """Waits, and refuses to go on if the last save failed.

    Raises:
      OSError: it did; the message says why.
    """
    self.wait()
    if self._error is not None:
      raise OSError(
        f"the last checkpoint could not be written to {self.directory}: "
        f"{_first_line(self._error)}"
      ) from self._error

  def restore(self, like: TrainState) -> TrainState:
    """The state of the newest good checkpoint, as `restore_run` finds it."""
    return self.restore_run(like)[0]

  def restore_run(
    self,
    like: TrainState,
    *,
    accept: Callable[[RunRecord | None], bool] | None = None,
    repair: bool = False,
  ) -> tuple[TrainState, RunRecord | None]:
    """Reads the newest good checkpoint.

    One that cannot be read, or whose arrays are not those that were written,
    is named in a warning and passed over for the one before.

    Args:
      like: a state of the same shapes and types; what is read is placed as its
        arrays are, whatever the mesh that wrote it.
      accept: False for a record whose checkpoint is not to be used; None for
        all of them.
      repair: move those that are passed over to `checkpoints/set_aside`. For
        the run that owns the folder alone.

    Returns:
      The state, and its record; None for one of an older version.

    Raises:
      ValueError: there is no good checkpoint, or it is of another policy or
        optimiser; the message names what differs.
    """
    tree = _as_tree(like)
    loaded, record = self._newest_good(
      lambda path: checkpoint_reading.read_tree(path, tree),
      lambda found: accept is None or accept(found[1]),
      repair=repair,
    )
    return TrainState(**loaded), record

  def restore_params(self, like: TrainState) -> Any:
    """Reads the parameters of the newest good checkpoint, and nothing else.

    Args:
      like: a state whose parameters have the same names, shapes and types.

    Returns:
      The parameters, placed as those of `like`.

    Raises:
      ValueError: there is no checkpoint, or its parameters are others; the
        message names one.
    """
    return self._newest_good(
      lambda path: checkpoint_reading.read_params(path, like.params)
    )

  def _newest_good(
    self,
    read: Callable[[pathlib.Path], Any],
    accept: Callable[[Any], bool] = lambda found: True,
    *,
    repair: bool = False,
  ) -> Any:
    self.wait()
    for step in reversed(distributed.gather(self.steps())[0]):
      path, problem, found = self._path(step), "", None
      try:
        found = read(path)
        if not accept(found):
          problem = "metrics.jsonl does not have the lines before it"
      except (MemoryError, checkpoint_reading.AnotherPolicyError):
        raise
      except Exception as error:  # Whatever a damaged file makes of a reader.
        problem = _first_line(error) or type(error).__name__
      if all(distributed.gather(not problem)):
        return found
      to = f" and moved to {self._set_aside(step)}" if repair else ""
      logging.warning(
        "checkpoint %s is passed over%s: %s",
        path,
        to,
        problem or "another process cannot use it",
      )
    raise NoCheckpointError(f"no checkpoint in {self.directory}; train first")

  def _remains(self) -> list[pathlib.Path]:
    """What is half written or half deleted."""
    if not self.directory.is_dir():
      return []
    return [
      path
      for path in self.directory.iterdir()
      if _UNFINISHED in path.name or path.name.endswith(_DELETED)
    ]

  def _make_directory(self) -> None:
    if distributed.is_main():
      self.directory.mkdir(parents=True, exist_ok=True)

  def _path(self, step: int) -> pathlib.Path:
    return self.directory / str(step)

  def _finish(self, written: Any) -> None:
    """Beside training: waits until it is written, then deletes older ones."""
    written.result()
    if jax.process_index() == 0:
      for step in self._superseded():
        # Renamed first: half a checkpoint shall not bear a checkpoint's name.
        gone = self.directory / f"{step}{_DELETED}"
        os.replace(self._path(step), gone)
        shutil.rmtree(gone, ignore_errors=True)

  def _superseded(self) -> list[int]:
    steps = self.steps()
    older = steps[: -self._keep_last]
    scored = [
      (s, step) for step in steps if (s := self._score(step)) is not None
    ]
    # Among equals the newest is the best trained.
    ranking = sorted(scored, reverse=True)[: self._keep_best]
    best = {step for _, step in ranking}
    return [step for step in older if step not in best]

  def _score(self, step: int) -> float | None:
    if step not in self._scores:
      self._scores[step] = None
      with contextlib.suppress(Exception):  # Unreadable: not the best one.
        record = checkpoint_reading.read_record(self._path(step))
        self._scores[step] = None if record is None else record.score
    return self._scores[step]

  def _set_aside(self, step: int) -> pathlib.Path:
    folder = self.directory / SET_ASIDE
    number, target = 1, folder / str(step)
    while target.exists():
      number += 1
      target = folder / f"{step}-{number}"
    if jax.process_index() == 0:
      folder.mkdir(exist_ok=True)
      os.replace(self._path(step), target)
    return target


def _first_line(error: BaseException) -> str:
  lines = str(error).strip().splitlines()
  return lines[0][:300] if lines else ""


def _as_tree(state: TrainState) -> dict[str, Any]:
  return {
    field.name: getattr(state, field.name)
    for field in dataclasses.fields(TrainState)  # type: ignore[arg-type]
  }
