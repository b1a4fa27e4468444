"""Bad rows in log files: the run stops at them, or goes on without them."""

import json
import random

import pytest

from graphgpo_jax import tables
from graphgpo_jax.tables.logs import credit_file as credit_file_lib
from graphgpo_jax.tables.logs import jsonl_source, records
from tests import log_files, oracle

credit_file = credit_file_lib.credit_file

FORMATS = ["jsonl", pytest.param("parquet", marks=pytest.mark.extra("logs"))]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
  monkeypatch.setattr(jsonl_source, "_BATCH_BYTES", 1500)


@pytest.fixture
def table():
  """Tasks of rollouts of three steps: rows of a rollout by threes."""
  table = oracle.random_table(1, tasks=30, rollouts=6, horizon=3)
  long = {
    key: rows
    for key, rows in oracle.rollouts_of(table).items()
    if len(rows) == 3
  }
  rows = [row for rows in long.values() for row in rows]
  return oracle.reorder(table, rows)


def listed(output):
  lines = output.with_name(output.name + ".errors.jsonl").read_text()
  return [json.loads(line) for line in lines.splitlines()]


def assert_left_out(output, table, bad_rollouts, faults):
  """Output and side file are those of a log without some rollouts."""
  out = {row for rollout in bad_rollouts for row in rollout}
  kept = [row for row in range(len(table["t"])) if row not in out]
  credit = tables.assign_credit(oracle.reorder(table, kept))
  log_files.assert_holds(output, table, credit, kept)
  assert [fault["row"] for fault in faults] == sorted(out)


# What becomes of rows 3, 4 and 5, one rollout, and what is said of row 4.
BAD_VALUES = [
  ("cost", -1.0, "a number of at least 0, got -1.0"),
  ("cost", None, "a finite number, got None"),
  ("reward", float("inf"), "a finite number"),
  ("t", None, "an integer, got None"),
  ("success", None, "a boolean, 0 or 1, got None"),
]


@pytest.mark.parametrize(("name", "value", "reason"), BAD_VALUES)
@pytest.mark.parametrize("before", FORMATS)
@pytest.mark.parametrize("dealt", [False, True])
def test_bad_value(tmp_path, table, name, value, reason, before, dealt):
  order = list(range(len(table["t"])))
  if dealt:
    order = log_files.interleave(table, 2)
  rows = sorted(order.index(row) for row in (3, 4, 5))
  row = order.index(4)
  good = oracle.reorder(table, order)
  bad = good | {name: list(good[name])}
  bad[name][row] = value
  source, output = tmp_path / f"in.{before}", tmp_path / "out"
  log_files.write(source, bad)
  with pytest.raises(ValueError) as caught:
    credit_file(str(source), str(output))
  assert f"column '{name}', row {row}: expected {reason}" in str(caught.value)
  assert ("(row 0 is line 1)" in str(caught.value)) == (before == "jsonl")
  assert list(tmp_path.iterdir()) == [source]
  found = credit_file(
    str(source), str(output), on_error="skip", rows_per_commit=10
  )
  faults = listed(output)
  assert_left_out(output, good, [rows], faults)
  assert found.left_out == 3
  by_row = {fault["row"]: fault for fault in faults}
  assert f"column '{name}': expected {reason}" in by_row[row]["reason"]
  if before == "jsonl":
    assert by_row[row]["line"] == row + 1
  for other in rows:
    if other != row:
      assert f"row {row} of its rollout" in by_row[other]["reason"]


