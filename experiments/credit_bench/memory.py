"""Peak memory of a piece of work, measured in a process of its own."""

import concurrent.futures
import contextlib
import json
import multiprocessing
import pathlib
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_GIBIBYTE = 2**30
# What ru_maxrss counts in: kibibytes, but on macOS bytes.
_UNIT = 1 if sys.platform == "darwin" else 2**10

# Linux counts into a process's ru_maxrss what its parent held when it started
# it. So a small parent stands between the bench and the command.
_RUNNER = """
import json, os, resource, subprocess, sys, time
started = time.perf_counter()
status = subprocess.call(sys.argv[1:], stdout=sys.stderr)
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"status": status, "seconds": seconds, "peak": peak}))
"""


def peak_gibibytes() -> float:
  """The most memory that this process has held, in GiB."""
  # The status file leaves out what the parent held; see _RUNNER.
  with contextlib.suppress(OSError):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
      if line.startswith("VmHWM:"):
        return int(line.split()[1]) * 2**10 / _GIBIBYTE
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak * _UNIT / _GIBIBYTE


def in_own_process(function: Callable[..., Any], *args: Any) -> Any:
  """Calls a function of a module in a new process and returns its result."""
  with concurrent.futures.ProcessPoolExecutor(
    1, mp_context=multiprocessing.get_context("spawn")
  ) as pool:
    return pool.submit(function, *args).result()


def run_command(
  command: Sequence[str], *, environment: Mapping[str, str] | None = None
) -> dict[str, float]:
  """Runs a command and measures it.

  Args:
    command: program and arguments.
    environment: variables of the process; this one's without it.

  Returns:
    `seconds` and `peak_gibibytes`.

  Raises:
    ValueError: the command ended with another status than 0; the message
      holds its last line.
  """
  done = subprocess.run(
    [sys.executable, "-c", _RUNNER, *command],
    capture_output=True,
    text=True,
    env=environment,
    check=True,
  )
  found = json.loads(done.stdout)
  if found["status"]:
    last = (done.stderr.strip().splitlines() or ["no output"])[-1]
    raise ValueError(f"{' '.join(command)}: ended with {last}")
  return {
    "seconds": found["seconds"],
    "peak_gibibytes": found["peak"] * _UNIT / _GIBIBYTE,
  }
