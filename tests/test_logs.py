"""Credit from file to file: what `assign_credit` returns, in any order."""

import random

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from graphgpo_jax import tables
from graphgpo_jax.credit import estimators
from graphgpo_jax.tables.logs import credit_file as credit_file_lib
from graphgpo_jax.tables.logs import jsonl_source, records, spill
from tests import log_files, oracle

credit_file = credit_file_lib.credit_file

PARQUET = pytest.param("parquet", marks=pytest.mark.extra("logs"))
FORMATS = ["jsonl", PARQUET]
# Estimators that see all there is to see of a log: the others are slow tests.
FEW = ("gigpo", "grpo", "rloo", "hgpo", "salt")


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
  """Batches of a few rows, so that everything happens in small files."""
  monkeypatch.setattr(jsonl_source, "_BATCH_BYTES", 2000)
  monkeypatch.setattr(spill, "_BUCKET_ROWS", 32)


def table_of(seed, order, **sizes):
  """A table in the order of its tasks, with them dealt out, or mixed up."""
  table = oracle.random_table(seed, **({"tasks": 12} | sizes))
  rows = list(range(len(table["t"])))
  if order == "dealt out":
    rows = log_files.interleave(table, 2)
  if order == "mixed":
    random.Random(seed).shuffle(rows)
  return oracle.reorder(table, rows)


@pytest.mark.parametrize("order", ["in order", "dealt out", "mixed"])
@pytest.mark.parametrize("rows_per_commit", [1, 30, 10**6])
@pytest.mark.parametrize("before", FORMATS)
@pytest.mark.parametrize("after", FORMATS)
def test_equals_assign_credit(tmp_path, order, rows_per_commit, before, after):
  table = table_of(1, order)
  source, output = tmp_path / f"in.{before}", tmp_path / f"out.{after}"
  log_files.write(source, table)
  found = credit_file(
    str(source), str(output), rows_per_commit=rows_per_commit, omega=0.5
  )
  credit, summary = tables.credit_table(table, omega=0.5)
  log_files.assert_holds(output, table, credit)
  assert found == credit_file_lib.FileSummary(summary, 0, None)
  assert sorted(tmp_path.iterdir()) == sorted([source, output])


OTHERS = [
  pytest.param(name, marks=[] if name in FEW else pytest.mark.slow)
  for name in estimators.ESTIMATORS
  if name != "graphgpo"
]


@pytest.mark.parametrize("estimator", OTHERS)
@pytest.mark.parametrize("optional", [False, True])
def test_other_estimators(tmp_path, estimator, optional):
  table = table_of(2, "dealt out", optional=optional)
  source, output = tmp_path / "in", tmp_path / "out"
  log_files.write(source, table)
  credit_file(str(source), str(output), estimator, rows_per_commit=20)
  credit = tables.assign_credit(table, estimator)
  log_files.assert_holds(output, table, credit)


@pytest.mark.parametrize("order", ["in order", "dealt out", "mixed"])
@pytest.mark.parametrize("before", FORMATS)
@pytest.mark.parametrize("kind", [str, lambda name: name + 7 * "é", ord])
def test_actions(tmp_path, order, before, kind):
  table = table_of(7, order, states=2)
  table["action"] = [kind(name) for name in table["action"]]
  source, output = tmp_path / f"in.{before}", tmp_path / "out"
  log_files.write(source, table)
  credit_file(str(source), str(output), "salt", rows_per_commit=20)
  credit = tables.assign_credit(table, "salt")
  log_files.assert_holds(output, table, credit)
  alike = tables.assign_credit(
    table | {"action": ["a"] * len(table["t"])}, "salt"
  )
  assert (alike["advantage"] != credit["advantage"]).any()


def test_records_hold_actions_only_where_they_are_read():
  assert "action" not in records.record_type(("cost", "reward")).names
  assert records.record_type(("cost",)).itemsize == 64
  assert records.record_type(("cost", "action")).itemsize == 72


def test_rows_that_name_no_rollout_beside_actions(tmp_path):
  """Marks between records are of the records' own kind."""
  table = table_of(8, "in order")
  table["trajectory"][5] = None
  log_files.write(tmp_path / "in", table)
  found = credit_file(
    str(tmp_path / "in"), str(tmp_path / "out"), "salt", on_error="skip"
  )
  assert found.left_out > 1
  assert len(log_files.read(tmp_path / "out")["t"]) == (
    len(table["t"]) - found.left_out
  )


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(
  seed=st.integers(0, 2**32),
  order=st.sampled_from(["in order", "dealt out", "mixed"]),
  rows_per_commit=st.integers(1, 80),
)
def test_any_table_and_any_cut(tmp_path_factory, seed, order, rows_per_commit):
  folder = tmp_path_factory.mktemp("any")
  draw = random.Random(seed)
  table = table_of(
    seed, order, tasks=draw.randint(1, 9), rollouts=draw.choice([1, 4, 9])
  )
  log_files.write(folder / "in", table)
  credit_file(
    str(folder / "in"),
    str(folder / "out"),
    rows_per_commit=rows_per_commit,
    omega=0.5,
  )
  credit = tables.assign_credit(table, omega=0.5)
  log_files.assert_holds(folder / "out", table, credit)


