"""What the benches share: facts of the machine, turns, tables."""

import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax


def facts() -> dict[str, Any]:
  """Cores, load and what JAX runs on, as they are now."""
  return {
    # The cores this process may use, which a container can make fewer.
    "cores": len(os.sched_getaffinity(0))
    if hasattr(os, "sched_getaffinity")
    else os.cpu_count(),
    "backend": jax.default_backend(),
    "device": jax.devices()[0].device_kind,
    "jax": jax.__version__,
    "load_average_before": os.getloadavg(),
  }


def line(machine: Mapping[str, Any]) -> str:
  """`facts` in a line."""
  return (
    f"{machine['cores']} cores, load average "
    f"{machine['load_average_before'][0]:.1f}, {machine['device']}, "
    f"jax {machine['jax']}"
  )


def in_turns(
  contestants: Mapping[str, Callable[[Any], Any]],
  prepare: Callable[[str], Any],
  repeats: int,
) -> dict[str, list[float]]:
  """Times contestants one after the other, again and again.

  Whoever else uses the machine then disturbs all of them alike, and the ratio
  of two times of one round means something.

  Args:
    contestants: functions by name.
    prepare: makes a function's argument, untimed, for each call anew.
    repeats: rounds.

  Returns:
    Seconds by name, one per round. The order changes from round to round.
  """
  names = list(contestants)
  seconds: dict[str, list[float]] = {name: [] for name in names}
  for index in range(repeats):
    first = index % max(len(names), 1)
    for name in names[first:] + names[:first]:
      argument = prepare(name)
      gc.collect()
      started = time.perf_counter()
      contestants[name](argument)
      seconds[name].append(time.perf_counter() - started)
  return seconds


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
  """Median over the rounds of one's seconds by the other's."""
  return statistics.median(
    one / other for one, other in zip(ours, theirs, strict=True)
  )


def table(rows: Sequence[Sequence[str]]) -> str:
  """Rows as aligned text: the first column to the left, others to the right."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return "\n".join(
    "  ".join(
      cell.rjust(width) if index else cell.ljust(width)
      for index, (cell, width) in enumerate(zip(row, widths, strict=True))
    ).rstrip()
    for row in rows
  )