@pytest.mark.parametrize(
  ("name", "row", "value", "told", "reason"),
  [
    ("t", 4, 0, "rows 3 and 4 are the same step", "same step"),
    ("success", 5, None, "column 'success' differs", "'success' differs"),
    (
      "episode_return",
      4,
      77.0,
      "column 'episode_return' differs between rows 3 and 4",
      "'episode_return' differs",
    ),
    (
      "next_observation",
      3,
      "elsewhere",
      "first to equal observation of the second, got 'elsewhere' and 'task",
      "rows 3 and 4 of its rollout do not chain",
    ),
  ],
)
@pytest.mark.parametrize("before", FORMATS)
def test_rows_that_are_no_rollout(
  tmp_path, table, name, row, value, told, reason, before
):
  bad = table | {name: list(table[name])}
  bad[name][row] = (not table[name][row]) if value is None else value
  source, output = tmp_path / f"in.{before}", tmp_path / "out"
  log_files.write(source, bad)
  with pytest.raises(ValueError) as caught:
    credit_file(str(source), str(output))
  assert told in str(caught.value)
  assert f"trajectory {table['trajectory'][4]}" in str(caught.value)
  # As a table in memory says it.
  with pytest.raises(ValueError) as expected:
    tables.assign_credit(bad)
  assert str(caught.value).endswith(str(expected.value))
  credit_file(str(source), str(output), on_error="skip", rows_per_commit=10)
  faults = listed(output)
  assert_left_out(output, table, [(3, 4, 5)], faults)
  assert all(reason in fault["reason"] for fault in faults)


def test_interleaved_rollouts_are_not_taken_for_broken_ones(tmp_path, table):
  # The first commit's worth of rows lacks steps that come later.
  order = [*range(0, len(table["t"]), 2), *range(1, len(table["t"]), 2)]
  mixed = oracle.reorder(table, order)
  log_files.write(tmp_path / "in", mixed)
  for on_error in ("stop", "skip"):
    found = credit_file(
      str(tmp_path / "in"),
      str(tmp_path / "out"),
      on_error=on_error,
      rows_per_commit=5,
    )
    assert found.left_out == 0
    log_files.assert_holds(tmp_path / "out", mixed, tables.assign_credit(mixed))
  assert listed(tmp_path / "out") == []


@pytest.mark.parametrize(
  ("line", "reason"),
  [
    (b'{"task": "a", "traj', "expected a complete JSON object"),
    (b"[1, 2]", "expected a JSON object, got list"),
    (b"3", "expected a JSON object, got int"),
    (b"", "got a blank line"),
    (b'{"task": "a"}', "lacks the column 'trajectory'"),
    (b"\xff", "expected a complete JSON object"),
  ],
)
@pytest.mark.parametrize("rows_per_commit", [1, 1000])
def test_unreadable_line(tmp_path, table, line, reason, rows_per_commit):
  """The last line of a rollout: nobody can tell whose step it was."""
  source, output = tmp_path / "in", tmp_path / "out"
  log_files.write(source, table)
  lines = source.read_bytes().splitlines()
  lines[5] = line
  source.write_bytes(b"\n".join(lines))
  with pytest.raises(ValueError, match=f"line 6: .*{reason}"):
    credit_file(str(source), str(output))
  credit_file(
    str(source),
    str(output),
    on_error="skip",
    rows_per_commit=rows_per_commit,
  )
  faults = listed(output)
  assert_left_out(output, table, [(3, 4, 5), (6, 7, 8)], faults)
  assert reason in faults[2]["reason"]
  for fault in (*faults[:2], *faults[3:]):
    assert fault["reason"].startswith("row 5, which names no rollout")


def test_line_without_one_column_takes_its_own_rollout_only(tmp_path, table):
  source, output = tmp_path / "in", tmp_path / "out"
  log_files.write(source, table)
  steps = [json.loads(line) for line in source.read_text().splitlines()]
  del steps[4]["cost"]
  steps[13]["extra"] = 1
  source.write_text("\n".join(map(json.dumps, steps)))
  credit_file(str(source), str(output), on_error="skip")
  assert_left_out(output, table, [(3, 4, 5)], listed(output))


def test_file_cut_off_in_a_line(tmp_path, table):
  source, output = tmp_path / "in", tmp_path / "out"
  log_files.write(source, table)
  source.write_bytes(source.read_bytes()[:-30])
  number = len(table["t"])
  with pytest.raises(ValueError, match=f"line {number}: .*complete JSON"):
    credit_file(str(source), str(output))
  credit_file(str(source), str(output), on_error="skip")
  rollout = range(number - 3, number)
  assert_left_out(output, table, [rollout], listed(output))


