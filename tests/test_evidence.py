"""experiments.evidence: its worlds, its page, and that it goes on."""

import importlib
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import pytest

from experiments import choices, evidence_worlds
from graphgpo_jax import envs
from graphgpo_jax.credit import estimators
from graphgpo_jax.report import evidence
from graphgpo_jax.training import comparison, settings

ROOT = pathlib.Path(__file__).parent.parent

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
TINY_CONFIG = """
from graphgpo_jax.training import settings


def get_config():
  config = settings.default_config()
  config.num_updates = 3
  config.environment.update(
    {"tier": 1, "num_receptacles": 2, "num_objects": 1, "horizon": 6}
  )
  config.panel.size = 4
  config.policy.num_layers = 1
  config.policy.width = 8
  config.policy.num_heads = 2
  config.rollout.tasks_per_update = 2
  config.rollout.rollouts_per_task = 3
  config.loss.num_minibatches = 2
  config.loss.chunk_size = 8
  return config
"""


# --- What the flags and the table of worlds say.


def test_all_is_every_estimator():
  assert choices.estimator_names(["all"]) == list(estimators.ESTIMATORS)
  assert choices.estimator_names(["grpo", "gigpo"]) == ["grpo", "gigpo"]
  assert choices.seeds(["3", "0"]) == [3, 0]
  for words in ([], ["grpo", "grpo"], ["grpo", "ppo"], ["grpo", "all"]):
    with pytest.raises(ValueError):
      choices.estimator_names(words)
  for words in ([], ["1", "1"], ["x"]):
    with pytest.raises(ValueError, match="--seeds takes"):
      choices.seeds(words)


@pytest.mark.parametrize("name", evidence_worlds.WORLDS)
def test_every_world_can_be_built(name):
  config = evidence_worlds.get_config(name)
  settings.check_config(config)
  options = config.environment.to_dict()
  environment = envs.make_environment(options.pop("name"), **options)
  assert environment.spec.horizon >= 15


def test_overrides_are_set():
  worlds = {
    "a": evidence_worlds.World(
      "experiments/configs/smoke.py",
      {"environment.slip": 0.1, "optimizer.learning_rate": 0.5},
    )
  }
  config = evidence_worlds.config_of(worlds, "a")
  assert config.environment.slip == 0.1
  assert config.optimizer.learning_rate == 0.5
  # The file's own config is another one.
  module = importlib.import_module("experiments.configs.smoke")
  assert "slip" not in module.get_config().environment
  assert worlds["a"].describe() == (
    "`experiments/configs/smoke.py` with `environment.slip=0.1`, "
    "`optimizer.learning_rate=0.5`"
  )
  with pytest.raises(ValueError, match="no world 'b'; there are a"):
    evidence_worlds.config_of(worlds, "b")
  with pytest.raises(ValueError, match="missing.py"):
    evidence_worlds.load_module(pathlib.Path("missing.py"))


# --- The page, from curves.


def rising(start, *, updates=10):
  """Reaches 1.0 ten updates after `start`."""
  return {
    step: min(1.0, max(0.0, (step - start + 10) / 10))
    for step in range(updates + 1)
  }


def world(name, curves, **changes):
  values = {
    "name": name,
    "description": f"`{name}.py`",
    "command": f"run {name}",
    "num_updates": 10,
    "eval_every": 1,
    "curves": curves,
    "wanted": [(rule, seed) for rule in curves for seed in curves[rule]],
    "options": {rule: {"discount": 0.9} for rule in curves},
    "failure": None,
    "picture": f"{name}.png",
    **changes,
  }
  return evidence.WorldRuns(**values)


def runs(starts):
  return {seed: rising(start) for seed, start in enumerate(starts)}


FULL = {
  "graphgpo": runs([5, 5.5, 6, 6.5, 7]),
  "fast": runs([1, 1.5, 2, 2.5, 3]),
  "slow": runs([15, 15.5, 16, 16.5, 17]),
  "alike": runs([4.9, 5.4, 6.1, 6.6, 7.1]),
}
WORLDS = [
  world("full", FULL),
  world(
    "part",
    {"graphgpo": runs([5, 6]), "fast": runs([1, 2])},
    wanted=[(name, seed) for name in FULL for seed in (0, 1, 2)],
    options={"graphgpo": {"discount": 0.9}, "fast": {"discount": 0.5}},
  ),
  world("orphan", {"slow": runs([4])}),
  world(
    "empty",
    {},
    num_updates=0,
    failure="exit status 1, error: no key slip",
    picture=None,
  ),
]


@pytest.fixture(scope="module")
def numbers():
  return evidence.measure(WORLDS, reference="graphgpo")


@pytest.fixture(scope="module")
def text(numbers):
  return evidence.page(
    WORLDS,
    numbers,
    reference="graphgpo",
    command="run everything",
    picture="evidence.png",
  )


def section(text, title):
  start = text.index(f"## {title}\n")
  end = text.find("\n## ", start + 1)
  return text[start : end if end > 0 else None]


