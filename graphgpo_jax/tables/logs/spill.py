"""A log whose tasks are interleaved: split on disk, credited, joined again.

Each row becomes a record in one of some bucket files, all of a task's in the
same one. Each bucket is credited by itself; its credit stays in the order of
rows, so that the log's order comes back by merging, and everything is read and
written from front to back. On disk that takes some 100 bytes a row.
"""

import contextlib
import dataclasses
import heapq
import json
import os
from collections.abc import Iterator

import numpy as np

from graphgpo_jax.tables import assign
from graphgpo_jax.tables.logs import batch as batch_lib
from graphgpo_jax.tables.logs import job as job_lib
from graphgpo_jax.tables.logs import records as records_lib
from graphgpo_jax.tables.logs import workspace as workspace_lib
from graphgpo_jax.tables.logs.batch import FaultError, Position
from graphgpo_jax.tables.logs.workspace import Appender

# Rows of a bucket, if tasks fall evenly.
_BUCKET_ROWS = 2**18
_OWN_FAULTS = "faults-own.jsonl"
# Beyond every row.
_NO_ROW = 2**63 - 1


def start_state(job: job_lib.Job, reached: Position) -> job_lib.State:
  """State of a run that has done nothing.

  Args:
    job: the run.
    reached: how far the log is known.

  Returns:
    The state.
  """
  rows = job.source.num_rows(reached)
  buckets = min(max(-(-rows // _BUCKET_ROWS), 1), job_lib.MOST_BUCKETS)
  return {
    "stage": job_lib.SPLIT,
    "position": dataclasses.asdict(Position()),
    "after_unreadable": False,
    "before": None,
    "sizes": [0] * buckets,
    "own_faults": 0,
  }


def spill(job: job_lib.Job, state: job_lib.State) -> job_lib.State:
  """Credits a log, from where a state says to the end.

  Args:
    job: the run.
    state: of `start_state`, or the last one that was committed.

  Returns:
    The state to publish.

  Raises:
    job_lib.StoppedError: a row is at fault and the run is to stop.
  """
  if state["stage"] == job_lib.SPLIT:
    state = _split(job, state)
  if state["stage"] == job_lib.CREDIT:
    state = _credit(job, state)
  return _join(job, state)


def _split(job: job_lib.Job, state: job_lib.State) -> job_lib.State:
  """Rows to buckets."""
  source, workspace = job.source, job.workspace
  position = Position(**state["position"])
  maker = records_lib.RecordMaker(
    source.optional,
    stop=job.stop,
    after_unreadable=state["after_unreadable"],
    before=state["before"],
  )
  job.progress.begin(
    "split", rows=position.row, done=source.done(position), total=source.total
  )
  number = len(state["sizes"])
  with contextlib.ExitStack() as files:
    buckets = [
      files.enter_context(
        contextlib.closing(Appender(_bucket(workspace, index), size))
      )
      for index, size in enumerate(state["sizes"])
    ]
    faults = files.enter_context(
      contextlib.closing(
        Appender(workspace.path(_OWN_FAULTS), state["own_faults"])
      )
    )

    def commit():
      job.commit(
        {
          "stage": job_lib.SPLIT,
          "position": dataclasses.asdict(position),
          "after_unreadable": maker.after_unreadable,
          "before": maker.before,
          "sizes": [bucket.sync() for bucket in buckets],
          "own_faults": faults.sync(),
        }
      )

    committed = position.row
    for batch in source.batches(position):
      try:
        records, found = maker.make(batch)
      except FaultError as error:
        raise job.fault_error(error) from None
      faults.write(job.fault_lines(found))
      # A stable sort leaves the rows of a bucket in their order.
      index = (records["task"] % np.uint64(number)).astype(np.int64)
      order = np.argsort(index, kind="stable")
      ends = np.cumsum(np.bincount(index, minlength=number))
      for bucket, part in zip(buckets, np.split(order, ends[:-1]), strict=True):
        if len(part):
          bucket.write(records[part].tobytes())
      position = batch.position(batch.first_row + batch.num_rows)
      if position.row - committed >= job.rows_per_commit:
        commit()
        committed = position.row
      job.progress.advance(rows=position.row, done=source.done(position))
    commit()
  state = {
    "stage": job_lib.CREDIT,
    "bucket": 0,
    "buckets": number,
    "rows": position.row,
    "done_rows": 0,
    "summary": {},
  }
  job.commit(state)
  return state


def _credit(job: job_lib.Job, state: job_lib.State) -> job_lib.State:
  """Buckets to credit, one after the other."""
  workspace = job.workspace
  dtype = _credit_dtype(job)
  job.progress.begin(
    "credit",
    rows=state["done_rows"],
    done=state["done_rows"],
    total=state["rows"],
  )
  for index in range(state["bucket"]):
    _remove(_bucket(workspace, index))
  for index in range(state["bucket"], state["buckets"]):
    records = np.fromfile(
      _bucket(workspace, index),
      records_lib.record_type(job.source.optional),
    )
    window = job.window(records, Position())
    credit = np.zeros(len(window.rows), dtype)
    credit["row"] = window.rows
    for name, column in window.credit.items():
      credit[name] = column
    _write(workspace, f"credit-{index:03d}.bin", credit.tobytes())
    _write(
      workspace, f"faults-{index:03d}.jsonl", job.fault_lines(window.faults)
    )
    state = state | {
      "bucket": index + 1,
      "done_rows": state["done_rows"] + len(records),
      "summary": job_lib.add_summaries(state["summary"], window.summary),
    }
    job.commit(state)
    _remove(_bucket(workspace, index))
    job.progress.advance(rows=state["done_rows"], done=state["done_rows"])
  state = {
    "stage": job_lib.JOIN,
    "position": dataclasses.asdict(Position()),
    "output": 0,
    "buckets": state["buckets"],
    "rows": state["rows"],
    "summary": state["summary"],
  }
  job.commit(state)
  return state


def _join(job: job_lib.Job, state: job_lib.State) -> job_lib.State:
  """Credit back to the order of rows."""
  source, workspace = job.source, job.workspace
  position = Position(**state["position"])
  job.progress.begin(
    "write", rows=position.row, done=source.done(position), total=source.total
  )
  dtype = _credit_dtype(job)
  names = [name for name in dtype.names or () if name != "row"]
  writer = job.writer(state["output"])
  with contextlib.ExitStack() as files:
    cursors = [
      _Cursor(
        files.enter_context(open(_credit_path(workspace, index), "rb")),
        dtype,
        position.row,
      )
      for index in range(state["buckets"])
    ]
    committed = position.row
    for keys, end in source.keys(position):
      found = np.concatenate([cursor.until(end.row) for cursor in cursors])
      found = found[np.argsort(found["row"])]
      rows = found["row"]
      if len(rows) and not (
        position.row <= rows[0] and rows[-1] < end.row and np.diff(rows).all()
      ):
        raise _damaged(workspace)
      has_credit = np.zeros(end.row - position.row, bool)
      has_credit[rows - position.row] = True
      writer.write(
        batch_lib.pick_keys(keys, has_credit),
        {name: np.ascontiguousarray(found[name]) for name in names},
      )
      position = end
      if position.row - committed >= job.rows_per_commit:
        state = state | {
          "position": dataclasses.asdict(position),
          "output": writer.commit(),
        }
        job.commit(state)
        committed = position.row
      job.progress.advance(rows=position.row, done=source.done(position))
    if any(len(cursor.until(_NO_ROW)) for cursor in cursors):
      raise _damaged(workspace)
  return {
    "stage": job_lib.PUBLISH,
    "result": writer.finish(),
    "left_out": _join_faults(workspace, state["buckets"]),
    "summary": state["summary"],
  }


def _join_faults(workspace: workspace_lib.Workspace, buckets: int) -> int:
  """The side file from those of the buckets; returns its lines."""
  number = 0
  with contextlib.ExitStack() as files:
    parts = [
      files.enter_context(open(workspace.path(name), "rb"))
      for name in (
        _OWN_FAULTS,
        *map("faults-{:03d}.jsonl".format, range(buckets)),
      )
    ]
    together = files.enter_context(open(workspace.path(job_lib.FAULTS), "wb"))
    for line in heapq.merge(*parts, key=_fault_row):
      together.write(line)
      number += 1
    workspace_lib.sync(together)
  return number


def _damaged(workspace: workspace_lib.Workspace) -> ValueError:
  return ValueError(
    f"{workspace.folder}: a file of the unfinished run is damaged: its credit "
    "is not that of the rows; --restart throws it away"
  )


def _fault_row(line: bytes) -> int:
  try:
    return int(json.loads(line)["row"])
  except (ValueError, LookupError, TypeError, RecursionError) as error:
    raise ValueError(
      f"expected the faults of an unfinished run, got {line!r:.60}; --restart "
      "throws it away"
    ) from error


class _Cursor:
  """A bucket's credit, read in the order of rows."""

  def __init__(self, file, dtype: np.dtype, row: int):
    """Goes to the first record of `row` or a later one."""
    self._file, self._dtype = file, dtype
    size = dtype.itemsize
    # From the first row on, all of it is looked at.
    low, high = 0, os.fstat(file.fileno()).st_size // size if row else 0
    while low < high:
      middle = (low + high) // 2
      file.seek(middle * size)
      record = np.frombuffer(file.read(size), dtype)
      if record["row"][0] < row:
        low = middle + 1
      else:
        high = middle
    file.seek(low * size)
    self._waiting = np.zeros(0, dtype)

  def until(self, row: int) -> np.ndarray:
    """The records of rows before `row` that are not taken yet."""
    return np.concatenate(list(self._chunks(row)))

  def _chunks(self, row: int) -> Iterator[np.ndarray]:
    while True:
      place = int(np.searchsorted(self._waiting["row"], row))
      yield self._waiting[:place]
      self._waiting = self._waiting[place:]
      if len(self._waiting):
        return
      data = self._file.read(2**10 * self._dtype.itemsize)
      if not data:
        return
      self._waiting = np.frombuffer(data, self._dtype)


def _credit_dtype(job: job_lib.Job) -> np.dtype:
  names = assign.credit_columns(job.options.estimator)
  return np.dtype([("row", np.int64), *((name, np.float32) for name in names)])


def _bucket(workspace: workspace_lib.Workspace, index: int) -> str:
  return workspace.path(f"bucket-{index:03d}.bin")


def _credit_path(workspace: workspace_lib.Workspace, index: int) -> str:
  return workspace.path(f"credit-{index:03d}.bin")


def _write(workspace: workspace_lib.Workspace, name: str, data: bytes) -> None:
  with open(workspace.path(name), "wb") as file:
    file.write(data)
    workspace_lib.sync(file)


def _remove(path: str) -> None:
  with contextlib.suppress(FileNotFoundError):
    os.remove(path)
