"""Runs of several processes, for real, against the same run of one."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests import binaries

# Whole runs: test-all.
pytestmark = pytest.mark.slow

UPDATES = 16
# Gradients are summed in another order where devices are in other processes.
TOLERANCE = 1e-5
TEXT_CONFIG = """
from tests.training import test_text_experiment


def get_config():
  return test_text_experiment.make_config(
    mesh__data=0,
    rollout__tasks_per_update=4,
    panel__size=5,
    text__tasks__all__first=5,
  )
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  folder = tmp_path_factory.mktemp("processes")
  binaries.write_config(folder / "tiny.py", updates=UPDATES, checkpoint_every=1)
  (folder / "text.py").write_text(TEXT_CONFIG)
  return folder


def arguments(place, workdir, devices, *others, config="tiny"):
  return [
    f"--config={place / config}.py",
    f"--workdir={workdir}",
    "--config.tensorboard=False",
    "--config.mesh.data=0",
    f"--config.mesh.cpu_devices={devices}",
    *(() if config == "text" else ("--config.rollout.tasks_per_update=4",)),
    *others,
  ]


def run_one(place, workdir, devices, *others, config="tiny"):
  """One process of some devices; its output."""
  status, output, errors = binaries.finish(
    binaries.start(
      place,
      "train",
      *arguments(place, workdir, devices, *others, config=config),
    )
  )
  assert status == 0, errors
  return output


def start_two(
  place, workdir, *others, only_second=(), devices=2, config="tiny"
):
  """Two processes of some devices each."""
  with socket.socket() as taken:
    taken.bind(("localhost", 0))
    address = f"localhost:{taken.getsockname()[1]}"
  given = arguments(place, workdir, devices, *others, config=config)
  return [
    binaries.start(
      place,
      "train",
      *given,
      "--distributed=on",
      f"--coordinator_address={address}",
      "--num_processes=2",
      f"--process_id={index}",
      *(only_second if index else ()),
    )
    for index in range(2)
  ]


def finish(processes):
  """Exit status, output and error text of each."""
  try:
    return [binaries.finish(process) for process in processes]
  finally:
    for process in processes:
      process.kill()


def run_two(place, workdir, *others, **options):
  """What each process printed."""
  ended = finish(start_two(place, workdir, *others, **options))
  assert [status for status, _, _ in ended] == [0, 0], ended
  return [output for _, output, _ in ended]


def printed(output):
  """The JSON objects among its lines; what carries messages prints, too."""
  return [
    json.loads(line) for line in output.splitlines() if line.startswith("{")
  ]


def read(workdir):
  """The lines of its metrics, but for times."""
  return [
    {
      name: value
      for name, value in json.loads(line).items()
      if not name.startswith("time/")
    }
    for line in (workdir / "metrics.jsonl").read_text().splitlines()
  ]


def close(one, other):
  assert len(one) == len(other)
  for found, wanted in zip(one, other, strict=True):
    assert found == pytest.approx(wanted, rel=0, abs=TOLERANCE)


def wait_for_lines(workdir, number, processes):
  path = workdir / "metrics.jsonl"
  deadline = time.monotonic() + 400
  while not path.exists() or path.read_bytes().count(b"\n") < number:
    assert time.monotonic() < deadline
    assert all(process.poll() is None for process in processes)
    time.sleep(0.01)


@pytest.fixture(scope="module")
def alone(place):
  """Metrics of one process with four devices."""
  run_one(place, place / "alone", 4)
  return read(place / "alone")


