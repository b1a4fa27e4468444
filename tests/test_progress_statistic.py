"""The progress statistic of a log: as a function and as a command."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from collections import defaultdict

import pytest

import graphgpo_jax
from tests import log_files, oracle


def plain_statistic(table, only_with_success=False):
  """Counts in plain Python, from the definition."""
  tasks = defaultdict(list)
  for (task, _), rows in oracle.rollouts_of(table).items():
    tasks[task].append(rows)
  counts = defaultdict(int)
  costs = table.get("cost", [1.0] * len(table["t"]))
  for rollouts in tasks.values():
    rows = [row for rollout in rollouts for row in rollout]
    target = {row: table["next_observation"][row] for row in rows}
    for rollout in rollouts:
      if table["success"][rollout[-1]]:
        target[rollout[-1]] = oracle.SUCCESS
    best = oracle.shortest_distances(
      [(table["observation"][row], target[row], costs[row]) for row in rows]
    )
    succeeds = any(table["success"][row] for row in rows)
    counts["tasks"] += 1
    counts["steps"] += len(rows)
    if not succeeds:
      counts["tasks_without_success"] += 1
      counts["steps_without_success"] += len(rows)
      if only_with_success:
        continue
    for row in rows:
      kind = "successful" if table["success"][row] else "failed"
      counts[f"{kind}_steps"] += 1
      counts[f"{kind}_progress"] += (
        target[row] in best
        and best[target[row]] < best[table["observation"][row]]
      )
  if counts["failed_steps"]:
    counts["failed_progress_share"] = (
      counts["failed_progress"] / counts["failed_steps"]
    )
  if counts["successful_steps"]:
    counts["successful_idle_share"] = (
      1 - counts["successful_progress"] / counts["successful_steps"]
    )
  return counts


def assert_equal(found, counts):
  for field in dataclasses.fields(found):
    value = getattr(found, field.name)
    if field.name.endswith("_share"):
      expected = counts.get(field.name)
      assert value == (None if expected is None else pytest.approx(expected))
    else:
      assert value == counts[field.name], field.name


@pytest.mark.parametrize("only_with_success", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_plain_count(seed, only_with_success):
  table = oracle.random_table(seed, tasks=6)
  found = graphgpo_jax.progress_statistic(
    table, only_with_success=only_with_success
  )
  assert_equal(found, plain_statistic(table, only_with_success))


def test_order_of_rows_and_one_time_columns():
  table = oracle.random_table(1, tasks=5, optional=False)
  expected = graphgpo_jax.progress_statistic(table)
  order = sorted(range(len(table["t"])), key=lambda row: (row * 7) % 11)
  assert (
    graphgpo_jax.progress_statistic(oracle.reorder(table, order)) == expected
  )
  assert (
    graphgpo_jax.progress_statistic(
      {name: iter(column) for name, column in table.items()}
    )
    == expected
  )


def tea(success):
  """The README's rollouts: one step in three of the failure is progress."""
  return {
    "task": ["tea"] * 5,
    "trajectory": [0, 0, 1, 1, 1],
    "t": [0, 1, 0, 1, 2],
    "observation": ["hall", "kitchen", "hall", "cellar", "hall"],
    "next_observation": ["kitchen", "cup", "cellar", "hall", "kitchen"],
    "success": [success, success, False, False, False],
  }


def test_hand_counted():
  found = graphgpo_jax.progress_statistic(tea(True))
  # From the cellar to the hall, and from the hall to the kitchen.
  assert found.failed_progress_share == pytest.approx(2 / 3)
  assert found.successful_idle_share == 0.0
  assert (found.successful_steps, found.successful_progress) == (2, 2)


def test_without_success_nothing_is_progress():
  found = graphgpo_jax.progress_statistic(tea(False))
  assert found.failed_progress_share == 0.0
  assert found.successful_idle_share is None
  assert (found.tasks_without_success, found.steps_without_success) == (1, 5)
  alone = graphgpo_jax.progress_statistic(tea(False), only_with_success=True)
  assert alone.failed_progress_share is None
  assert alone.failed_steps == 0


def test_similar_texts_are_one_state():
  table = tea(True)
  clocked = [
    f"{text}, a room of the old house by the sea. It is {row}:00"
    for row, text in enumerate(table["observation"])
  ]
  table["observation"] = clocked
  table["next_observation"] = [
    clocked[1], "cup", clocked[3], clocked[4],
    "kitchen, a room of the old house by the sea. It is 9:00",
  ]  # fmt: skip
  apart = graphgpo_jax.progress_statistic(table)
  merged = graphgpo_jax.progress_statistic(table, state_similarity=0.75)
  assert apart.failed_progress == 0
  assert merged.failed_progress == 2


def test_bad_table_is_refused():
  table = tea(True)
  del table["success"]
  with pytest.raises(ValueError, match="lacks the column 'success'"):
    graphgpo_jax.progress_statistic(table)
  with pytest.raises(ValueError, match="steps must be a mapping"):
    graphgpo_jax.progress_statistic([1])


def run(*arguments):
  """Exit status, output and error text of the command."""
  # A process of its own: binaries define flags of one name.
  done = subprocess.run(
    [
      sys.executable,
      "-m",
      "experiments.progress_statistic",
      *map(str, arguments),
    ],
    cwd=pathlib.Path(__file__).parent.parent,
    env=dict(os.environ, JAX_PLATFORMS="cpu"),
    capture_output=True,
    text=True,
  )
  return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
  "name",
  [
    "steps.jsonl",
    pytest.param("steps.parquet", marks=pytest.mark.extra("logs")),
  ],
)
def test_command_prints_and_writes(tmp_path, name):
  table = oracle.random_table(3, tasks=5)
  log_files.write(tmp_path / name, table)
  output = tmp_path / "progress.json"
  status, text, errors = run(
    f"--rollouts={tmp_path / name}",
    f"--output={output}",
    "--only_with_success",
  )
  assert (status, errors) == (0, "")
  assert output.read_text() == text
  expected = graphgpo_jax.progress_statistic(table, only_with_success=True)
  assert json.loads(text) == dataclasses.asdict(expected)


def test_command_says_what_is_wrong(tmp_path):
  path = tmp_path / "steps.jsonl"
  log_files.write(path, tea(True))
  path.write_text(path.read_text() + '{"task": "tea"}\n')
  output = tmp_path / "progress.json"
  status, text, errors = run(f"--rollouts={path}", f"--output={output}")
  assert (status, text) == (1, "")
  assert errors.count("\n") == 1
  assert errors.startswith("error: ")
  assert "line 6: lacks the column 'trajectory'" in errors
  assert not output.exists()
