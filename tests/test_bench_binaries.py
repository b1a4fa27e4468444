"""The small benchmarks as a user starts them: they run and write numbers."""

import json

import pytest

from tests import binaries

# Whole processes: test-all.
pytestmark = pytest.mark.slow


def measured(folder, binary, *arguments):
  """What the binary wrote, after it has ended well."""
  output = folder / "bench.json"
  status, printed, errors = binaries.finish(
    binaries.start(folder, binary, *arguments, f"--output={output}")
  )
  assert status == 0, errors
  assert printed.strip()
  return json.loads(output.read_text())


def test_training(tmp_path):
  binaries.write_config(tmp_path / "tiny.py")
  found = measured(
    tmp_path,
    "bench_training",
    f"--config={tmp_path / 'tiny.py'}",
    "--num_updates=2",
    "--estimators=graphgpo,grpo",
  )
  assert set(found["credit_percent"]) == {"graphgpo", "grpo"}
  assert all(0 < share < 100 for share in found["credit_percent"].values())
  assert found["environment_steps"] > 0 and found["steps_per_second"] > 0


def test_environments(tmp_path):
  found = measured(
    tmp_path,
    "bench_envs",
    "--environments=household",
    "--num_envs=4",
    "--num_steps=5",
    "--repeats=2",
  )
  (record,) = found["records"]
  assert record["name"] == "household" and len(record["repeats"]) == 2
  assert record["steps_per_second"] > 0


def test_restart(tmp_path):
  binaries.write_config(tmp_path / "tiny.py")
  status, printed, errors = binaries.finish(
    binaries.start(
      tmp_path,
      "bench_restart",
      f"--config={tmp_path / 'tiny.py'}",
      "--save_every=2",
      "--num_saves=2",
    )
  )
  assert status == 0, errors
  first, rest = printed.split("\n", 1)
  found = json.loads(first)
  # Two saves, of which the first is told apart.
  assert found["saves"] == 1 and found["save_seconds"] > 0
  assert '"restart_seconds"' in rest and "% of training time" in rest
