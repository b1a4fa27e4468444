"""The text configs as a user starts them, shrunk, with their real engines."""

import contextlib
import json
import os
import pathlib
import signal

import numpy as np
import pytest

from graphgpo_jax.training import metrics
from tests import binaries
from tests.envs.text.java import needs_java

# Whole runs: test-all.
pytestmark = [pytest.mark.slow, pytest.mark.extra("text")]

# One update of few and short episodes, by one worker process.
SHRUNK = {
  "num_updates": 1,
  "eval_every": 1,
  "tensorboard": False,
  "panel.size": 2,
  "text.max_steps": 4,
  "environment.max_steps": 4,
  "text.num_workers": 1,
  "text.environments_per_worker": 2,
  "text.step_timeout": 120.0,
  "policy.num_layers": 1,
  "policy.width": 8,
  "policy.num_heads": 2,
  "rollout.tasks_per_update": 2,
  "rollout.rollouts_per_task": 2,
  "loss.num_minibatches": 2,
  "loss.chunk_size": 8,
}


@pytest.fixture
def run(tmp_path):
  """Runs a binary to its end; no process outlives the test."""
  started = []

  def run(binary, config, workdir, *arguments):
    process = binaries.start(
      tmp_path,
      binary,
      f"--config=experiments/configs/{config}.py",
      f"--workdir={tmp_path / workdir}",
      *(f"--config.{name}={value}" for name, value in SHRUNK.items()),
      *arguments,
    )
    started.append(process)
    status, output, errors = binaries.finish(process)
    assert status == 0, errors
    return tmp_path / workdir, output

  yield run
  for process in started:
    if process.poll() is None:
      # Workers lead sessions of their own: a group would not hold them.
      for pid in [*_descendants(process.pid), process.pid]:
        with contextlib.suppress(ProcessLookupError):
          os.kill(pid, signal.SIGKILL)
      process.communicate()


def _descendants(pid):
  for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
    for child in map(int, path.read_text().split()):
      yield child
      yield from _descendants(child)


def check_run(folder):
  """An update was played without a failure, learnt from and logged."""
  start, end = metrics.read_metrics(folder / "metrics.jsonl")
  assert (start["step"], end["step"]) == (0, 1)
  assert all(map(np.isfinite, end.values()))
  assert start["eval/failed_episodes"] == end["eval/failed_episodes"] == 0
  assert end["rollout/failed_episodes"] == 0
  assert end["optimiser/refused"] == 0
  assert end["checkpoint/groups_not_logged"] == 0
  assert any((folder / "checkpoints").iterdir())
  (log,) = (folder / "rollouts").glob("*.jsonl")
  rows = [json.loads(line) for line in log.read_text().splitlines()]
  assert len(rows) == end["rollout/steps"]
  assert {(row["group"], row["rollout"]) for row in rows} == {
    (group, rollout) for group in range(2) for rollout in range(2)
  }
  return start, rows


@needs_java
def test_textworld_express(run):
  pytest.importorskip(
    "textworld_express", reason="needs the package textworld-express"
  )
  folder, output = run("train", "text_coin", "coin")
  _, rows = check_run(folder)
  # Both games of the config, as the engine tells them.
  games = {row["task_id"].split("/")[0] for row in rows}
  assert games == {"coin", "simonsays"}
  assert "success on the panel" in output


def test_alfworld_after_a_warm_start(run):
  for module in ("fast_downward", "textworld"):
    pytest.importorskip(module, reason=f"the extra [text] has {module}")
  warm, output = run(
    "warm_start", "text_alfworld", "warm", "--episodes=2", "--epochs=1"
  )
  found = json.loads((warm / "warm_start.json").read_text())
  assert "success on the panel" in output
  assert found["episodes"] == 2 and found["lessons"] > 0
  folder, output = run(
    "train", "text_alfworld", "alfworld", f"--config.init_from={warm}"
  )
  start, rows = check_run(folder)
  assert f"from the parameters of {warm}" in output
  assert {name: start[name] for name in found["after"]} == found["after"]
  types = {row["task_id"].split("/")[1] for row in rows}
  assert types == {"pick_and_place_simple", "look_at_obj_in_light"}
