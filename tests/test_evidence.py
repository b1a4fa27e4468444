"""experiments.evidence as a user starts it, and that it goes on."""

import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import pytest

from graphgpo_jax.training import comparison
from tests import binaries, markdown

TINY_WORLDS = """
from experiments import evidence_worlds

WORLDS = {{
  # Long enough to be stopped in the middle.
  "plain": evidence_worlds.World({config!r}, {{"num_updates": 100}}),
  "small": evidence_worlds.World(
    {config!r}, {{"environment.horizon": 5, "num_updates": 2}}
  ),
  "broken": evidence_worlds.World(
    {config!r}, {{"environment.gravity": 2.0}}
  ),
}}


def get_config(name):
  return evidence_worlds.config_of(WORLDS, name)
"""


def start(place, *arguments):
  worlds = f"--worlds_file={place / 'worlds.py'}"
  return binaries.start(place, "evidence", worlds, *arguments)


def run(place, *arguments):
  return binaries.finish(start(place, *arguments))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  pytest.importorskip("matplotlib", reason="extra [viz] is not installed")
  folder = tmp_path_factory.mktemp("evidence")
  binaries.write_config(folder / "tiny.py")
  (folder / "worlds.py").write_text(
    TINY_WORLDS.format(config=str(folder / "tiny.py"))
  )
  return folder


def write_run(folder, name, seed, successes, *, updates):
  place = folder / f"{name}-{seed}"
  place.mkdir(parents=True)
  config = {"estimator_options": {name: {"discount": 0.9}}}
  (place / "config.json").write_text(json.dumps(config))
  shared = {"num_updates": updates, "eval_every": 1}
  (folder / "config.json").write_text(json.dumps(shared))
  lines = [
    json.dumps({"step": step, "eval/success": success})
    for step, success in enumerate(successes)
  ]
  (place / "metrics.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.extra("viz")
def test_report_only(place):
  folder = place / "made"
  for seed in (0, 1):
    write_run(folder / "plain", "grpo", seed, [0, 0.25, 0.5], updates=2)
    write_run(folder / "plain", "graphgpo", seed, [0, 0.5, 1.0], updates=2)
  write_run(folder / "small", "graphgpo", 7, [0, 0.5], updates=1)
  write_run(folder / "small", "gone", 7, [0], updates=1)
  status, output, errors = run(place, f"--workdir={folder}", "--report_only")
  assert status == 0, errors
  assert str(folder / "evidence.md") in output
  text = (folder / "evidence.md").read_text()
  assert "- small: gone lacks seeds 7" in text
  # The reference comes first, whatever the folders' order.
  command = markdown.section(text, "plain").split("    ")[1].splitlines()[0]
  words = shlex.split(command)
  assert words[:3] == ["python", "-m", "experiments.compare"]
  assert f"--config={place / 'worlds.py'}:plain" in words
  assert "--estimators=graphgpo,grpo" in words and "--seeds=0,1" in words
  numbers = json.loads((folder / "evidence.json").read_text())
  assert numbers["worlds"]["plain"]["grpo"]["each_area"] == [0.25, 0.25]
  for picture in ("evidence.png", "plain/curves.png", "small/curves.png"):
    assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    assert f"]({picture})" in text
  # Written again it is the same.
  status, _, errors = run(
    place, f"--workdir={folder}", "--report_only", "--worlds=plain,small"
  )
  assert status == 0, errors
  assert (folder / "evidence.md").read_text() == text


@pytest.mark.parametrize(
  "arguments, words",
  [
    (["--worlds=nowhere"], "no world 'nowhere'; there are plain"),
    (["--worlds=plain,plain"], "distinct"),
    (["--report_only"], "--worlds takes"),
    (["--estimators=graphgpo,ppo"], "ppo"),
    (["--estimators=gigpo,grpo"], "--reference=graphgpo is none"),
    (["--seeds=a"], "--seeds"),
    (["--worlds_file=missing.py"], "missing.py"),
  ],
)
@pytest.mark.slow
def test_bad_arguments_are_named(place, arguments, words):
  status, _, errors = run(place, f"--workdir={place / 'none'}", *arguments)
  assert status == 1 and "Traceback" not in errors
  assert words in errors
  assert not (place / "none").exists()


def alive(pid):
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  return True


@pytest.mark.skipif(
  not pathlib.Path("/proc/self/task").exists(),
  reason="the child's number is read from /proc",
)
@pytest.mark.slow
@pytest.mark.extra("viz")
def test_stopped_it_goes_on_and_a_broken_world_ends_nothing(place):
  folder = place / "runs"
  arguments = [
    f"--workdir={folder}",
    "--worlds=broken,plain,small",
    "--estimators=graphgpo,grpo",
    "--seeds=0,1",
  ]
  process = start(place, *arguments)
  first = folder / "plain" / "graphgpo-0" / "metrics.jsonl"
  deadline = time.monotonic() + 500
  while process.poll() is None and time.monotonic() < deadline:
    if comparison.read_curve(first, num_updates=100) is not None:
      break
    time.sleep(0.01)
  assert process.poll() is None, "it ended before it could be stopped"
  (child,) = (
    int(pid)
    for pid in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    .read_text()
    .split()
  )
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=600)
  assert process.returncode == 143
  assert not alive(child)
  attempts = json.loads((folder / "attempts.json").read_text())
  assert "stopped" in attempts["plain"] and "gravity" in attempts["broken"]
  kept = first.read_bytes()
  status, output, errors = run(place, *arguments)
  assert status == 1
  assert "1 of 3 worlds failed: broken" in errors
  assert "Traceback" not in errors
  assert first.read_bytes() == kept
  text = (folder / "evidence.md").read_text()
  gaps = markdown.section(text, "What is missing, failed or ended in a tie")
  assert "- broken failed: exit status 1" in gaps and "gravity" in gaps
  assert "plain failed" not in gaps and "lacks" not in gaps
  assert "gravity" in (folder / "broken.log").read_text()
  numbers = json.loads((folder / "evidence.json").read_text())
  assert set(numbers["worlds"]) == {"plain", "small"}
  for summary in numbers["worlds"].values():
    assert summary["grpo"]["seeds"] == [0, 1]
  # Commands of the page work as they stand.
  command = shlex.split(
    markdown.section(text, "small").split("    ")[1].splitlines()[0]
  )
  found = subprocess.run(
    [sys.executable, *command[1:]],
    cwd=binaries.ROOT,
    capture_output=True,
    text=True,
  )
  assert found.returncode == 0, found.stderr
  assert "4 runs of 2 updates" in found.stdout
