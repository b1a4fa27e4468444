"""A run and its work directory: one owner, restored, written, stopped in order.

What a run starts from, the first that there is:

1. the newest good checkpoint of its own work directory;
2. `resume_from`: the whole state of another run's newest good checkpoint,
   optimiser, memory and number of updates with it;
3. `config.init_from`: the parameters alone of another run or a warm start;
4. scratch: parameters drawn from the seed.

A checkpoint of the own directory is good if every array in it is the one that
was written and `metrics.jsonl` has every line up to it. One that is not is
named in a warning and moved to `checkpoints/set_aside`, and the one before is
taken. What update k draws depends on the seed and k alone, so updates after it
come out as they did, or would have.
"""

import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import ml_collections
from absl import logging

from graphgpo_jax.training import (
  checkpoint,
  distributed,
  guard,
  lock,
  metrics,
  preemption,
  progress,
  run_record,
  state,
  warm_start,
  workdir,
)


class Session(contextlib.AbstractContextManager):
  """Owns a work directory while its block runs.

  Attributes:
    folder: the work directory.
    bar: shows how far the run is; set by `restore`.
    refused: counts updates without a finite gradient; set by `restore`.
    stopped: who asked for a stop that has been obeyed, or "".
  """

  bar: progress.Progress
  refused: guard.RefusedUpdates

  def __init__(
    self, config: ml_collections.ConfigDict, folder: str | os.PathLike
  ):
    """Claims the folder for this config and this process.

    Args:
      config: of the run.
      folder: work directory, made if it is missing.

    Raises:
      ValueError: it holds another config, or another process has it.
    """
    self.stopped = ""
    self._claimed_now = False
    self._config = config
    self._started = time.monotonic()
    self._seconds_before = self._save_seconds = 0.0
    self._failed_before = 0
    self._news: dict[str, float] = {}
    self._key = run_record.describe_key(jax.random.key(config.seed))
    with contextlib.ExitStack() as stack:
      self.folder: pathlib.Path = self._claim(folder, stack)
      self._writer = stack.enter_context(
        contextlib.closing(
          metrics.MetricsWriter(
            self.folder,
            tensorboard=config.tensorboard,
            read_only=not distributed.is_main(),
          )
        )
      )
      self._checkpoints = stack.enter_context(
        contextlib.closing(
          checkpoint.Checkpoints(self.folder, **config.checkpoint.to_dict())
        )
      )
      self._requests = stack.enter_context(preemption.StopRequests())
      self._checkpoints.tidy()
      # Nobody looks for checkpoints before that.
      distributed.barrier("session")
      self._open = stack.pop_all()

  def __exit__(self, *error: Any) -> None:
    self._open.__exit__(*error)

  def _claim(
    self, folder: str | os.PathLike, stack: contextlib.ExitStack
  ) -> pathlib.Path:
    """Process 0 claims and locks the folder; the others find its config."""

    def claim():
      if not distributed.is_main():
        return None
      self._claimed_now = not (pathlib.Path(folder) / "config.json").exists()
      found = workdir.claim_workdir(folder, self._config)
      stack.enter_context(contextlib.closing(lock.WorkdirLock(found)))
      return found

    def find():
      # Where the disk is not shared this process does not see it.
      workdir.read_config(folder)
      return workdir.claim_workdir(folder, self._config)

    claimed = distributed.together(claim)
    found = distributed.together(lambda: claimed or find())
    return found

  def restore(
    self,
    fresh: state.TrainState,
    *,
    resume_from: str | os.PathLike = "",
    init_from: str | os.PathLike = "",
  ) -> state.TrainState:
    """What the run starts from; the module says in which order it is sought.

    Args:
      fresh: the state of scratch.
      resume_from: work directory, or "".
      init_from: work directory, or "".

    Returns:
      The state, placed as `fresh` is.

    Raises:
      ValueError: a directory that is named holds no good checkpoint, or one of
        another policy, or the own one was written with other random numbers.
    """
    try:
      fresh, record, source = self._find_start(fresh, resume_from, init_from)
    except Exception:
      # Otherwise the command with that mended would be another config's.
      if self._claimed_now:
        (self.folder / "config.json").unlink(missing_ok=True)
      raise
    first = int(fresh.step)
    self._go_on(first, record or run_record.RunRecord(step=first))
    total = self._config.num_updates
    self.bar = progress.Progress(
      total,
      title=self._config.estimator,
      done=first,
      silent=not distributed.is_main(),
    )
    self._open.enter_context(self.bar.running())
    if first == total:
      self.bar.write(
        f"{self.folder} holds the finished run: nothing left to train"
      )
    elif source != "scratch":
      self.bar.write(f"starts after update {first} from {source}")
    return fresh

  def _find_start(self, fresh, resume_from, init_from):
    """The first state, its record if it has one, and where it is from."""
    restored, record, source = self._newest(fresh), None, "scratch"
    if restored is not None:
      fresh, record = restored
      source = "its own checkpoint"
    elif resume_from:
      workdir.read_config(resume_from)
      other = checkpoint.Checkpoints(resume_from)
      with contextlib.closing(other):
        fresh, record = other.restore_run(fresh)
      if record is not None:
        # What happened to the other's disk is not this run's.
        record = dataclasses.replace(record, failed_saves=0)
      source = f"the state of {resume_from}"
    elif init_from:
      fresh = warm_start.start_from(init_from, fresh)
      source = f"the parameters of {init_from}"
    return fresh, record, source

  def record(
    self,
    current: state.TrainState,
    values: Mapping[str, float],
    *,
    shown: Mapping[str, str],
  ) -> dict[str, float]:
    """Writes an update's metrics, and a checkpoint where one is due.

    Args:
      current: the state after the update.
      values: its metrics.
      shown: names of metrics that the progress line shows, and as what.

    Returns:
      The metrics as they were written: `time/total`, `time/save` (what the save
      before cost this thread) and `checkpoint/failed_saves` are added.

    Raises:
      OSError: this was the last update and its checkpoint cannot be written.
    """
    step = int(current.step)
    self._checkpoints.poll()
    written = {
      **values,
      "checkpoint/failed_saves": float(self._failed_saves()),
      "time/save": self._save_seconds,
      "time/total": self._seconds(),
    }
    self._writer.write(step, written)
    self._save_seconds = 0.0
    self._news.update(
      {short: values[name] for name, short in shown.items() if name in values}
    )
    self.bar.show(step, self._news)
    self.stopped = self._requests.asked(step)
    last = step == self._config.num_updates
    every = self._config.checkpoint_every
    due = bool(every and step and step % every == 0)
    if last or due or self.stopped:
      self._save(current, values.get("eval/success"))
    if last or self.stopped:
      self._checkpoints.require_saved()
    if self.stopped and not last:
      self.bar.write(
        f"stopped by {self.stopped} after update {step}; the same command "
        "goes on"
      )
    return written

  def _newest(
    self, fresh: state.TrainState
  ) -> tuple[state.TrainState, run_record.RunRecord | None] | None:
    """The newest good checkpoint of the own directory, or None."""
    if not self._checkpoints.steps():
      return None

    def in_step(record):
      return record is None or self._writer.holds(
        record.metrics_step, record.metrics_bytes
      )

    accept: Callable[..., bool] | None = in_step
    if not any(map(in_step, self._checkpoints.records())):
      logging.warning(
        "%s/metrics.jsonl lacks lines before every checkpoint; the run goes on "
        "from the newest, and those lines are not written again",
        self.folder,
      )
      accept = None
    try:
      state, record = self._checkpoints.restore_run(
        fresh, accept=accept, repair=True
      )
    except checkpoint.NoCheckpointError:
      logging.warning("%s has no checkpoint left that is good", self.folder)
      return None
    if record is not None and record.key != self._key:
      raise ValueError(
        f"{self.folder} was trained with the random key {record.key}; this "
        f"process has {self._key}"
      )
    return state, record

  def _go_on(self, first: int, record: run_record.RunRecord) -> None:
    # The line of step 0 is written before the first update.
    self._writer.go_on_from(first or -1)
    self._seconds_before = record.seconds
    self._failed_before = record.failed_saves
    self.refused = guard.RefusedUpdates(
      self.folder,
      limit=self._config.max_bad_updates,
      in_a_row=record.refused_in_a_row,
    )

  def _save(self, current: state.TrainState, score: float | None) -> None:
    started = time.perf_counter()
    step = int(current.step)
    try:
      metrics_step, metrics_bytes = distributed.together(
        lambda: self._writer.position(step)
      )
    except (OSError, ValueError) as error:
      # A checkpoint is worth nothing without the lines before it.
      self._checkpoints.count_failure(step, error)
      return
    self._checkpoints.save(
      step,
      current,
      run_record.RunRecord(
        step=step,
        seconds=self._seconds(),
        metrics_step=metrics_step,
        metrics_bytes=metrics_bytes,
        failed_saves=self._failed_saves(),
        refused_in_a_row=self.refused.in_a_row,
        key=self._key,
        score=score,
      ),
    )
    self._save_seconds += time.perf_counter() - started

  def _seconds(self) -> float:
    return self._seconds_before + time.monotonic() - self._started

  def _failed_saves(self) -> int:
    return self._failed_before + self._checkpoints.failed_saves
