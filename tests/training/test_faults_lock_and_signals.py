"""One process a work directory, and processes that are asked to stop."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from graphgpo_jax.training import lock, preemption

# A product of a compiled program cannot be interrupted, nor can this.
_BUSY = """
import hashlib
from graphgpo_jax.training import preemption

with preemption.StopRequests() as requests:
  print("ready", flush=True)
  name = ""
  while not name:
    hashlib.pbkdf2_hmac("sha256", b"", b"", {rounds})
    name = requests.asked(1)
  print(name, flush=True)
"""
_HOLDER = """
import sys, time
from graphgpo_jax.training import lock

held = lock.WorkdirLock(sys.argv[1])
print("ready", flush=True)
time.sleep(600)
"""


_STARTED = []


@pytest.fixture(autouse=True)
def _nothing_stays():
  yield
  for process in _STARTED:
    process.kill()
    process.wait()
  _STARTED.clear()


def start(program, *arguments):
  process = subprocess.Popen(
    [sys.executable, "-c", program, *arguments],
    stdout=subprocess.PIPE,
    text=True,
    env=dict(os.environ, JAX_PLATFORMS="cpu"),
  )
  _STARTED.append(process)
  assert process.stdout.readline() == "ready\n"
  return process


def test_a_folder_is_locked_once(tmp_path):
  first = lock.WorkdirLock(tmp_path)
  with pytest.raises(ValueError, match=f"running process {os.getpid()};"):
    lock.WorkdirLock(tmp_path)
  first.close()
  first.close()
  assert list(tmp_path.iterdir()) == []
  lock.WorkdirLock(tmp_path).close()


def test_a_dead_process_leaves_no_lock(tmp_path):
  holder = start(_HOLDER, str(tmp_path))
  with pytest.raises(ValueError, match=f"running process {holder.pid};"):
    lock.WorkdirLock(tmp_path)
  holder.kill()
  holder.wait()
  holder.stdout.close()
  assert (tmp_path / "run.lock").exists()
  lock.WorkdirLock(tmp_path).close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_asks(number):
  before = signal.getsignal(number)
  with preemption.StopRequests() as requests:
    assert requests.asked(0) == ""
    os.kill(os.getpid(), number)
    deadline = time.monotonic() + 60
    while not requests.asked(1) and time.monotonic() < deadline:
      time.sleep(0.01)
    assert requests.asked(1) == number.name
  assert signal.getsignal(number) is before


def pending(process, number):
  """Whether a signal waits to be taken by a process."""
  status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
  masks = re.findall(r"^(?:Sig|Shd)Pnd:\s*(\w+)", status, re.MULTILINE)
  assert len(masks) == 2
  return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def test_a_second_interrupt_ends_the_process_at_once():
  # Far longer than this test may take.
  process = start(_BUSY.format(rounds=2**31 - 1))
  process.send_signal(signal.SIGINT)
  # Two signals at once are one to a process that had no time to take the first.
  while pending(process, signal.SIGINT):
    time.sleep(0.01)
  time.sleep(0.2)
  assert process.poll() is None
  process.send_signal(signal.SIGINT)
  output, _ = process.communicate(timeout=100)
  assert (process.returncode, output) == (130, "")


def test_a_signal_waits_for_the_end_of_the_program():
  process = start(_BUSY.format(rounds=1_000_000))
  process.send_signal(signal.SIGTERM)
  process.send_signal(signal.SIGINT)
  output, _ = process.communicate(timeout=100)
  assert process.returncode == 0
  assert output in ("SIGTERM\n", "SIGINT\n")
