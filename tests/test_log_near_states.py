"""Near-equal states of logs in files against those of tables in memory."""

import pytest

from graphgpo_jax import tables
from graphgpo_jax.tables.logs import credit_file as credit_file_lib
from graphgpo_jax.tables.logs import jsonl_source
from tests import log_files, oracle
from tests.rooms import by_rooms, walks

credit_file = credit_file_lib.credit_file
SIMILARITY = 0.85
KEYS = ("task", "trajectory", "t", "observation", "next_observation", "success")

PARQUET = pytest.param("parquet", marks=pytest.mark.extra("logs"))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
  monkeypatch.setattr(jsonl_source, "_BATCH_BYTES", 2000)


def table_of(seed=0):
  """A table whose tasks are each in one piece."""
  table = {name: walks(seed)[name] for name in KEYS}
  rows = sorted(range(len(table["t"])), key=lambda row: table["task"][row])
  return oracle.reorder(table, rows)


@pytest.mark.parametrize("kind", ["jsonl", PARQUET])
@pytest.mark.parametrize("rows_per_commit", [1, 10**6])
def test_equals_the_table_in_memory(tmp_path, kind, rows_per_commit):
  table = table_of()
  source, output = tmp_path / f"in.{kind}", tmp_path / f"out.{kind}"
  log_files.write(source, table)
  found = credit_file(
    str(source),
    str(output),
    rows_per_commit=rows_per_commit,
    state_similarity=SIMILARITY,
  )
  credit, summary = tables.credit_table(table, state_similarity=SIMILARITY)
  log_files.assert_holds(output, table, credit)
  assert found.table == summary
  _, apart = tables.credit_table(table)
  assert summary.states < apart.states


def test_rollouts_left_out_take_no_part(tmp_path):
  table = table_of()
  source, output = tmp_path / "in", tmp_path / "out"
  broken = {**table, "success": list(table["success"])}
  broken["success"][3] = "perhaps"
  log_files.write(source, broken)
  found = credit_file(
    str(source), str(output), on_error="skip", state_similarity=SIMILARITY
  )
  bad = table["task"][3], table["trajectory"][3]
  rows = [
    row
    for row, ids in enumerate(
      zip(table["task"], table["trajectory"], strict=True)
    )
    if ids != bad
  ]
  credit = tables.assign_credit(
    oracle.reorder(table, rows), state_similarity=SIMILARITY
  )
  log_files.assert_holds(output, table, credit, rows)
  assert found.left_out == len(table["t"]) - len(rows) > 0


def test_interleaved_logs_are_refused_and_leave_nothing(tmp_path):
  table = walks(0)
  assert table["task"][0] != table["task"][6]
  source, output = tmp_path / "in", tmp_path / "out"
  log_files.write(source, {name: table[name] for name in KEYS})
  with pytest.raises(ValueError, match="state_similarity expects each task's"):
    credit_file(
      str(source), str(output), rows_per_commit=1, state_similarity=SIMILARITY
    )
  assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("column", ["observation", "next_observation"])
def test_what_is_no_text_is_named(tmp_path, column):
  table = table_of()
  ends = [
    row
    for row in range(len(table["t"]))
    if table["t"][row] == 5 and not table["success"][row]
  ]
  row = ends[1] if column == "next_observation" else 0
  table[column][row] = 7
  source, output = tmp_path / "in", tmp_path / "out"
  log_files.write(source, table)
  with pytest.raises(
    ValueError, match=rf"column '{column}', row {row}: expected text.*got int"
  ):
    credit_file(str(source), str(output), state_similarity=SIMILARITY)
  assert list(tmp_path.iterdir()) == [source]


def test_another_similarity_is_another_run(tmp_path, monkeypatch):
  table = table_of()
  source, output = tmp_path / "in", tmp_path / "out"
  log_files.write(source, table)
  options = {"rows_per_commit": 1, "state_similarity": SIMILARITY}
  with monkeypatch.context() as patch:
    patch.setattr(
      credit_file_lib, "_publish", lambda *_: (_ for _ in ()).throw(OSError())
    )
    with pytest.raises(OSError):
      credit_file(str(source), str(output), **options)
  with pytest.raises(ValueError, match="near-equal states"):
    credit_file(str(source), str(output), rows_per_commit=1)
  credit_file(str(source), str(output), **options)
  credit = tables.assign_credit(table, state_similarity=SIMILARITY)
  log_files.assert_holds(output, table, credit)


def test_states_by_rooms_are_those_of_the_similar_texts(tmp_path):
  table = table_of(3)
  source, output = tmp_path / "in", tmp_path / "out"
  log_files.write(source, table)
  found = credit_file(str(source), str(output), state_similarity=SIMILARITY)
  _, rooms = tables.credit_table(by_rooms(walks(3)))
  assert found.table.states == rooms.states
