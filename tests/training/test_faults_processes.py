"""Runs as processes: asked to stop, killed, without room on their disk."""

import json
import os
import random
import resource
import signal
import threading
import time

import pytest

from tests import binaries

# Whole runs: test-all.
pytestmark = pytest.mark.slow

UPDATES = 40
# Of one device and of two.
DEVICES = (1, 2)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  folder = tmp_path_factory.mktemp("faults")
  binaries.write_config(folder / "tiny.py", updates=UPDATES, checkpoint_every=1)
  return folder


def start(place, workdir, devices=1, *, tensorboard=False):
  return binaries.start(
    place,
    "train",
    f"--config={place / 'tiny.py'}",
    f"--workdir={workdir}",
    f"--config.tensorboard={tensorboard}",
    f"--config.mesh.data={devices}",
    f"--config.mesh.cpu_devices={0 if devices == 1 else devices}",
  )


def run(place, workdir, devices=1):
  status, output, errors = binaries.finish(start(place, workdir, devices))
  assert status == 0, errors
  return output, errors


def count_lines(workdir):
  path = workdir / "metrics.jsonl"
  return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(process, what, seconds=400):
  """Until it is so; False if the process ended before."""
  deadline = time.monotonic() + seconds
  while not what():
    assert time.monotonic() < deadline
    if process.poll() is not None:
      return False
    time.sleep(0.002)
  return True


def without_times(workdir, *others):
  return [
    {
      name: value
      for name, value in json.loads(line).items()
      if not name.startswith("time/") and name not in others
    }
    for line in (workdir / "metrics.jsonl").read_text().splitlines()
  ]


@pytest.fixture(scope="module")
def unbroken(place):
  """Workdirs of runs that nothing disturbed, by number of devices."""
  folders = {}

  def of(devices):
    if devices not in folders:
      folder = place / f"unbroken-{devices}"
      run(place, folder, devices)
      steps = [line["step"] for line in without_times(folder)]
      assert steps == list(range(UPDATES + 1))
      folders[devices] = folder
    return folders[devices]

  return of


def checksums(workdir):
  """What the newest checkpoint says of its arrays."""
  folder = workdir / "checkpoints" / str(UPDATES)
  stored = json.loads((folder / "_CHECKPOINT_METADATA").read_text())
  return stored["custom_metadata"]["leaves"]


def equal_runs(one, other):
  assert without_times(one) == without_times(other)
  assert checksums(one) == checksums(other)
  names = {path.name for path in (one / "checkpoints").iterdir()}
  assert not [name for name in names if not name.isdecimal()]


@pytest.mark.parametrize("devices", DEVICES)
def test_asked_to_stop(place, unbroken, tmp_path, devices):
  """SIGTERM, SIGINT, SIGINT twice, and then let go on."""
  folder = tmp_path / "run"
  for name in ("SIGTERM", "SIGINT"):
    before = count_lines(folder)
    process = start(place, folder, devices)
    assert wait_for(
      process, lambda before=before: count_lines(folder) >= before + 3
    )
    process.send_signal(getattr(signal, name))
    status, output, errors = binaries.finish(process)
    assert status == 0, errors
    assert f"stopped by {name} after update" in output
    steps = [line["step"] for line in without_times(folder)]
    # Saved at this very update.
    assert (folder / "checkpoints" / str(steps[-1])).is_dir()
    assert steps[-1] < UPDATES
  before = count_lines(folder)
  process = start(place, folder, devices)
  assert wait_for(process, lambda: count_lines(folder) > before)
  process.send_signal(signal.SIGSTOP)
  process.send_signal(signal.SIGINT)
  process.send_signal(signal.SIGCONT)
  time.sleep(0.001)
  process.send_signal(signal.SIGINT)
  status, _, errors = binaries.finish(process)
  # The first may have been obeyed before the second came, or the run may have
  # been over but for its end.
  assert status in (130, 0, -signal.SIGINT), errors
  run(place, folder, devices)
  equal_runs(folder, unbroken(devices))


def test_a_second_run_is_refused(place, unbroken, tmp_path):
  folder = tmp_path / "run"
  process = start(place, folder)
  assert wait_for(process, lambda: count_lines(folder) > 2)
  process.send_signal(signal.SIGSTOP)
  status, output, errors = binaries.finish(start(place, folder))
  process.send_signal(signal.SIGCONT)
  assert (status, output) == (1, "")
  (line,) = [one for one in errors.splitlines() if one.startswith("error:")]
  assert f"in use by the running process {process.pid}" in line
  status, _, errors = binaries.finish(process)
  assert status == 0, errors
  equal_runs(folder, unbroken(1))


def saving(folder):
  """Whether a checkpoint is half written or half deleted."""
  try:
    names = os.listdir(folder / "checkpoints")
  except FileNotFoundError:
    return False
  return any(not name.isdecimal() for name in names)


@pytest.mark.parametrize("devices", DEVICES)
def test_killed_at_random_moments(place, unbroken, tmp_path, devices):
  """A run, killed again and again; a new one where it is done too early."""
  whole = unbroken(devices)
  folders = [tmp_path / "run-0"]
  draw = random.Random(devices)
  lives = 20 if devices == 1 else 4
  kills = during_saves = 0
  while kills < lives or not during_saves:
    folder = folders[-1]
    before = count_lines(folder)
    process = start(place, folder, devices)
    if kills % 10 == 5:
      # In the start, which loads, restores and compiles.
      time.sleep(draw.uniform(1.0, 6.0))
    else:
      # Each life shall leave work for the others.
      wait_for(process, lambda: count_lines(folder) > before)  # noqa: B023
      time.sleep(draw.uniform(0.0, 0.3))
      if kills % 2:
        wait_for(process, lambda: saving(folder))  # noqa: B023
        time.sleep(draw.uniform(0.0, 0.02))
    in_a_save = saving(folder)
    process.kill()
    _, errors = process.communicate()
    if process.returncode == -signal.SIGKILL:
      kills += 1
      during_saves += in_a_save
    else:
      assert process.returncode == 0, errors
      folders.append(tmp_path / f"run-{len(folders)}")
    # Of lives that were to be killed few may escape.
    assert len(folders) + kills < 4 * lives
  run(place, folders[-1], devices)
  for folder in folders:
    equal_runs(folder, whole)


def test_a_full_disk(place, unbroken, tmp_path):
  """No file of the process may grow for a while."""
  folder = tmp_path / "run"
  process = start(place, folder, tensorboard=True)
  assert wait_for(process, lambda: count_lines(folder) > 3)
  _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
  resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100, hard))
  # A save has failed, however long that takes; what it says of it must be read,
  # or the pipe would be full before the disk has room again.
  lines = []

  def read():
    for line in process.stderr:
      lines.append(line)

  reader = threading.Thread(target=read)
  reader.start()
  said = "could not be written, training goes on"
  assert wait_for(process, lambda: any(said in line for line in lines[:]))
  resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))
  status = process.wait(timeout=600)
  reader.join()
  process.stdout.close()
  errors = "".join(lines)
  assert status == 0, errors
  failed = [line["checkpoint/failed_saves"] for line in without_times(folder)]
  assert failed == sorted(failed)
  assert failed[0] == 0 and failed[-1] > 0
  name = "checkpoint/failed_saves"
  assert without_times(folder, name) == without_times(unbroken(1), name)
  assert checksums(folder) == checksums(unbroken(1))
