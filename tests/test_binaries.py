"""experiments.train and experiments.compare as a user starts them."""

import json
import signal
import time

import pytest

from graphgpo_jax.training import metrics
from tests import binaries

# Whole runs: test-all.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def place(tmp_path_factory):
  """A folder with a config; the processes share what they compile."""
  folder = tmp_path_factory.mktemp("binaries")
  binaries.write_config(folder / "tiny.py")
  return folder


def run(place, binary, *arguments, config="tiny.py", workdir="run"):
  """Exit status, output and error text of a process."""
  process = binaries.start(
    place,
    binary,
    f"--config={place / config}",
    f"--workdir={place / workdir}",
    *arguments,
  )
  return binaries.finish(process)


def lines_of(folder):
  return metrics.read_metrics(folder / "metrics.jsonl")


def without_times(folder):
  return [
    {name: line[name] for name in line if not name.startswith("time/")}
    for line in lines_of(folder)
  ]


@pytest.fixture(scope="session")
def trained(place):
  """Folder and output of one whole run."""
  status, output, errors = run(place, "train")
  assert status == 0, errors
  return place / "run", output


def refused(status, errors):
  """The one line of a refusal; warnings of libraries are none."""
  assert status not in (0, None)
  assert "Traceback" not in errors
  (line,) = [line for line in errors.splitlines() if line.startswith("error:")]
  return line


def test_train_leaves_its_files(trained):
  folder, output = trained
  names = {path.name for path in folder.iterdir()}
  assert names == {
    "checkpoints",
    "config.json",
    "metrics.jsonl",
    "rollouts",
    "tensorboard",
  }
  config = json.loads((folder / "config.json").read_text())
  assert config["policy"]["width"] == 8
  lines = lines_of(folder)
  assert [line["step"] for line in lines] == [0, 1, 2, 3]
  for line in lines:
    assert 0 <= line["eval/success"] <= 1
    assert any(name.startswith("time/") for name in line)
  (events,) = (folder / "tensorboard").iterdir()
  assert events.stat().st_size > 0
  assert any((folder / "checkpoints").iterdir())
  # Not a terminal: plain lines, no bar.
  assert "update 3/3" in output and "\x1b" not in output
  assert "success on the panel" in output


def test_evaluate_prints_the_last_line_again(place, trained):
  status, output, errors = run(place, "train", "--evaluate")
  assert status == 0, errors
  found = json.loads(output)
  last = lines_of(trained[0])[-1]
  assert found.pop("step") == 3
  assert found == {name: last[name] for name in last if name[:5] == "eval/"}


def test_started_again_it_is_finished(place, trained):
  before = (trained[0] / "metrics.jsonl").read_bytes()
  status, output, errors = run(place, "train")
  assert status == 0, errors
  assert "nothing left to train" in output
  assert (trained[0] / "metrics.jsonl").read_bytes() == before


def test_train_refuses_another_config(place, trained):
  status, output, errors = run(place, "train", "--config.seed=4")
  assert (status, output) == (1, "")
  line = refused(status, errors)
  assert "another config" in line and "seed (0 there, 4 here)" in line


def test_train_refuses_a_key_that_does_not_exist(place):
  status, _, errors = run(
    place, "train", "--config.nonexistent=1", workdir="none"
  )
  assert "nonexistent" in refused(status, errors)
  assert not (place / "none").exists()


