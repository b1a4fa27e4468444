"""Made-up logs, and that a long one takes no more memory than a short one."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from experiments import logs
from graphgpo_jax import tables
from tests import log_files

pytestmark = pytest.mark.extra("logs")

ROOT = pathlib.Path(__file__).parent.parent
SIZES = {"tasks": 9, "rollouts": 6, "steps": 7, "text_length": 50, "states": 12}


@pytest.fixture
def small_chunks(monkeypatch):
  monkeypatch.setattr(logs, "_CHUNK_ROWS", 100)


def test_a_log_is_as_it_was_asked_for(tmp_path, small_chunks):
  path = tmp_path / "log.parquet"
  logs.write_log(str(path), **SIZES)
  table = log_files.read(path)
  index = np.indices((9, 6, 7)).reshape(3, -1)
  assert table["task"] == [f"task {task:07d}" for task in index[0]]
  assert table["trajectory"] == index[1].tolist()
  assert table["t"] == index[2].tolist()
  assert {len(text) for text in table["observation"]} == {50}
  # States are a task's own, and rollouts share them.
  states = set(zip(table["task"], table["observation"], strict=True))
  assert len(states) == len(set(table["observation"])) <= 9 * 12
  assert len(states) < len(table["t"]) / 3
  # The rollouts chain, or this would raise.
  _, summary = tables.credit_table(table)
  assert (summary.tasks, summary.rollouts) == (9, 54)
  assert 0 < summary.successes < 54


def test_one_seed_is_one_log(tmp_path, small_chunks):
  def log(name, **changed):
    logs.write_log(str(tmp_path / name), **(SIZES | changed))
    return log_files.read(tmp_path / name)

  table = log("a.parquet")
  assert log("b.parquet") == table
  assert log("a.jsonl") == table
  assert log("c.parquet", seed=1)["observation"] != table["observation"]


def test_a_shuffled_log_has_the_same_rows(tmp_path, small_chunks):
  logs.write_log(str(tmp_path / "a.parquet"), **SIZES)
  logs.write_log(str(tmp_path / "b.parquet"), **SIZES, shuffle=True)
  one, two = (
    list(zip(*log_files.read(tmp_path / name).values(), strict=True))
    for name in ("a.parquet", "b.parquet")
  )
  assert one != two
  assert sorted(one) == sorted(two)
  # Tasks come back after all others have been there.
  tasks = [row[0] for row in two]
  assert tasks.index("task 0000008") < len(two) - tasks[::-1].index(
    "task 0000000"
  )


@pytest.mark.parametrize(
  ("name", "value"),
  [("tasks", 0), ("rollouts", 0), ("text_length", 10), ("states", 10_000)],
)
def test_bad_argument(tmp_path, name, value):
  with pytest.raises(ValueError, match=f"{name}: expected"):
    logs.write_log(str(tmp_path / "log"), **(SIZES | {name: value}))
  assert not list(tmp_path.iterdir())


# The binary, with small buffers, so that what grows shows beside them; last it
# says how much memory it ever held, in KiB. Not by getrusage, which counts what
# the process held that started it.
_MEASURED = """
import pathlib, re
from absl import app
from experiments import assign_credit
from graphgpo_jax.tables.logs import jsonl_source, parquet_source
jsonl_source._BATCH_BYTES = parquet_source._BATCH_BYTES = 2 * 2**20
def main(argv):
  status = assign_credit.main(argv)
  text = pathlib.Path("/proc/self/status").read_text()
  print(re.search(r"VmHWM:\\s*(\\d+) kB", text)[1])
  return status
app.run(main)
"""


@pytest.mark.skipif(
  not pathlib.Path("/proc/self/status").exists(), reason="needs Linux"
)
@pytest.mark.slow
@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_memory_does_not_grow_with_the_file(tmp_path, ending, shuffle):
  def peak(tasks):
    source = tmp_path / f"log{tasks}.{ending}"
    logs.write_log(
      str(source),
      tasks=tasks,
      rollouts=8,
      steps=20,
      text_length=600,
      shuffle=shuffle,
    )
    found = subprocess.run(
      [
        *(sys.executable, "-c", _MEASURED),
        f"--rollouts={source}",
        f"--output={tmp_path / 'out'}.{ending}",
        "--rows_per_commit=20000",
      ],
      cwd=ROOT,
      env=dict(os.environ, JAX_PLATFORMS="cpu"),
      capture_output=True,
      text=True,
    )
    assert found.returncode == 0, found.stderr
    return int(found.stdout.split()[-1]) / 2**10

  short, long = peak(500), peak(2000)
  # 240,000 rows more are 290 MB of text more, and as much again in Python.
  assert long - short < 80
