"""Credit of one task with a million rollouts: seconds, parts, peak memory."""

import collections
import contextlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from experiments import bench_machine
from experiments.credit_bench import memory
from experiments.credit_bench.options import Options
from graphgpo_jax import tables
from graphgpo_jax.tables import state_keys, table_device, table_rows

HORIZON = 10
GOAL_SECONDS = 60.0
GOAL_GIBIBYTES = 8.0
# Shape of the task, and its states by rollout.
_TASKS = (("wide", 1.0), ("deep", 0.001))
_NUM_ACTIONS = 8
# Called on the way, in the order of the work. What the table code renames
# goes missing from the parts, not from the seconds.
_PARTS = (
  (table_rows, "read_rows", "read and check rows"),
  (state_keys, "fingerprint_observations", "of it: fingerprints"),
  (table_device, "node_ids", "node ids"),
  (table_device, "credit_groups", "compile, start the device"),
  (jax, "device_get", "wait for the device"),
)


def integer_columns(
  rollouts: int, *, states: int, shape: str, seed: int = 0
) -> dict[str, np.ndarray]:
  """Columns of one task whose rollouts all have `HORIZON` steps.

  Args:
    rollouts: M.
    states: states of the world.
    shape: "wide": every rollout starts in state 0 and takes one of 8 actions,
      each to some state of a fixed random world, so that distances are of a
      few steps; one end in 16 is a success. "deep": every rollout starts
      anywhere in a corridor and walks up to 3 states on or back; success is at
      its end, so that distances go up to a third of the states.
    seed: any integer of at least 0.

  Returns:
    dict of the required columns, arrays of M * HORIZON entries.

  Raises:
    ValueError: `shape` is neither.
  """
  rng = np.random.default_rng(seed)
  path = np.zeros((rollouts, HORIZON + 1), np.int64)
  if shape == "wide":
    leads_to = rng.integers(0, states, (states, _NUM_ACTIONS))
    for t in range(HORIZON):
      action = rng.integers(0, _NUM_ACTIONS, rollouts)
      path[:, t + 1] = leads_to[path[:, t], action]
    success = path[:, -1] % 16 == 0
  elif shape == "deep":
    path[:, 0] = rng.integers(0, states, rollouts)
    for t in range(HORIZON):
      moved = path[:, t] + rng.integers(-1, 4, rollouts)
      path[:, t + 1] = np.clip(moved, 0, states - 1)
    success = path[:, -1] == states - 1
  else:
    raise ValueError(f'shape must be "wide" or "deep", got {shape!r}')
  return {
    "task": np.zeros(rollouts * HORIZON, np.int64),
    "trajectory": np.repeat(np.arange(rollouts), HORIZON),
    "t": np.tile(np.arange(HORIZON), rollouts),
    "observation": path[:, :-1].ravel(),
    "next_observation": path[:, 1:].ravel(),
    "success": np.repeat(success, HORIZON),
  }


@contextlib.contextmanager
def timed_parts(
  parts: tuple[tuple[Any, str, str], ...] = _PARTS,
) -> Iterator[dict[str, float]]:
  """Adds up the seconds spent in functions of the table code.

  Args:
    parts: module, name of its function, and what to call it.

  Yields:
    dict that fills with seconds by part.
  """
  seconds: dict[str, float] = collections.defaultdict(float)

  def timed(function, part):
    def wrapped(*args, **kwargs):
      started = time.perf_counter()
      try:
        return function(*args, **kwargs)
      finally:
        seconds[part] += time.perf_counter() - started

    return wrapped

  with contextlib.ExitStack() as stack:
    for module, name, part in parts:
      function = getattr(module, name, None)
      if function is not None:
        setattr(module, name, timed(function, part))
        stack.callback(setattr, module, name, function)
    yield seconds


def run_here(rollouts: int, states: int, shape: str) -> dict[str, Any]:
  """Generates, computes and measures in this process.

  Args:
    rollouts: M.
    states: as for `integer_columns`.
    shape: as for `integer_columns`.

  Returns:
    `seconds` of `assign_credit` (its compilation included, as a user waits
    for it), `parts` of them, `peak_gibibytes` (the columns included),
    `columns_gibibytes`, and figures of the task.
  """
  columns = integer_columns(rollouts, states=states, shape=shape)
  before = memory.peak_gibibytes()
  with timed_parts() as parts:
    started = time.perf_counter()
    credit, summary = tables.credit_table(columns)
    seconds = time.perf_counter() - started
  return {
    "shape": shape,
    "steps": summary.steps,
    "states": summary.states,
    "successes": summary.successes,
    "farthest": float(credit["distance"].max()),
    "seconds": seconds,
    "parts": dict(parts),
    "peak_gibibytes": memory.peak_gibibytes(),
    "peak_before_gibibytes": before,
    "columns_gibibytes": sum(each.nbytes for each in columns.values()) / 2**30,
  }


def measure(options: Options) -> dict[str, Any]:
  """Runs each shape of the task in a process of its own.

  Args:
    options: `one_task_rollouts`.

  Returns:
    `tasks`: what `run_here` returns, for each shape.
  """
  rollouts = options.one_task_rollouts
  return {
    "tasks": [
      memory.in_own_process(
        run_here, rollouts, max(int(rollouts * share), 10), shape
      )
      for shape, share in _TASKS
    ]
  }


def table(found: dict[str, Any]) -> str:
  """Seconds and memory of each shape, and the seconds of the parts."""
  parts = list(
    dict.fromkeys(part for task in found["tasks"] for part in task["parts"])
  )
  rows = [["one task", *(task["shape"] for task in found["tasks"])]]

  def add(name, cells):
    rows.append([name, *cells])

  tasks = found["tasks"]
  add("steps", [f"{task['steps']:,}" for task in tasks])
  add("states", [f"{task['states']:,}" for task in tasks])
  add("farthest state, steps", [f"{task['farthest']:.0f}" for task in tasks])
  add("seconds", [f"{task['seconds']:.1f}" for task in tasks])
  for part in parts:
    add(f"  {part}", [f"{task['parts'].get(part, 0):.1f}" for task in tasks])
  add("peak memory, GiB", [f"{task['peak_gibibytes']:.2f}" for task in tasks])
  return (
    bench_machine.table(rows)
    + f"\ngoal at 10 million steps: {GOAL_SECONDS:g} s, {GOAL_GIBIBYTES:g} GiB"
  )