def test_what_is_computed_together_does_not_matter():
  # Groups of all size classes, in sums where the order of terms would show.
  draw = random.Random(0)
  parts = []
  for number, rollouts in enumerate([1, 3, 40, 2, 150, 5]):
    part = oracle.random_table(number, tasks=1, rollouts=rollouts, horizon=9)
    part["task"] = [number] * len(part["t"])
    part["cost"] = [draw.random() for _ in part["t"]]
    part["reward"] = [draw.random() for _ in part["t"]]
    parts.append(part)
  joined = {
    name: [value for part in parts for value in part[name]] for name in parts[0]
  }
  for estimator in ("graphgpo", "gigpo"):
    alone = [tables.assign_credit(part, estimator) for part in parts]
    for order in (
      list(range(len(joined["t"]))),
      log_files.interleave(joined, 3),
    ):
      together = tables.assign_credit(oracle.reorder(joined, order), estimator)
      for name, column in together.items():
        expected = np.concatenate([credit[name] for credit in alone])
        assert column.tobytes() == expected[order].tobytes()


def test_a_task_that_comes_back_at_the_very_end(tmp_path):
  table = table_of(3, "in order")
  last = len(table["t"]) - 1
  table = oracle.reorder(table, [*range(1, last + 1), 0])
  log_files.write(tmp_path / "in", table)
  credit_file(str(tmp_path / "in"), str(tmp_path / "out"), rows_per_commit=10)
  log_files.assert_holds(tmp_path / "out", table, tables.assign_credit(table))


def test_ids_that_python_calls_equal_are_one(tmp_path):
  table = oracle.random_table(4, tasks=2, rollouts=3)
  names = {"task 0": [1, 1.0, True], "task 1": ["1", "1", "1"]}
  table["task"] = [
    names[task][row % 3] for row, task in enumerate(table["task"])
  ]
  log_files.write(tmp_path / "in", table)
  found = credit_file(str(tmp_path / "in"), str(tmp_path / "out"))
  assert found.table.tasks == 2
  log_files.assert_holds(tmp_path / "out", table, tables.assign_credit(table))


def test_nested_observations_and_odd_texts(tmp_path):
  table = table_of(5, "dealt out")
  for name in ("observation", "next_observation"):
    table[name] = [{"at": [text, None, 1.5]} for text in table[name]]
  table["task"] = [f"{task} ü % \ud83d" for task in table["task"]]
  log_files.write(tmp_path / "in", table)
  credit_file(str(tmp_path / "in"), str(tmp_path / "out"), rows_per_commit=9)
  log_files.assert_holds(tmp_path / "out", table, tables.assign_credit(table))


def test_blank_lines_at_the_end(tmp_path):
  table = table_of(6, "in order")
  log_files.write(tmp_path / "in", table)
  with open(tmp_path / "in", "ab") as file:
    file.write(b"\n" * 5000)
  found = credit_file(str(tmp_path / "in"), str(tmp_path / "out"))
  assert found.table.steps == len(table["t"])


@pytest.mark.extra("logs")
def test_types_of_parquet_columns(tmp_path):
  import pyarrow
  from pyarrow import parquet

  table = table_of(7, "dealt out")
  ends = [
    row
    for row, won in enumerate(table["success"])
    if won and row in [rows[-1] for rows in oracle.rollouts_of(table).values()]
  ]
  for row in ends:
    table["next_observation"][row] = None
  expected = tables.assign_credit(table)
  columns = {name: pyarrow.array(column) for name, column in table.items()}
  text = {
    "plain": lambda array: array,
    "dictionary": lambda array: array.dictionary_encode(),
    "large": lambda array: array.cast(pyarrow.large_string()),
  }
  for form, change in text.items():
    given = {
      name: change(array) if array.type == pyarrow.string() else array
      for name, array in columns.items()
    }
    source, output = tmp_path / "in.parquet", tmp_path / f"{form}.parquet"
    parquet.write_table(pyarrow.table(given), source, row_group_size=20)
    credit_file(str(source), str(output), rows_per_commit=30)
    log_files.assert_holds(output, table, expected)
  source = tmp_path / "nested.parquet"
  nested = columns | {
    name: pyarrow.array([text and {"text": [text]} for text in table[name]])
    for name in ("observation", "next_observation")
  }
  parquet.write_table(pyarrow.table(nested), source)
  credit_file(str(source), str(output), rows_per_commit=30)
  log_files.assert_holds(output, table, expected)


@pytest.mark.extra("logs")
def test_rows_of_very_different_length(tmp_path, monkeypatch):
  from graphgpo_jax.tables.logs import parquet_source

  monkeypatch.setattr(parquet_source, "_FIRST_ROWS", 4)
  monkeypatch.setattr(parquet_source, "_BATCH_BYTES", 2000)
  table = table_of(8, "in order", tasks=30)
  for name in ("observation", "next_observation"):
    table[name] = [
      text + "x" * (900 if "task 11" in text else 0) for text in table[name]
    ]
  source, output = tmp_path / "in.parquet", tmp_path / "out.parquet"
  log_files.write(source, table)
  credit_file(str(source), str(output), rows_per_commit=30)
  log_files.assert_holds(output, table, tables.assign_credit(table))
