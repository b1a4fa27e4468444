"""Credit for a log in a file, whatever its size: JSON lines or Parquet."""

import dataclasses
import importlib.metadata
import json
import os
from typing import Any

import jax
import xxhash

from graphgpo_jax import _version
from graphgpo_jax.credit import estimators
from graphgpo_jax.tables import assign, table_options
from graphgpo_jax.tables.logs import job as job_lib
from graphgpo_jax.tables.logs import (
  jsonl_source,
  parquet_source,
  progress,
  spill,
  states,
  stream,
)
from graphgpo_jax.tables.logs import workspace as workspace_lib
from graphgpo_jax.tables.logs.batch import Source

DEFAULT_ROWS_PER_COMMIT = 2**18
_ON_ERROR = ("stop", "skip")
# Of the file's ends, which tell a file from another of its size and time.
_END_BYTES = 2**16


@dataclasses.dataclass(frozen=True)
class FileSummary:
  """What a log holds."""

  table: assign.TableSummary  # of the rows that have credit
  left_out: int  # rows without credit
  faults_path: str | None  # where they are listed; None: the run was to stop


def credit_file(
  rollouts: str,
  output: str,
  estimator: str | estimators.Estimator = "graphgpo",
  *,
  on_error: str = "stop",
  rows_per_commit: int = DEFAULT_ROWS_PER_COMMIT,
  restart: bool = False,
  show_progress: bool = False,
  state_similarity: float | None = None,
  state_similarity_by: str = "jaccard",
  **options,
) -> FileSummary:
  """`assign_credit` from file to file, for files that do not fit in memory.

  A name that ends in .parquet is a Parquet file (extra [logs]), every other
  one JSON lines. The output has the rows of the input in their order: task,
  trajectory and t as given, and the credit columns, which are bit for bit what
  `assign_credit` returns for the whole table.

  Tasks in one piece are read in one pass. Once a task comes back after others
  the log is split on disk first, which takes some 100 bytes a row there. Memory
  holds what JAX takes, up to four batches of rows of some 32 MiB of text, some
  700 bytes a row of `rows_per_commit` rows or of the largest task, whichever is
  more, and 8 bytes for each task of the file. A part of a split log holds
  2**18 rows as well, or 1/192 of all, whichever is more.

  The output appears when all of it is written. Until then what is done is in
  the folder `OUTPUT.partial`, and the same call goes on from there however the
  process ended; the result is the same as if it had not. A run that stops at a
  row before it has anything to keep leaves nothing.

  Args:
    rollouts: the log; columns as for `assign_credit`.
    output: the file to write.
    estimator: as for `assign_credit`.
    on_error: "stop" at the first row at fault, or "skip": a row at fault takes
      its whole rollout out, for credit without it would be of another graph. A
      row that does not say whose step it is takes out the rollouts of the rows
      before and after it. Rows taken out are missing in the output and listed
      in `OUTPUT.errors.jsonl`: row (from 0), line (from 1, of JSON lines) and
      reason, in the order of rows.
    rows_per_commit: rows that are computed, kept and if need be lost at once.
    restart: throw away what an unfinished run left.
    show_progress: show it on the error stream.
    state_similarity: as for `assign_credit`, for logs whose tasks are each in
      one piece; the distinct texts of the tasks that are computed together are
      in memory then, each row's of `rows_per_commit` at worst.
    state_similarity_by: as for `assign_credit`.
    **options: as for `assign_credit`.

  Returns:
    FileSummary.

  Raises:
    ValueError: as `assign_credit`, with the row's number; or the folder holds
      an unfinished run of another file or other options.
    ImportError: a Parquet file and no pyarrow.
    OSError: a file cannot be read or written.
  """
  checked = table_options.read_options(estimator, options)
  near = assign.near_options(state_similarity, state_similarity_by)
  if on_error not in _ON_ERROR:
    raise ValueError(
      f"on_error: expected one of {', '.join(_ON_ERROR)}, got {on_error!r}"
    )
  if rows_per_commit < 1:
    raise ValueError(
      f"rows_per_commit: expected at least 1, got {rows_per_commit}"
    )
  check_paths(rollouts, output)
  source = _source(rollouts, with_actions=checked.reads_actions)
  identity = {
    "input": _file_identity(rollouts),
    "options": _plain_options(checked) | {"near-equal states": near},
    "rows_per_commit": rows_per_commit,
    "versions": {
      "graphgpo-jax": _version.__version__,
      "jax": importlib.metadata.version("jax"),
      "platform": jax.default_backend(),
    },
  }
  stop = on_error == "stop"
  workspace = workspace_lib.Workspace(output, identity)
  with (
    workspace.open(restart=restart) as state,
    progress.Progress(shown=show_progress).running() as shown,
  ):
    if state is not None:
      states.check(state, where=workspace.folder)
    if state is not None and stop and not state["stop"]:
      raise ValueError(
        f"{workspace.folder} holds an unfinished run of another kind: on_error "
        "was skip, is stop. Give what it was given to go on, or --restart to "
        "throw it away"
      )
    job = job_lib.Job(
      source=source,
      workspace=workspace,
      options=checked,
      stop=stop,
      rows_per_commit=rows_per_commit,
      parquet=is_parquet(output),
      progress=shown,
      near=near,
    )
    try:
      state = _run(job, state)
    except BaseException as error:
      if not workspace.keeps_anything:
        workspace.remove()
      elif isinstance(error, job_lib.StoppedError):
        raise ValueError(
          f"{error} (what was done before is kept in {workspace.folder}; "
          "--on_error=skip goes on from there without that rollout)"
        ) from error
      raise
    return _publish(job, state, output)


