"""What a run costs: traces of updates, seconds of compilation, memory."""

import contextlib
import pathlib
import resource
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.monitoring

# Of each program that XLA compiles or that the compile cache has; tracing and
# lowering, which take less, are under names of their own.
_COMPILED = "/jax/core/compile/backend_compile_duration"
_GIGABYTE = 2.0**30
# getrusage counts kilobytes, but on macOS bytes.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024

Update = tuple[Any, dict[str, float]]


def parse_steps(text: str) -> range:
  """Reads which updates to trace.

  Args:
    text: "10:15" for updates 10 to 14, the first update being 1; "" for none.

  Returns:
    The updates.

  Raises:
    ValueError: the text is no such pair; the message shows it.
  """
  if not text:
    return range(0)
  parts = text.split(":")
  if len(parts) == 2 and all(p.isascii() and p.isdecimal() for p in parts):
    first, end = map(int, parts)
    if 1 <= first < end:
      return range(first, end)
  raise ValueError(
    f"--profile_steps={text!r}: expected FIRST:END with 1 <= FIRST < END, such "
    "as 10:15 for updates 10 to 14"
  )


class CompileClock(contextlib.AbstractContextManager):
  """Adds up the seconds of compilation while its block runs."""

  def __init__(self) -> None:
    self._seconds = 0.0

  def __enter__(self) -> "CompileClock":
    jax.monitoring.register_event_duration_secs_listener(self._hear)
    return self

  def __exit__(self, *_: Any) -> None:
    jax.monitoring.unregister_event_duration_listener(self._hear)

  def _hear(self, event: str, duration_secs: float, **_: Any) -> None:
    if event == _COMPILED:
      self._seconds += duration_secs

  def take(self) -> float:
    """Seconds since this was last asked."""
    seconds, self._seconds = self._seconds, 0.0
    return seconds


def memory() -> dict[str, float]:
  """The most memory that this process has used so far.

  Returns:
    `time/host_gigabytes`, and `time/device_gigabytes` of its fullest device
    where devices tell (those of a CPU do not). The names say "time" because the
    numbers depend on the machine, as seconds do.
  """
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
  found = {"time/host_gigabytes": peak / _GIGABYTE}
  told = [device.memory_stats() or {} for device in jax.local_devices()]
  peaks = [
    one["peak_bytes_in_use"] for one in told if "peak_bytes_in_use" in one
  ]
  if peaks:
    found["time/device_gigabytes"] = max(peaks) / _GIGABYTE
  return found


def observe(
  updates: Iterator[Update], *, done: int, steps: range, folder: pathlib.Path
) -> Iterator[Update]:
  """Adds to the metrics of updates what they cost, and traces some of them.

  Args:
    updates: states, which have a `step`, and metrics; before update 1 there
      may be one of the step 0, which belongs to it.
    done: updates that were played before.
    steps: updates to trace.
    folder: of the traces, made where there are any; TensorBoard's profile
      plug-in, xprof and Perfetto read them.

  Yields:
    The same with `time/compile` (seconds of compilation since the one before)
    and the names of `memory`.
  """
  coming = done + 1
  tracing = False
  with CompileClock() as clock:
    try:
      while True:
        if coming in steps and not tracing:
          jax.profiler.start_trace(folder)
          tracing = True
        one = next(updates, None)
        if one is None:
          return
        state, metrics = one
        coming = int(state.step) + 1
        if tracing and coming not in steps:
          jax.profiler.stop_trace()
          tracing = False
        yield state, {**metrics, "time/compile": clock.take(), **memory()}
    finally:
      if tracing:
        jax.profiler.stop_trace()
