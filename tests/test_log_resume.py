"""A run that is cut off anywhere goes on, to the same bytes."""

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys

import pytest

from graphgpo_jax.tables.logs import credit_file as credit_file_lib
from graphgpo_jax.tables.logs import jsonl_source, spill
from tests import log_files, oracle

credit_file = credit_file_lib.credit_file

ROOT = pathlib.Path(__file__).parent.parent
PARQUET = pytest.param("parquet", marks=pytest.mark.extra("logs"))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
  monkeypatch.setattr(jsonl_source, "_BATCH_BYTES", 2500)
  monkeypatch.setattr(spill, "_BUCKET_ROWS", 40)


def write_log(path, dealt, tasks=12):
  """A log with a few bad rows, one of which no rollout can claim."""
  table = oracle.random_table(1, tasks=tasks)
  if dealt:
    table = oracle.reorder(table, log_files.interleave(table, 2))
  draw = random.Random(0)
  for row in draw.sample(range(len(table["t"])), 3):
    table["cost"][row] = -1.0
  log_files.write(path, table)
  if path.suffix != ".parquet":
    lines = path.read_bytes().splitlines(keepends=True)
    lines[len(lines) // 2] = b"?\n"
    path.write_bytes(b"".join(lines))


class Killed(BaseException):
  """What a kill is to a process that lives on to look at the result."""


def kill_at(monkeypatch, number):
  """From the given disk operation on, none happens any more."""
  count = 0

  def before(operation):
    def counted(*arguments, **keywords):
      nonlocal count
      count += 1
      if count >= number:
        raise Killed
      return operation(*arguments, **keywords)

    return counted

  for module, name in [
    (os, "fsync"),
    (os, "replace"),
    (os, "remove"),
    (shutil, "rmtree"),
  ]:
    monkeypatch.setattr(module, name, before(getattr(module, name)))


@pytest.mark.slow
@pytest.mark.parametrize("dealt", [False, True])
@pytest.mark.parametrize("ending", ["jsonl", PARQUET])
def test_cut_off_at_every_disk_operation(tmp_path, dealt, ending):
  source, output = tmp_path / f"in.{ending}", tmp_path / f"out.{ending}"
  faults = tmp_path / f"out.{ending}.errors.jsonl"
  write_log(source, dealt, tasks=7)

  def run():
    return credit_file(
      str(source), str(output), on_error="skip", rows_per_commit=25
    )

  summary = run()
  assert summary.left_out
  expected = output.read_bytes(), faults.read_bytes()
  for number in range(1, 1000):
    output.unlink(missing_ok=True)
    faults.unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
      kill_at(patch, number)
      try:
        run()
        break
      except Killed:
        pass
    # The output is whole or not there.
    assert not output.exists() or output.read_bytes() == expected[0]
    # And a second time, on the way.
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
      kill_at(patch, 1 + number % 5)
      run()
    assert run() == summary
    assert (output.read_bytes(), faults.read_bytes()) == expected
    assert sorted(tmp_path.iterdir()) == sorted([source, output, faults])
  assert number > 20


def test_work_is_not_done_twice(tmp_path, monkeypatch):
  source, output = tmp_path / "in", tmp_path / "out"
  write_log(source, False)
  with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
    kill_at(patch, 30)
    credit_file(str(source), str(output), on_error="skip", rows_per_commit=15)
  manifest = json.loads((tmp_path / "out.partial/manifest.json").read_text())
  done = manifest["state"]["position"]["row"]
  assert done > 20
  first = []
  batches = jsonl_source.JsonlSource.batches

  def watched(self, position):
    first.append(position.row)
    return batches(self, position)

  monkeypatch.setattr(jsonl_source.JsonlSource, "batches", watched)
  credit_file(str(source), str(output), on_error="skip", rows_per_commit=15)
  assert first == [done]


# The binary, with a kill by the system before one of its disk operations.
_KILLED_BINARY = """
import os, signal, sys
from absl import app
from experiments import assign_credit
from graphgpo_jax.tables.logs import jsonl_source, spill
jsonl_source._BATCH_BYTES, spill._BUCKET_ROWS = 2500, 40
left = int(sys.argv.pop(1))
def counted(*arguments, operation=os.fsync):
  global left
  left -= 1
  if left == 0:
    os.kill(os.getpid(), signal.SIGKILL)
  return operation(*arguments)
os.fsync = counted
app.run(assign_credit.main)
"""


@pytest.mark.slow
@pytest.mark.parametrize("dealt", [False, True])
@pytest.mark.parametrize("ending", ["jsonl", PARQUET])
def test_kill_for_real(tmp_path, dealt, ending):
  source = tmp_path / f"in.{ending}"
  write_log(source, dealt, tasks=60)

  def run(output, kill_at_sync):
    return subprocess.run(
      [
        *(sys.executable, "-c", _KILLED_BINARY, str(kill_at_sync)),
        f"--rollouts={source}",
        f"--output={output}",
        "--on_error=skip",
        "--rows_per_commit=60",
      ],
      cwd=ROOT,
      env=dict(
        os.environ,
        JAX_PLATFORMS="cpu",
        JAX_COMPILATION_CACHE_DIR=str(tmp_path / "compiled"),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
      ),
      capture_output=True,
      text=True,
    )

  unbroken, broken = tmp_path / f"one.{ending}", tmp_path / f"two.{ending}"
  whole = run(unbroken, 0)
  assert whole.returncode == 0, whole.stderr
  for number in (1, 9, 14, 20):
    killed = run(broken, number)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not broken.exists()
  last = run(broken, 0)
  assert last.returncode == 0, last.stderr
  for name in ("", ".errors.jsonl"):
    one, two = (
      path.with_name(path.name + name).read_bytes()
      for path in (unbroken, broken)
    )
    assert one == two
  assert last.stdout.replace("two.", "one.") == whole.stdout
  assert not broken.with_name(broken.name + ".partial").exists()


@pytest.fixture
def unfinished(tmp_path):
  """A log, an output and a folder of an unfinished run."""
  source, output = tmp_path / "in", tmp_path / "out"
  write_log(source, False)
  with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
    kill_at(patch, 30)
    credit_file(str(source), str(output), on_error="skip", rows_per_commit=15)
  return source, output


def contents(folder):
  return {
    path: path.read_bytes() for path in folder.rglob("*") if path.is_file()
  }


def go_on(source, output, **changed):
  arguments = {"on_error": "skip", "rows_per_commit": 15} | changed
  return credit_file(str(source), str(output), **arguments)


@pytest.mark.parametrize(
  ("changed", "told"),
  [
    ({"omega": 0.5}, "options omega was 0.1, is 0.5"),
    ({"estimator": "grpo"}, "options estimator was graphgpo, is grpo"),
    ({"scale_free": True}, "options scale_free was False, is True"),
    ({"rows_per_commit": 16}, "rows_per_commit was 15, is 16"),
    ({"on_error": "stop"}, "on_error was skip, is stop"),
  ],
)
def test_other_options(unfinished, tmp_path, changed, told):
  before = contents(tmp_path)
  with pytest.raises(ValueError, match=told) as caught:
    go_on(*unfinished, **changed)
  assert "--restart" in str(caught.value)
  assert contents(tmp_path) == before
  # A default by its name is no other option.
  go_on(*unfinished, omega=0.1)


def test_another_input(unfinished, tmp_path):
  source, output = unfinished
  text = source.read_bytes()
  source.write_bytes(text.replace(b"state 1", b"state 7"))
  before = contents(tmp_path)
  with pytest.raises(ValueError, match="input modified_ns was"):
    go_on(source, output)
  assert contents(tmp_path) == before
  go_on(source, output, restart=True)
  expected = output.read_bytes()
  go_on(source, tmp_path / "fresh")
  assert (tmp_path / "fresh").read_bytes() == expected


def test_another_version(unfinished, monkeypatch):
  monkeypatch.setattr(credit_file_lib._version, "__version__", "99")
  with pytest.raises(ValueError, match="versions graphgpo-jax was"):
    go_on(*unfinished)


def test_one_run_at_a_time(unfinished):
  fcntl = pytest.importorskip("fcntl")
  with open(f"{unfinished[1]}.partial/lock", "ab") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match="another one is writing"):
      go_on(*unfinished)
  go_on(*unfinished)


