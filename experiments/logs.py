"""Logs of made-up rollouts of any size, for tests and measurements.

A task is a small graph of states with three ways out of each; its rollouts
walk over it at random, so that they share states, and some end in success.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphgpo_jax.tables import arrow_columns, jsonl
from graphgpo_jax.tables.logs import credit_file

SHORTEST_TEXT = 32

# Rows that are made at once.
_CHUNK_ROWS = 2**16
_WAYS_OUT = 3
# How many times a task comes back in a shuffled log.
_PASSES = 4
_WORD = 8


def write_log(
  path: str,
  *,
  tasks: int,
  rollouts: int,
  steps: int,
  text_length: int = 200,
  states: int = 40,
  seed: int = 0,
  shuffle: bool = False,
) -> None:
  """Writes a log of tasks * rollouts * steps rows, in bounded memory.

  Columns: task (text), trajectory, t, observation, next_observation (text),
  success and action_valid.

  Args:
    path: the file; Parquet if its name ends in .parquet, else JSON lines.
    tasks: tasks.
    rollouts: rollouts of each task.
    steps: steps of each rollout.
    text_length: letters of an observation, at least SHORTEST_TEXT.
    states: states of each task, fewer than 10,000.
    seed: one log for each.
    shuffle: spread a task's rollouts over the file, and mix rows; else rows
      are in the order of task, trajectory and t.

  Raises:
    ValueError: a number is out of range.
    ImportError: pyarrow is not installed.
  """
  for name, value, least in (
    ("tasks", tasks, 1),
    ("rollouts", rollouts, 1),
    ("steps", steps, 1),
    ("text_length", text_length, SHORTEST_TEXT),
    ("states", states, 1),
  ):
    if value < least:
      raise ValueError(f"{name}: expected at least {least}, got {value}")
  if states >= 10_000:
    raise ValueError(f"states: expected fewer than 10,000, got {states}")
  pyarrow = arrow_columns.require_pyarrow()
  from pyarrow import parquet

  chunks = _chunks(
    pyarrow, tasks, rollouts, steps, text_length, states, seed, shuffle
  )
  if not credit_file.is_parquet(path):
    with open(path, "wb") as file:
      for chunk in chunks:
        file.write(jsonl.row_lines(chunk.to_pydict()))
    return
  first = next(chunks)
  with parquet.ParquetWriter(path, first.schema) as file:
    file.write_table(first)
    for chunk in chunks:
      file.write_table(chunk)


def _chunks(
  pyarrow: Any,
  tasks: int,
  rollouts: int,
  steps: int,
  text_length: int,
  states: int,
  seed: int,
  shuffle: bool,
) -> Iterator[Any]:
  """Tables of pyarrow, of some tasks each."""
  size = max(_CHUNK_ROWS // (rollouts * steps), 1)
  passes = _PASSES if shuffle else 1
  for turn in range(passes):
    for first in range(0, tasks, size):
      # Each turn makes the same rows again and takes its share of them.
      draw = np.random.default_rng([seed, first])
      number = np.arange(first, min(first + size, tasks))
      ways = draw.integers(states, size=(len(number), states, _WAYS_OUT))
      walk = np.zeros((len(number), rollouts, steps + 1), np.int64)
      task = np.arange(len(number))[:, None]
      choices = draw.integers(_WAYS_OUT, size=(steps, len(number), rollouts))
      for step, choice in enumerate(choices):
        walk[:, :, step + 1] = ways[task, walk[:, :, step], choice]
      texts = _texts(pyarrow, number, states, text_length, draw)
      # Every third state is a goal.
      success = np.repeat(walk[:, :, -1:] % 3 == 0, steps, axis=2)
      valid = draw.random(success.shape) < 0.9
      task, rollout, t = (axis.ravel() for axis in np.indices(success.shape))
      rows = np.flatnonzero(rollout % passes == turn)
      if shuffle:
        rows = draw.permutation(rows)
      if not len(rows):
        continue
      here, there = (
        (task * states + walk[:, :, side : side + steps].ravel())[rows]
        for side in (0, 1)
      )
      names = pyarrow.array([f"task {index:07d}" for index in number])
      yield pyarrow.table(
        {
          "task": names.take(pyarrow.array(task[rows])),
          "trajectory": rollout[rows],
          "t": t[rows],
          "observation": texts.take(pyarrow.array(here)),
          "next_observation": texts.take(pyarrow.array(there)),
          "success": success.ravel()[rows],
          "action_valid": valid.ravel()[rows],
        }
      )


def _texts(
  pyarrow: Any,
  tasks: np.ndarray,
  states: int,
  length: int,
  draw: np.random.Generator,
) -> Any:
  """An array of a text for each state of each task."""
  words = draw.integers(ord("a"), ord("z") + 1, (64, _WORD)).astype(np.uint8)
  words[:, -1] = ord(" ")
  count = len(tasks) * states
  picked = draw.integers(len(words), size=(count, -(-length // _WORD)))
  letters = words[picked].reshape(count, -1)[:, :length]
  name = np.frombuffer(b"task 0000000, state 0000: ", np.uint8)
  letters[:, : len(name)] = name
  places = [*range(5, 12), *range(20, 24)]
  number = np.repeat(tasks, states) * 10_000 + np.tile(
    np.arange(states), len(tasks)
  )
  for place in reversed(places):
    letters[:, place] = ord("0") + number % 10
    number = number // 10
  offsets = np.arange(count + 1, dtype=np.int64) * length
  return pyarrow.LargeStringArray.from_buffers(
    count,
    pyarrow.py_buffer(offsets),
    pyarrow.py_buffer(np.ascontiguousarray(letters)),
  ).cast(pyarrow.string())
