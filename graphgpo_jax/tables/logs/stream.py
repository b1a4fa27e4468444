"""A log whose tasks are each in one piece: one pass, some tasks at a time."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from graphgpo_jax.tables import arrow_columns
from graphgpo_jax.tables.logs import batch as batch_lib
from graphgpo_jax.tables.logs import job as job_lib
from graphgpo_jax.tables.logs import records as records_lib
from graphgpo_jax.tables.logs.batch import (
  Batch,
  Fault,
  FaultError,
  Keys,
  Position,
)
from graphgpo_jax.tables.logs.workspace import Appender


class InterleavedError(Exception):
  """A task comes back after others, too late to be computed as one."""

  def __init__(self, position: Position):
    super().__init__()
    self.position = position


def start_state() -> job_lib.State:
  """State of a run that has done nothing."""
  return {
    "stage": job_lib.STREAM,
    "position": dataclasses.asdict(Position()),
    "after_unreadable": False,
    "output": 0,
    "faults": 0,
    "tasks": 0,
    "left_out": 0,
    "summary": {},
  }


def stream(job: job_lib.Job, state: job_lib.State) -> job_lib.State:
  """Credits a log from where a state says to the end.

  Tasks are computed together, as many as have `rows_per_commit` rows: what is
  computed together depends on the log alone, not on where a run was cut off.

  Args:
    job: the run.
    state: of `start_state`, or the last one that was committed.

  Returns:
    The state to publish.

  Raises:
    InterleavedError: the log cannot be read in one pass.
    job_lib.StoppedError: a row is at fault and the run is to stop.
  """
  source, workspace = job.source, job.workspace
  position = Position(**state["position"])
  job.progress.begin(
    "credit",
    rows=position.row,
    done=source.done(position),
    total=source.total,
  )
  writer = job.writer(state["output"])
  faults = Appender(workspace.path(job_lib.FAULTS), state["faults"])
  seen = _SeenTasks(workspace.path("tasks.bin"), state["tasks"])
  for part in _parts(job, position, state["after_unreadable"]):
    if not seen.add(np.unique(part.records["task"])):
      raise InterleavedError(part.end)
    try:
      window = job.window(part.records, part.start)
    except job_lib.StoppedError:
      # Or are steps missing that come later?
      if _comes_back(job, part):
        raise InterleavedError(part.end) from None
      raise
    has_credit = np.zeros(part.end.row - part.start.row, bool)
    has_credit[window.rows - part.start.row] = True
    writer.write(batch_lib.pick_keys(part.keys, has_credit), window.credit)
    out = sorted(part.faults + window.faults, key=lambda fault: fault.row)
    faults.write(job.fault_lines(out))
    state = {
      "stage": job_lib.STREAM,
      "position": dataclasses.asdict(part.end),
      "after_unreadable": part.unreadable_before_end,
      "output": writer.commit(),
      "faults": faults.sync(),
      "tasks": seen.sync(),
      "left_out": state["left_out"] + len(out),
      "summary": job_lib.add_summaries(state["summary"], window.summary),
    }
    job.commit(state)
    job.progress.advance(rows=part.end.row, done=source.done(part.end))
  faults.close()
  seen.close()
  return state | {"stage": job_lib.PUBLISH, "result": writer.finish()}


@dataclasses.dataclass(frozen=True)
class _Part:
  """Rows start..end of a log: whole tasks, if it is not interleaved."""

  start: Position
  end: Position
  unreadable_before_end: bool
  records: np.ndarray
  keys: Keys
  faults: list[Fault]


def _parts(
  job: job_lib.Job, start: Position, after_unreadable: bool
) -> Iterator[_Part]:
  """Cuts a log between tasks, as soon as a part has enough rows."""
  maker = records_lib.RecordMaker(
    job.source.optional, stop=job.stop, after_unreadable=after_unreadable
  )
  waiting = _Waiting(start)
  for batch in job.source.batches(start):
    try:
      records, faults = maker.make(batch)
    except FaultError as error:
      raise job.fault_error(error) from None
    taken = 0
    cuts = waiting.task_starts(records)
    while True:
      needed = max(
        job.rows_per_commit - waiting.count, 0 if waiting.count else 1
      )
      index = int(np.searchsorted(cuts, taken + needed))
      if index == len(cuts):
        break
      cut = int(cuts[index])
      waiting.add(batch, records[taken:cut], int(records["row"][cut]), faults)
      yield waiting.part(records["fault"][cut] == records_lib.MARK)
      taken = cut
    end = batch.first_row + batch.num_rows
    waiting.add(batch, records[taken:], end, faults)
  if waiting.end.row > waiting.start.row:
    yield waiting.part(maker.after_unreadable)


def _comes_back(job: job_lib.Job, part: _Part) -> bool:
  """Whether a task of a part has rows behind it."""
  tasks = np.unique(part.records["task"])
  for keys, _ in job.source.keys(part.end):
    column = keys["task"]
    if arrow_columns.is_arrow(column):
      column = arrow_columns.from_arrow(column)
    if np.isin(records_lib.task_words(column), tasks).any():
      return True
  return False


class _Waiting:
  """Rows that are read and not yet part of anything."""

  def __init__(self, start: Position):
    self.start = self.end = start
    self.count = 0
    self._records: list[np.ndarray] = []
    self._keys: list[Keys] = []
    self._faults: list[Fault] = []
    self._last_task: np.ndarray | None = None

  def task_starts(self, records: np.ndarray) -> np.ndarray:
    """Places where another task begins than that of the record before."""
    task = records["task"]
    if not len(task):
      return np.zeros(0, np.int64)
    starts = np.flatnonzero(task[1:] != task[:-1]) + 1
    first = self._last_task is not None and task[0] != self._last_task
    self._last_task = task[-1]
    return np.concatenate([[0], starts]) if first else starts

  def add(
    self,
    batch: Batch,
    records: np.ndarray,
    stop_row: int,
    faults: list[Fault],
  ) -> None:
    """Adds rows of a batch up to a row, and the faults among them."""
    first = self.end.row
    self._records.append(records)
    self.count += len(records)
    self._keys.append(
      batch_lib.slice_keys(
        batch.keys, first - batch.first_row, stop_row - batch.first_row
      )
    )
    self._faults += [f for f in faults if first <= f.row < stop_row]
    self.end = batch.position(stop_row)

  def part(self, unreadable_before_end: bool) -> _Part:
    """All of it, and starts again behind it."""
    part = _Part(
      start=self.start,
      end=self.end,
      unreadable_before_end=bool(unreadable_before_end),
      records=np.concatenate(self._records),
      keys=batch_lib.join_keys(self._keys),
      faults=self._faults,
    )
    self.start = self.end
    self.count = 0
    self._records, self._keys, self._faults = [], [], []
    return part


class _SeenTasks:
  """Fingerprints of the tasks so far, 8 bytes each, and on disk."""

  def __init__(self, path: str, count: int):
    self._file = Appender(path, 8 * count)
    self._tasks = np.sort(np.fromfile(path, np.uint64, count))

  def add(self, tasks: np.ndarray) -> bool:
    """Adds tasks, ascending; False if one of them was there."""
    places = np.searchsorted(self._tasks, tasks)
    known = places < len(self._tasks)
    if (self._tasks[places[known]] == tasks[known]).any():
      return False
    self._tasks = np.insert(self._tasks, places, tasks)
    self._file.write(tasks.tobytes())
    return True

  def sync(self) -> int:
    return self._file.sync() // 8

  def close(self) -> None:
    self._file.close()
