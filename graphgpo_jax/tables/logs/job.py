"""What a run over a file is made of, and what both kinds of run share."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from graphgpo_jax.tables import (
  assign,
  near_equal,
  rollout_errors,
  table_options,
)
from graphgpo_jax.tables.logs import batch as batch_lib
from graphgpo_jax.tables.logs import near_states, writers
from graphgpo_jax.tables.logs import window as window_lib
from graphgpo_jax.tables.logs.batch import Fault, FaultError, Position, Source
from graphgpo_jax.tables.logs.progress import Progress
from graphgpo_jax.tables.logs.workspace import Workspace

# The side file, in the workspace.
FAULTS = "faults.jsonl"
# Files that a log may be split into, and that may be open at once.
MOST_BUCKETS = 192
# What a manifest's state may be about.
STREAM, SPLIT, CREDIT, JOIN, PUBLISH = (
  "stream",
  "split",
  "credit",
  "join",
  "publish",
)

State = dict[str, Any]


class StoppedError(ValueError):
  """A row is at fault and the run is to stop."""


@dataclasses.dataclass(frozen=True)
class Job:
  """A log, a workspace and what to do."""

  source: Source
  workspace: Workspace
  options: table_options.Options
  stop: bool  # at the first row at fault; else such rollouts are left out
  rows_per_commit: int
  parquet: bool  # the output, else JSON lines
  progress: Progress
  near: Mapping[str, Any] | None = None  # of `near_equal.merge_near_equal`

  def commit(self, state: State) -> None:
    """Makes a state the one that a later run goes on from."""
    self.workspace.commit(state | {"stop": self.stop})

  def writer(self, done: int) -> writers.Writer:
    """The output, behind what is done of it."""
    if not self.parquet:
      return writers.JsonlWriter(self.workspace, done)
    names = assign.credit_columns(self.options.estimator)
    empty = np.zeros(0, np.float32)
    no_rows = (self.source.no_keys(), dict.fromkeys(names, empty))
    return writers.ParquetWriter(self.workspace, done, no_rows)

  def window(self, records: np.ndarray, start: Position) -> window_lib.Window:
    """Credit of whole tasks.

    Args:
      records: of the tasks, in the order of rows.
      start: of the first row, or of one before.

    Returns:
      Their Window.

    Raises:
      StoppedError: a rollout is none and the run is to stop, or an observation
        that is to be compared is no text.
    """

    def merge(records, task, ends):
      return near_states.merge_records(
        records, task, ends, self.source, start, self.near or {}
      )

    try:
      return window_lib.credit_window(
        records,
        self.source.optional,
        self.options,
        stop=self.stop,
        merge=None if self.near is None else merge,
      )
    except near_equal.NotTextError as error:
      fault = Fault(error.row, error.reason, error.column)
      raise self.fault_error(FaultError(fault)) from None
    except window_lib.RolloutError as error:
      raise self._rollout_error(error, start) from None

  def fault_lines(self, faults: Iterable[Fault]) -> bytes:
    """Lines of the side file."""
    return "".join(
      json.dumps(batch_lib.fault_record(fault, lines=self.source.lines)) + "\n"
      for fault in faults
    ).encode()

  def fault_error(self, error: FaultError) -> "StoppedError":
    """What is wrong with a row, and where it is."""
    fault = error.fault
    if fault.column is None:
      line = (
        f"line {fault.row + 1}" if self.source.lines else f"row {fault.row}"
      )
      return StoppedError(f"{self.source.path}, {line}: {fault.reason}")
    return StoppedError(
      f"{self._where()}: column {fault.column!r}, row {fault.row}: "
      f"{fault.reason}"
    )

  def _where(self) -> str:
    first = " (row 0 is line 1)" if self.source.lines else ""
    return self.source.path + first

  def _rollout_error(
    self, error: window_lib.RolloutError, start: Position
  ) -> "StoppedError":
    one, two = (
      batch_lib.read_row(self.source, row, start)
      for row in (error.earlier, error.later)
    )
    rows = f"{error.earlier} and {error.later}"
    name = rollout_errors.step_name(*(one[key] for key in batch_lib.KEYS))
    if error.kind == "t":
      told = rollout_errors.same_step(rows, name)
    elif error.kind == "chain":
      told = rollout_errors.unchained(
        rows, name, one["next_observation"], two["observation"]
      )
    else:
      told = rollout_errors.differs(error.kind, rows, name)
    return StoppedError(f"{self._where()}: {told}")


def add_summaries(one: State, two: assign.TableSummary) -> State:
  """Counts of two lots of tasks together."""
  return {
    name: one.get(name, 0) + count
    for name, count in dataclasses.asdict(two).items()
  }
