"""A Parquet file larger than memory allows, through `assign_credit`."""

import os
import pathlib
import sys
import tempfile
from typing import Any

from experiments import PACKAGE, bench_machine, logs
from experiments.credit_bench import memory
from experiments.credit_bench.options import Options

GOAL_GIBIBYTES = 2.0
_ROLLOUTS_PER_TASK, _STEPS, _TEXT_LENGTH = 8, 20, 200


def measure(options: Options) -> dict[str, Any]:
  """Writes a log, then runs `experiments.assign_credit` on it.

  The command runs in a process of its own, once.

  Args:
    options: `stream_rollouts`, of 20 steps each, 8 of a task.

  Returns:
    `rows`, `file_gibibytes`, `seconds` (start and compilation included),
    `rows_per_second` and `peak_gibibytes`.

  Raises:
    ImportError: pyarrow is missing.
    ValueError: the command failed.
  """
  tasks = max(options.stream_rollouts // _ROLLOUTS_PER_TASK, 1)
  rows = tasks * _ROLLOUTS_PER_TASK * _STEPS
  with tempfile.TemporaryDirectory() as folder:
    log = os.path.join(folder, "steps.parquet")
    credit = os.path.join(folder, "credit.parquet")
    logs.write_log(
      log,
      tasks=tasks,
      rollouts=_ROLLOUTS_PER_TASK,
      steps=_STEPS,
      text_length=_TEXT_LENGTH,
    )
    found = memory.run_command(
      [
        *(sys.executable, "-m", f"{PACKAGE}.assign_credit"),
        *(f"--rollouts={log}", f"--output={credit}"),
      ]
    )
    size = pathlib.Path(log).stat().st_size
  return {
    "rows": rows,
    "file_gibibytes": size / 2**30,
    # What the texts take without Parquet's dictionary and compression.
    "text_gibibytes": 2 * _TEXT_LENGTH * rows / 2**30,
    "rows_per_second": rows / found["seconds"],
    **found,
  }


def table(found: dict[str, Any]) -> str:
  """Rows per second and peak memory."""
  return bench_machine.table(
    [
      ["stream", "texts, GiB", "file, GiB", "seconds", "rows/s", "peak, GiB"],
      [
        f"{found['rows']:,} rows",
        f"{found['text_gibibytes']:.2f}",
        f"{found['file_gibibytes']:.2f}",
        f"{found['seconds']:.1f}",
        f"{found['rows_per_second']:,.0f}",
        f"{found['peak_gibibytes']:.2f}",
      ],
      ["goal at 20 million rows", "", "", "", "", f"<= {GOAL_GIBIBYTES:g}"],
    ]
  )