def test_a_folder_of_something_else(tmp_path):
  write_log(tmp_path / "in", False)
  (tmp_path / "out.partial").mkdir()
  (tmp_path / "out.partial" / "thesis.tex").write_text("do not lose")
  with pytest.raises(ValueError, match="got one with a file 'thesis.tex'"):
    go_on(tmp_path / "in", tmp_path / "out")
  kept = tmp_path / "out.partial" / "thesis.tex"
  assert kept.read_text() == "do not lose"


def test_damaged_folder(unfinished, tmp_path):
  part = tmp_path / "out.partial" / "credit.jsonl"
  part.write_bytes(part.read_bytes()[:10])
  with pytest.raises(ValueError, match="credit.jsonl: expected at least"):
    go_on(*unfinished)
  (tmp_path / "out.partial" / "manifest.json").write_text("{")
  with pytest.raises(ValueError, match="manifest.json: expected the state"):
    go_on(*unfinished)
  go_on(*unfinished, restart=True)


def test_stopped_run_goes_on_without_the_bad_rollout(tmp_path):
  table = oracle.random_table(2, tasks=12)
  table["cost"][-2] = -1.0
  source, output = tmp_path / "in", tmp_path / "out"
  log_files.write(source, table)
  with pytest.raises(ValueError, match="--on_error=skip goes on from there"):
    go_on(source, output, on_error="stop")
  with pytest.raises(ValueError, match="--on_error=skip goes on from there"):
    go_on(source, output, on_error="stop")
  found = go_on(source, output)
  expected = go_on(source, tmp_path / "fresh")
  assert found.table == expected.table
  assert found.left_out == expected.left_out > 0
  assert output.read_bytes() == (tmp_path / "fresh").read_bytes()