def test_numbers_of_the_page(numbers):
  assert list(numbers["worlds"]) == ["full", "part", "orphan"]
  over = numbers["over_worlds"]
  assert over["fast"]["worlds"] == ["full", "part"]
  assert over["fast"]["runs"] == 7
  assert over["fast"]["improvement"].value == 1.0
  assert over["slow"]["worlds"] == ["full"]
  assert over["slow"]["improvement"].value == 0.0
  # Another world's runs do not come into the reference's over these.
  expected = comparison.over_worlds({"full": FULL}, reference="graphgpo")
  assert over["slow"]["reference_area"] == expected["graphgpo"]["area"]
  json.dumps(numbers, allow_nan=False)
  again = evidence.measure(WORLDS, reference="graphgpo")
  assert again == numbers


def test_verdicts(numbers):
  found = evidence.verdicts(numbers["worlds"]["full"], reference="graphgpo")
  assert found == {"larger": ["fast"], "smaller": ["slow"], "tied": ["alike"]}
  # Two seeds against two tell nothing apart, however far they are.
  found = evidence.verdicts(numbers["worlds"]["part"], reference="graphgpo")
  assert found == {"larger": [], "smaller": [], "tied": ["fast"]}
  found = evidence.verdicts(numbers["worlds"]["orphan"], reference="graphgpo")
  assert found == {"larger": [], "smaller": [], "tied": []}


def test_page_says_how_each_number_is_made(text):
  assert "    run everything\n" in text
  for name in ("full", "part", "orphan"):
    assert f"    run {name}\n" in section(text, name)
    assert f"![success by update]({name}.png)" in section(text, name)
  assert "seeds 0, 1, 2, 3, 4." in section(text, "full")
  assert "10 updates, the panel played every 1" in section(text, "full")
  assert "![area under the curve by world](evidence.png)" in text
  assert "## empty" not in text


def test_page_lists_failures_gaps_and_ties(text):
  gaps = section(text, "What is missing, failed or ended in a tie")
  assert "- empty failed: exit status 1, error: no key slip\n" in gaps
  assert "- empty: no finished run\n" in gaps
  assert "- part: graphgpo lacks seeds 2\n" in gaps
  assert "- part: slow lacks seeds 0, 1, 2\n" in gaps
  assert "full:" not in gaps
  rows = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in gaps.splitlines()
    if line.startswith("| ")
  ]
  assert ["full", "fast", "slow", "alike"] in rows
  assert ["part", "-", "-", "fast"] in rows
  assert "4 tests were made" in gaps
  assert "Too few seeds for any difference to pass: part." in gaps
  never = "Never 90 %: slow (5 of 5: 0, 1, 2, 3, 4)."
  assert never in section(text, "full")
  assert "Never" not in section(text, "part")
  assert ">= 10.0" in section(text, "full")


def test_page_over_worlds_and_options(text):
  over = section(text, "Over the worlds")
  order = [line.split()[1] for line in over.splitlines() if line[:2] == "| "]
  assert order[2:] == ["fast", "graphgpo", "alike", "slow"]
  assert "Not in every world: alike, slow." in over
  options = section(text, "Options of the estimators")
  assert "- graphgpo: discount=0.9\n" in options
  assert "- fast: discount=0.9 (full); discount=0.5 (part)" in options


def test_page_without_any_run():
  numbers = evidence.measure(WORLDS[-1:], reference="graphgpo")
  text = evidence.page(
    WORLDS[-1:],
    numbers,
    reference="graphgpo",
    command="run everything",
    picture=None,
  )
  assert "no world has a finished run of graphgpo" in text
  assert "- empty failed" in text and "![" not in text


def test_page_without_gaps():
  numbers = evidence.measure(WORLDS[:1], reference="graphgpo")
  text = evidence.page(
    WORLDS[:1], numbers, reference="graphgpo", command="run", picture=None
  )
  assert "No run is missing, and none failed." in text


# --- The binary.


def start(place, *arguments):
  environment = dict(
    os.environ,
    JAX_PLATFORMS="cpu",
    JAX_COMPILATION_CACHE_DIR=str(place / "compiled"),
    JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
  )
  environment.pop("XLA_FLAGS", None)
  return subprocess.Popen(
    [
      sys.executable,
      "-m",
      "experiments.evidence",
      f"--worlds_file={place / 'worlds.py'}",
      *arguments,
    ],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def run(place, *arguments):
  process = start(place, *arguments)
  output, errors = process.communicate(timeout=600)
  return process.returncode, output, errors


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  pytest.importorskip("matplotlib", reason="extra [viz] is not installed")
  folder = tmp_path_factory.mktemp("evidence")
  (folder / "tiny.py").write_text(TINY_CONFIG)
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
  command = section(text, "plain").split("    ")[1].splitlines()[0]
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
  process.communicate(timeout=60)
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
  gaps = section(text, "What is missing, failed or ended in a tie")
  assert "- broken failed: exit status 1" in gaps and "gravity" in gaps
  assert "plain failed" not in gaps and "lacks" not in gaps
  assert "gravity" in (folder / "broken.log").read_text()
  numbers = json.loads((folder / "evidence.json").read_text())
  assert set(numbers["worlds"]) == {"plain", "small"}
  for summary in numbers["worlds"].values():
    assert summary["grpo"]["seeds"] == [0, 1]
  # Commands of the page work as they stand.
  command = shlex.split(section(text, "small").split("    ")[1].splitlines()[0])
  found = subprocess.run(
    [sys.executable, *command[1:]], cwd=ROOT, capture_output=True, text=True
  )
  assert found.returncode == 0, found.stderr
  assert "4 runs of 2 updates" in found.stdout
