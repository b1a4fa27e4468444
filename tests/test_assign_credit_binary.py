"""python -m experiments.assign_credit: files in, files out, clear errors."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import assign_credit as binary
from graphgpo_jax import tables
from graphgpo_jax.tables import jsonl
from graphgpo_jax.tables.logs import jsonl_source
from tests import log_files, oracle


@pytest.fixture
def rollouts(tmp_path):
  path = tmp_path / "steps.jsonl"
  write(path, oracle.random_table(1))
  return path


def write(path, table):
  lines = [
    json.dumps(dict(zip(table, row, strict=True)))
    for row in zip(*table.values(), strict=True)
  ]
  path.write_text("\n".join(lines) + "\n")


def run(capsys, *arguments):
  """Runs main in this process: exit status, output and error text."""
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()
  with flagsaver.flagsaver():
    flags.FLAGS(["assign_credit", *map(str, arguments)])
    status = binary.main(["assign_credit"])
  return status, *capsys.readouterr()


def test_writes_what_assign_credit_returns(rollouts, tmp_path, capsys):
  output = tmp_path / "credit.jsonl"
  status, text, errors = run(
    capsys,
    f"--rollouts={rollouts}",
    f"--output={output}",
    "--estimator=graphgpo",
    "--omega=0.5",
    "--step_weight=2",
    "--nonormalize_distance",
  )
  assert (status, errors) == (0, "")
  assert text.count("\n") == 1
  table = oracle.random_table(1)
  number = len(table["t"])
  assert f"{number} steps of " in text
  assert "of 3 tasks" in text
  assert "states" in text
  expected, _ = tables.credit_table(table, omega=0.5, step_weight=2.0)
  lines = [json.loads(line) for line in output.read_text().splitlines()]
  assert len(lines) == number
  assert list(lines[0]) == ["task", "trajectory", "t", *expected]
  for name in ("task", "trajectory", "t"):
    assert [line[name] for line in lines] == table[name]
  for name, column in expected.items():
    found = np.asarray([line[name] for line in lines], np.float32)
    np.testing.assert_array_equal(found, column)
  assert sorted(tmp_path.iterdir()) == [output, rollouts]


def test_options_of_other_estimators_are_flags(rollouts, tmp_path, capsys):
  output = tmp_path / "credit.jsonl"
  status, _, errors = run(
    capsys,
    f"--rollouts={rollouts}",
    f"--output={output}",
    "--estimator=hgpo",
    "--history_length=1",
    "--episode_base",
    "--history_alpha=0.5",
  )
  assert (status, errors) == (0, "")
  expected = tables.assign_credit(
    oracle.random_table(1),
    "hgpo",
    history_length=1,
    episode_base=True,
    history_alpha=0.5,
  )["advantage"]
  lines = [json.loads(line) for line in output.read_text().splitlines()]
  found = np.asarray([line["advantage"] for line in lines], np.float32)
  np.testing.assert_array_equal(found, expected)
  assert np.count_nonzero(found)


def test_runs_as_a_command(rollouts, tmp_path):
  command = [sys.executable, "-m", "experiments.assign_credit"]
  root = pathlib.Path(__file__).parent.parent
  arguments = [f"--rollouts={rollouts}", f"--output={tmp_path / 'out'}"]
  good = subprocess.run(
    [*command, *arguments, "--estimator=grpo"],
    capture_output=True,
    text=True,
    cwd=root,
  )
  assert good.returncode == 0, good.stderr
  assert "steps of" in good.stdout
  bad = subprocess.run(
    [*command, *arguments, "--omega=2"],
    capture_output=True,
    text=True,
    cwd=root,
  )
  assert bad.returncode == 1
  assert bad.stdout == ""
  assert bad.stderr.strip() == (
    "error: option 'omega': expected a number strictly between 0 and 1, got 2.0"
  )


def assert_refused(capsys, rollouts, output, *parts, arguments=()):
  """The command fails with one line, and leaves the folder as it was."""
  before = {path: path.read_bytes() for path in rollouts.parent.iterdir()}
  status, text, errors = run(
    capsys, f"--rollouts={rollouts}", f"--output={output}", *arguments
  )
  assert status == 1
  assert text == ""
  assert errors.startswith("error: ")
  assert errors.count("\n") == 1
  for part in parts:
    assert part in errors, errors
  assert before == {
    path: path.read_bytes() for path in rollouts.parent.iterdir()
  }


@pytest.mark.parametrize(
  ("line", "parts"),
  [
    ('{"task": "a", "traj', ["expected a complete JSON object"]),
    ("[1, 2]", ["expected a JSON object, got list"]),
    ("", ["got a blank line"]),
    ('{"task": "a"}', ["lacks the column 'trajectory'"]),
    ("\udc80", ["expected a complete JSON object"]),
  ],
)
def test_bad_line(rollouts, tmp_path, capsys, line, parts):
  lines = rollouts.read_text().splitlines()
  lines[4] = line
  rollouts.write_text("\n".join(lines), errors="surrogateescape")
  output = tmp_path / "credit.jsonl"
  assert_refused(capsys, rollouts, output, "line 5", *parts)


def test_truncated_last_line(rollouts, tmp_path, capsys):
  text = rollouts.read_text()
  rollouts.write_text(text[:-20])
  assert_refused(
    capsys,
    rollouts,
    tmp_path / "credit.jsonl",
    f"line {text.count(chr(10))}",
    "expected a complete JSON object",
  )


def test_column_in_some_lines_only(rollouts, tmp_path, capsys):
  output = tmp_path / "credit.jsonl"
  lines = [json.loads(line) for line in rollouts.read_text().splitlines()]
  del lines[2]["cost"]
  rollouts.write_text("\n".join(map(json.dumps, lines)))
  assert_refused(capsys, rollouts, output, "line 3", "lacks the column 'cost'")
  for line in lines:
    line.pop("cost", None)
  lines[3]["cost"] = 1.0
  rollouts.write_text("\n".join(map(json.dumps, lines)))
  assert_refused(capsys, rollouts, output, "line 4", "'cost'", "line 1 lacks")


def test_bad_value_names_its_line(rollouts, tmp_path, capsys):
  table = oracle.random_table(1)
  table["cost"][3] = -1
  write(rollouts, table)
  output = tmp_path / "credit.jsonl"
  output.write_text("an older result\n")
  assert_refused(
    capsys, rollouts, output, "(row 0 is line 1)", "column 'cost', row 3"
  )


def test_empty_file(rollouts, tmp_path, capsys):
  rollouts.write_text("")
  assert_refused(capsys, rollouts, tmp_path / "out", "the table is empty")


@pytest.mark.parametrize(
  ("arguments", "part"),
  [
    (["--estimator=ppo"], "unknown estimator 'ppo'"),
    (["--omega=1"], "option 'omega'"),
    (["--discount=0.9"], "unknown option 'discount'"),
    (["--normalization=max"], "option 'normalization'"),
  ],
)
def test_bad_flag(rollouts, tmp_path, capsys, arguments, part):
  assert_refused(capsys, rollouts, tmp_path / "out", part, arguments=arguments)


def test_output_must_be_another_file(rollouts, tmp_path, capsys):
  assert_refused(
    capsys, rollouts, rollouts, "--output is the file of --rollouts"
  )
  roundabout = tmp_path / ".." / tmp_path.name / rollouts.name
  assert_refused(
    capsys, rollouts, roundabout, "--output is the file of --rollouts"
  )


def test_output_must_have_a_folder(rollouts, tmp_path, capsys):
  assert_refused(
    capsys, rollouts, tmp_path / "no" / "out", "a folder that exists"
  )


def test_input_must_exist(rollouts, tmp_path, capsys):
  missing = tmp_path / "missing.jsonl"
  assert_refused(capsys, missing, tmp_path / "out", "missing.jsonl")


def test_nothing_half_written(tmp_path):
  path = tmp_path / "out"
  path.write_text("older")
  with pytest.raises(ValueError):
    jsonl.write_steps(str(path), {"a": [1.0, float("nan")]})
  assert path.read_text() == "older"
  assert list(tmp_path.iterdir()) == [path]


def test_skip_lists_rows(rollouts, tmp_path, capsys):
  table = oracle.random_table(1)
  table["cost"][3] = -1
  write(rollouts, table)
  output = tmp_path / "credit.jsonl"
  status, text, errors = run(
    capsys,
    f"--rollouts={rollouts}",
    f"--output={output}",
    "--on_error=skip",
  )
  assert (status, errors) == (0, "")
  side = tmp_path / "credit.jsonl.errors.jsonl"
  faults = [json.loads(line) for line in side.read_text().splitlines()]
  assert {"row": 3, "line": 4} in [
    {name: fault[name] for name in ("row", "line")} for fault in faults
  ]
  steps = len(table["t"]) - len(faults)
  assert text.splitlines()[0].startswith(f"{output}: {steps} steps of ")
  assert text.splitlines()[1] == f"{len(faults)} rows left out: {side}"
  assert output.read_text().count("\n") == steps


def test_bad_row_after_commits_keeps_what_is_done(rollouts, tmp_path, capsys):
  table = oracle.random_table(1, tasks=9)
  table["cost"][-1] = -1
  write(rollouts, table)
  output = tmp_path / "credit.jsonl"
  files = [f"--rollouts={rollouts}", f"--output={output}"]
  few = ["--rows_per_commit=10", "--noprogress"]
  # In small batches, or the bad row would be read before the first commit.
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jsonl_source, "_BATCH_BYTES", 1000)
    status, _, errors = run(capsys, *files, *few)
    assert status == 1
    assert f"column 'cost', row {len(table['t']) - 1}" in errors
    assert "--on_error=skip goes on from there" in errors
    assert not output.exists()
    status, _, errors = run(capsys, *files, *few, "--omega=0.9")
    assert status == 1
    assert "options omega was 0.1, is 0.9" in errors
    assert "--restart" in errors
    status, _, _ = run(capsys, *files, *few, "--on_error=skip")
    assert status == 0
    skipped = output.read_bytes()
    assert run(capsys, *files, *few)[0] == 1
    arguments = ["--omega=0.9", "--restart", "--on_error=skip"]
    assert run(capsys, *files, *few, *arguments)[0] == 0
    assert output.read_bytes() != skipped
  assert not (tmp_path / "credit.jsonl.partial").exists()


@pytest.mark.parametrize(
  ("argument", "part"),
  [
    ("--on_error=ignore", "on_error: expected one of stop, skip"),
    ("--rows_per_commit=0", "rows_per_commit: expected at least 1"),
  ],
)
def test_bad_run_flag(rollouts, tmp_path, capsys, argument, part):
  assert_refused(capsys, rollouts, tmp_path / "out", part, arguments=[argument])


def test_missing_pyarrow_is_one_line(rollouts, tmp_path, capsys, monkeypatch):
  monkeypatch.setitem(sys.modules, "pyarrow", None)
  assert_refused(
    capsys,
    rollouts,
    tmp_path / "out.parquet",
    "pip install graphgpo-jax[logs]",
  )


@pytest.mark.extra("logs")
def test_parquet_to_parquet(tmp_path, capsys):
  table = oracle.random_table(1)
  source, output = tmp_path / "steps.parquet", tmp_path / "credit.parquet"
  log_files.write(source, table)
  status, text, errors = run(
    capsys, f"--rollouts={source}", f"--output={output}", "--omega=0.5"
  )
  assert (status, errors) == (0, "")
  assert f"{len(table['t'])} steps of " in text
  credit = tables.assign_credit(table, omega=0.5)
  log_files.assert_holds(output, table, credit)