@pytest.fixture(scope="module")
def unbroken(place):
  """Workdir of two processes, as the launch script starts them."""
  workdir = place / "unbroken"
  environment = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": str(place / "compiled"),
    "XLA_FLAGS": binaries.FAST,
  }
  done = subprocess.run(
    [
      *("experiments/launch/processes.sh", "2"),
      *(sys.executable, "-m", "experiments.train"),
      *arguments(place, workdir, 2),
    ],
    cwd=binaries.ROOT,
    env=environment,
    capture_output=True,
    text=True,
    timeout=600,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  # One of them speaks for both.
  assert done.stdout.count("success on the panel") == 1
  return workdir


def test_two_processes_train_as_one(place, alone, unbroken):
  found = read(unbroken)
  assert [line["step"] for line in found] == list(range(UPDATES + 1))
  # A run that learns nothing would agree with anything.
  assert any(line.get("loss/gradient_norm", 0.0) > 0 for line in found)
  close(found, alone)
  names = {path.name for path in (unbroken / "checkpoints").iterdir()}
  assert str(UPDATES) in names and all(map(str.isdecimal, names))


def test_evaluation(place, unbroken):
  first, second = run_two(place, unbroken, "--evaluate")
  panel = {
    name: value
    for name, value in read(unbroken)[-1].items()
    if name == "step" or name.startswith("eval/")
  }
  assert printed(first) == [panel]
  assert printed(second) == []
  # Restored by another number of processes, onto another mesh.
  assert json.loads(run_one(place, unbroken, 2, "--evaluate")) == (
    pytest.approx(panel, abs=TOLERANCE)
  )


@pytest.mark.parametrize("asked", [0, 1])
def test_one_is_asked_to_stop(place, alone, unbroken, tmp_path, asked):
  workdir = tmp_path / "run"
  processes = start_two(place, workdir)
  wait_for_lines(workdir, 2, processes)
  processes[asked].send_signal(signal.SIGTERM)
  ended = finish(processes)
  assert [status for status, _, _ in ended] == [0, 0], ended
  last = read(workdir)[-1]["step"]
  who = "a signal to another process" if asked else "SIGTERM"
  assert f"stopped by {who} after update {last}" in ended[0][1]
  assert last < UPDATES
  assert (workdir / "checkpoints" / str(last)).is_dir()
  if asked:
    # By one process, and so on another mesh.
    other = tmp_path / "other"
    shutil.copytree(workdir, other)
    run_one(place, other, 2)
    close(read(other), alone)
  run_two(place, workdir)
  assert read(workdir) == read(unbroken)


def test_one_is_killed(place, unbroken, tmp_path):
  workdir = tmp_path / "run"
  processes = start_two(place, workdir)
  wait_for_lines(workdir, 2, processes)
  processes[1].kill()
  (status, _, _), _ = finish(processes)
  assert status != 0
  assert len(read(workdir)) <= UPDATES
  run_two(place, workdir)
  assert read(workdir) == read(unbroken)


@pytest.mark.parametrize(
  ("others", "only_second", "said"),
  [
    (
      (),
      ("--config.loss.chunk_size=16",),
      "error: process 1 differs from process 0 in config.loss.chunk_size (16 "
      "there, 8 here)",
    ),
    (
      (),
      ("--evaluate",),
      "error: process 1 differs from process 0 in --evaluate (True there, "
      "False here)",
    ),
    (
      ("--config.mesh.data=2",),
      (),
      "config.mesh.data=2 x fsdp=1 x tensor=1 must be the 4 devices of all 2 "
      "processes",
    ),
    (
      ("--config.rollout.tasks_per_update=6",),
      (),
      "config.rollout.tasks_per_update=6 must be a multiple of "
      "config.mesh.data=4",
    ),
  ],
)
def test_all_refuse_and_write_nothing(
  place, tmp_path, others, only_second, said
):
  workdir = tmp_path / "run"
  ended = finish(start_two(place, workdir, *others, only_second=only_second))
  for status, _, errors in ended:
    assert status == 1, errors
    assert said in errors
    assert "Traceback" not in errors
  # The folder of compiled programs is another here.
  assert not workdir.exists()


def test_a_folder_of_another_config_is_refused_by_all(place, unbroken):
  before = sorted(unbroken.rglob("*"))
  ended = finish(start_two(place, unbroken, "--config.seed=1"))
  for (status, _, errors), name in zip(ended, ("", "process 0: "), strict=True):
    assert status == 1, errors
    assert f"error: {name}workdir {unbroken} holds another config" in errors
  assert sorted(unbroken.rglob("*")) == before


def test_text_worlds(place, tmp_path):
  """Each process plays its own tasks; together they play those of one."""
  run_two(place, tmp_path / "two", devices=1, config="text")
  run_one(place, tmp_path / "one", 2, config="text")
  two, one = read(tmp_path / "two"), read(tmp_path / "one")
  assert sum(line.get("loss/gradient_norm", 0.0) for line in one) > 0
  close(two, one)

  def played(workdir):
    return {
      line
      for path in (workdir / "rollouts").rglob("rollouts-*.jsonl")
      for line in path.read_text().splitlines()
    }

  assert played(tmp_path / "two") == played(tmp_path / "one")
  assert any((tmp_path / "two" / "rollouts" / "process-1").iterdir())