def is_parquet(path: str) -> bool:
  """Whether a file is a Parquet file, by its name."""
  return path.lower().endswith(".parquet")


def faults_path(output: str) -> str:
  """The side file of an output."""
  return f"{output}.errors.jsonl"


def _run(job: job_lib.Job, state: job_lib.State | None) -> job_lib.State:
  """Everything but the last step, and the state to publish."""
  if state is None:
    state = stream.start_state()
  if state["stage"] == job_lib.PUBLISH:
    return state
  if state["stage"] == job_lib.STREAM:
    try:
      state = stream.stream(job, state)
    except stream.InterleavedError as error:
      job.workspace.clear()
      if job.near is not None:
        raise ValueError(
          f"{job.source.path}: a task comes back after others, before row "
          f"{error.position.row}: state_similarity expects each task's rows in "
          "one piece. Sort the log by task"
        ) from None
      state = spill.start_state(job, error.position)
  if state["stage"] != job_lib.PUBLISH:
    state = spill.spill(job, state)
  state["result"] = os.path.basename(state["result"])
  job.commit(state)
  return state


def _publish(
  job: job_lib.Job, state: job_lib.State, output: str
) -> FileSummary:
  """Puts the files in their place; repeated after a kill in between."""
  side = None if job.stop else faults_path(output)
  moves = [] if side is None else [(job_lib.FAULTS, side)]
  for name, place in [*moves, (state["result"], output)]:
    path = job.workspace.path(name)
    if os.path.exists(path):
      os.replace(path, place)
  workspace_lib.sync_folder(os.path.dirname(output) or ".")
  job.workspace.remove()
  return FileSummary(
    table=assign.TableSummary(**state["summary"]),
    left_out=state["left_out"],
    faults_path=side,
  )


def _source(path: str, *, with_actions: bool) -> Source:
  if is_parquet(path):
    return parquet_source.ParquetSource(path, with_actions=with_actions)
  return jsonl_source.JsonlSource(path, with_actions=with_actions)


def check_paths(rollouts: str, output: str) -> None:
  """Refuses an output that cannot be one.

  Args:
    rollouts: the file that is read.
    output: the file to write.

  Raises:
    ValueError: it is the input, or no file name in a folder that exists.
  """
  if os.path.realpath(rollouts) == os.path.realpath(output) or (
    os.path.exists(output) and os.path.samefile(rollouts, output)
  ):
    raise ValueError(
      "--output is the file of --rollouts: expected another, for the input "
      "is kept"
    )
  folder = os.path.dirname(output) or "."
  if not os.path.isdir(folder) or os.path.isdir(output):
    raise ValueError(
      f"--output={output}: expected a file name in a folder that exists"
    )


def _file_identity(path: str) -> dict[str, Any]:
  status = os.stat(path)
  with open(path, "rb") as file:
    ends = file.read(_END_BYTES)
    file.seek(max(status.st_size - _END_BYTES, 0))
    ends += file.read(_END_BYTES)
  return {
    "path": os.path.realpath(path),
    "bytes": status.st_size,
    "modified_ns": status.st_mtime_ns,
    "first and last bytes": xxhash.xxh3_64_hexdigest(ends),
  }


def _plain_options(options: table_options.Options) -> dict[str, Any]:
  """Options as JSON."""
  estimator = options.estimator
  plain = {
    "estimator": getattr(estimator, "__qualname__", repr(estimator)),
    "success_reward": options.success_reward,
    "normalization": options.normalization,
    **dict(options.static),
    **options.traced,
  }
  return json.loads(json.dumps(plain, default=repr))