@pytest.mark.parametrize("dealt", [False, True])
def test_many_bad_rows_and_any_cut(tmp_path, table, dealt):
  draw = random.Random(3)
  if dealt:
    table = oracle.reorder(table, log_files.interleave(table, 1))
  source = tmp_path / "in"
  log_files.write(source, table)
  lines = source.read_bytes().splitlines(keepends=True)
  for row in draw.sample(range(len(lines)), 8):
    lines[row] = draw.choice(
      [b"?\n", b"\n", lines[row].replace(b'"cost": ', b'"cost": -')]
    )
  source.write_bytes(b"".join(lines))
  results = set()
  for rows_per_commit in (1, 7, 1000):
    output = tmp_path / "out"
    found = credit_file(
      str(source),
      str(output),
      on_error="skip",
      rows_per_commit=rows_per_commit,
    )
    faults = listed(output)
    written = len(log_files.read(output)["t"])
    assert found.left_out == len(faults) >= 8
    assert found.table.steps == written == len(lines) - len(faults)
    assert [f["row"] for f in faults] == sorted({f["row"] for f in faults})
    results.add((output.read_bytes(), json.dumps(faults)))
  assert len(results) == 1


@pytest.mark.parametrize("before", FORMATS)
@pytest.mark.parametrize("after", FORMATS)
def test_nothing_is_left(tmp_path, table, before, after):
  table["cost"] = [-1.0] * len(table["t"])
  source, output = tmp_path / f"in.{before}", tmp_path / f"out.{after}"
  log_files.write(source, table)
  found = credit_file(str(source), str(output), on_error="skip")
  assert found.table.steps == 0
  assert found.left_out == len(listed(output)) == len(table["t"])
  assert not any(log_files.read(output).values())


@pytest.mark.extra("logs")
def test_parquet_files_that_are_none(tmp_path, table):
  source, output = tmp_path / "in.parquet", tmp_path / "out"

  def refuse(part):
    with pytest.raises(ValueError, match=part):
      credit_file(str(source), str(output), on_error="skip")
    assert list(tmp_path.iterdir()) == [source]

  log_files.write(source, table)
  whole = source.read_bytes()
  source.write_bytes(whole[:-200])
  refuse("in.parquet: expected a complete Parquet file")
  source.write_bytes(whole[:100] + bytes(4000) + whole[4100:])
  refuse("in.parquet: expected a complete Parquet file")
  source.write_bytes(b"")
  refuse("in.parquet: expected a complete Parquet file")
  log_files.write(source, {n: c for n, c in table.items() if n != "t"})
  refuse("in.parquet: lacks the column 't': expected task, trajectory")
  log_files.write(source, {name: column[:0] for name, column in table.items()})
  refuse("in.parquet: the table is empty")


@pytest.mark.extra("logs")
def test_parquet_has_one_type_per_column(tmp_path, table):
  table["task"][-1] = 3
  log_files.write(tmp_path / "in", table)
  with pytest.raises(ValueError, match="column 'task': .*JSON lines instead"):
    credit_file(str(tmp_path / "in"), str(tmp_path / "out.parquet"))
  credit_file(str(tmp_path / "in"), str(tmp_path / "out"))


@pytest.mark.parametrize(
  ("name", "value"), [("on_error", "ignore"), ("rows_per_commit", 0)]
)
def test_bad_argument(tmp_path, table, name, value):
  log_files.write(tmp_path / "in", table)
  with pytest.raises(ValueError, match=f"{name}: expected"):
    credit_file(str(tmp_path / "in"), str(tmp_path / "out"), **{name: value})


def test_marks_do_not_depend_on_batches(tmp_path, table):
  """Where unreadable rows meet the borders of batches."""
  log_files.write(tmp_path / "in", table)
  lines = (tmp_path / "in").read_bytes().splitlines()
  for row in (0, 5, 6, 7, 17, len(lines) - 1):
    lines[row] = b"?"
  (tmp_path / "in").write_bytes(b"\n".join(lines))
  source = jsonl_source.JsonlSource(str(tmp_path / "in"))

  def marks(size):
    maker = records.RecordMaker(source.optional, stop=False)
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(jsonl_source, "_BATCH_BYTES", size)
      batches = source.batches(jsonl_source.Position())
      return [row for batch in batches for row in maker.make(batch)[0].tolist()]

  assert marks(1) == marks(700) == marks(10**6)