@pytest.mark.parametrize(
  "binary, arguments, words",
  [
    ("train", ["--config.optimizer.learning_rate=fast"], "learning_rate"),
    ("train", ["--config.estimator=ppo"], "estimator"),
    ("train", ["--config=missing.py"], "missing.py"),
    ("train", ["--evaluate"], "holds no run"),
    ("compare", ["--estimators=graphgpo,ppo"], "ppo"),
    ("compare", ["--estimators="], "estimators"),
    ("compare", ["--seeds=0,x"], "seeds"),
    ("compare", ["--seeds=1,1"], "seeds"),
    ("compare", ["--reference=rloo"], "reference"),
  ],
)
@pytest.mark.slow
def test_bad_arguments_are_named(place, binary, arguments, words):
  status, _, errors = run(place, binary, *arguments, workdir="none")
  # What flags refuse themselves they say in lines of their own.
  assert status not in (0, None) and "Traceback" not in errors
  assert words in errors
  assert not (place / "none").exists()


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_it_had_not_been(place):
  binaries.write_config(place / "long.py", updates=40, checkpoint_every=1)
  status, _, errors = run(place, "train", config="long.py", workdir="unbroken")
  assert status == 0, errors
  folder = place / "killed"
  process = binaries.start(
    place,
    "train",
    f"--config={place / 'long.py'}",
    f"--workdir={folder}",
  )
  deadline = time.monotonic() + 500
  while process.poll() is None and time.monotonic() < deadline:
    path = folder / "metrics.jsonl"
    if path.exists() and path.read_bytes().count(b"\n") >= 5:
      break
    time.sleep(0.002)
  assert process.poll() is None, "the run ended before it could be killed"
  process.send_signal(signal.SIGKILL)
  process.communicate()
  before = (folder / "metrics.jsonl").read_bytes()
  assert before.count(b"\n") < 41
  status, _, errors = run(place, "train", config="long.py", workdir="killed")
  assert status == 0, errors
  whole = before[: before.rfind(b"\n") + 1]
  assert (folder / "metrics.jsonl").read_bytes().startswith(whole)
  assert without_times(folder) == without_times(place / "unbroken")


@pytest.mark.slow
def test_compare_writes_a_table_and_a_picture(place):
  arguments = ["--estimators=graphgpo,grpo", "--seeds=0,1"]
  status, output, errors = run(place, "compare", *arguments, workdir="compare")
  assert status == 0, errors
  folder = place / "compare"
  table = (folder / "table.md").read_text()
  assert table in output
  # Two tables of two rows each, and what their columns mean.
  means, robust, legend = table.split("\n\n")
  assert means.count("\n") == robust.count("\n") == 3
  assert "P(area > graphgpo's)" in robust and "bootstrap" in legend
  assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
  results = json.loads((folder / "results.json").read_text())
  assert set(results["summary"]) == {"graphgpo", "grpo"}
  for name in ("graphgpo", "grpo"):
    assert results["summary"][name]["seeds"] == [0, 1]
    for seed in (0, 1):
      lines = lines_of(folder / f"{name}-{seed}")
      assert [line["step"] for line in lines] == [0, 1, 2, 3]
      assert results["curves"][name][str(seed)] == {
        str(line["step"]): line["eval/success"] for line in lines
      }
  # The same seed starts from the same policy, whatever the estimator.
  starts = [
    without_times(folder / f"{name}-1")[0] for name in ("graphgpo", "grpo")
  ]
  assert starts[0] == starts[1]
  # Options of an estimator bind its own runs: these of rloo change none.
  arguments.append("--config.estimator_options.rloo.invalid_penalty=0.2")
  # What is there is read, and not run again; what was cut is.
  kept = (folder / "grpo-0" / "metrics.jsonl").read_bytes()
  cut = folder / "grpo-1" / "metrics.jsonl"
  expected = without_times(folder / "grpo-1")
  cut.write_text("".join(cut.read_text().splitlines(keepends=True)[:2]))
  status, _, errors = run(place, "compare", *arguments, workdir="compare")
  assert status == 0, errors
  assert (folder / "grpo-0" / "metrics.jsonl").read_bytes() == kept
  assert without_times(folder / "grpo-1") == expected
  assert (folder / "table.md").read_text() == table
  arguments.append("--config.estimator_options.grpo.invalid_penalty=0.2")
  status, _, errors = run(place, "compare", *arguments, workdir="compare")
  line = refused(status, errors)
  assert "grpo-0 holds another config" in line
  assert "estimator_options.grpo.invalid_penalty" in line
