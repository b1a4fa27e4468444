"""The bench of credit: its tables, its sections and the binary."""

import json
import os
import pathlib
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from experiments.credit_bench import (
  accelerator,
  distances,
  family,
  generated,
  linearity,
  memory,
  near_equal,
  one_task,
  options,
  picture,
  pipelines,
)
from experiments.credit_references import scipy_pipeline
from graphgpo_jax import tables
from graphgpo_jax.credit import estimators
from tests import oracle

ROOT = pathlib.Path(__file__).parent.parent


def test_texts_are_new_objects_at_every_reading():
  stored = generated.generate_table(2, 3, 6)
  one, other = stored.fresh(), stored.fresh()
  assert one == other
  for name in stored.texts:
    assert all(
      first is not second
      for first, second in zip(one[name], other[name], strict=True)
    )
  # Within a reading, too: a reader of logs makes a text for each row.
  assert len(set(map(id, one["observation"]))) == stored.num_steps


def test_generated_rollouts():
  stored = generated.generate_table(4, 8, 30, seed=1)
  steps = stored.fresh()
  rollouts = oracle.rollouts_of(steps)
  assert len(rollouts) == 4 * 8
  won = [steps["success"][rows[-1]] for rows in rollouts.values()]
  assert 0 < sum(won) < len(won)
  for rows, success in zip(rollouts.values(), won, strict=True):
    assert [steps["t"][row] for row in rows] == list(range(len(rows)))
    # Ends by success or by the horizon.
    assert success or len(rows) == 30
    assert {steps["success"][row] for row in rows} == {success}
    for row, following in zip(rows, rows[1:], strict=False):
      assert steps["next_observation"][row] == steps["observation"][following]
  for row, valid in enumerate(steps["action_valid"]):
    if not valid:
      assert steps["next_observation"][row] == steps["observation"][row]
  lengths = np.array([len(text) for text in steps["observation"]])
  assert 200 < lengths.mean() < 240
  # Rollouts of a task meet, those of different tasks do not.
  distinct = set(steps["observation"])
  assert len(distinct) < stored.num_steps / 3
  owners = set(zip(steps["task"], steps["observation"], strict=True))
  assert len(owners) == len(distinct)


@pytest.mark.parametrize(
  "change, words",
  [
    ({}, None),
    ({"advantage": 5e-5}, None),
    ({"advantage": 2e-4}, "advantage differs by up to 0.0002, in row 1"),
    ({"advantage": np.nan}, "advantage differs"),
    ({"distance": 1e-6}, "distance differs in 1 rows, first in row 1"),
    ({"next_distance": 1.0}, "next_distance differs"),
  ],
)
def test_disagreement_is_found(change, words):
  names = ("distance", "next_distance", "advantage")
  expected = {name: np.zeros(3) for name in names}
  found = {name: np.array([0, change.get(name, 0.0), 0]) for name in names}
  wrong = pipelines.disagreement(found, expected)
  assert wrong is None if words is None else words in wrong


def tiny(**changes):
  given = {
    "sizes": (options.Size(2, 3, 5),),
    "repeats": 2,
    "quick": True,
    "stream_rollouts": 10,
    "one_task_rollouts": 10,
  }
  return options.Options(**given | changes)


def test_a_size_where_one_disagrees_is_not_timed(monkeypatch):
  calls = []

  def wrong(steps):
    calls.append(steps)
    found = scipy_pipeline.assign_credit(steps)
    return found | {"advantage": found["advantage"] + 0.01}

  monkeypatch.setattr(
    pipelines,
    "contestants",
    lambda: {pipelines.REFERENCE: scipy_pipeline.assign_credit, "w": wrong},
  )
  found = pipelines.measure(tiny())
  (record,) = found["sizes"]
  assert record["refused"].startswith("w and scipy: advantage differs")
  assert "seconds" not in record and len(calls) == 1
  assert "not timed: 2 x 3 x 5" in pipelines.table(found)


@pytest.mark.parametrize(
  "size, goal",
  [
    ("16x8x15", "-"),
    ("16x8x50", "<= 2"),
    ("128x8x50", "<= 1"),
    ("16x64x50", "<= 1"),
  ],
)
def test_goals(size, goal):
  assert pipelines.goal({"size": str(options.parse_size(size))}) == goal


@pytest.mark.parametrize("text", ["", "1x2", "1x2x0", "axbxc", "1x2x3x4"])
def test_bad_sizes_are_named(text):
  with pytest.raises(ValueError, match=r"--sizes takes .* got"):
    options.parse_size(text)


@pytest.mark.parametrize("shape", ["wide", "deep"])
def test_one_task(shape):
  columns = one_task.integer_columns(200, states=60, shape=shape)
  lists = {name: column.tolist() for name, column in columns.items()}
  assert len(lists["t"]) == 200 * one_task.HORIZON
  assert 0 < np.mean(columns["success"]) < 0.5
  expected = oracle.assign_credit(lists)
  found = tables.assign_credit(columns)
  np.testing.assert_array_equal(found["distance"], expected["distance"])
  farthest = found["distance"].max()
  assert farthest > 15 if shape == "deep" else farthest < 10


@pytest.mark.slow
def test_one_task_in_a_process_of_its_own():
  found = one_task.measure(tiny())
  assert [task["shape"] for task in found["tasks"]] == ["wide", "deep"]
  for task in found["tasks"]:
    assert task["steps"] == 100
    assert 0 < task["peak_gibibytes"] < 8
    assert sum(task["parts"].values()) > 0
    assert task["parts"]["node ids"] < task["seconds"]
  assert "peak memory, GiB" in one_task.table(found)


def test_parts_are_put_back():
  before = [getattr(module, name) for module, name, _ in one_task._PARTS]
  with one_task.timed_parts():
    assert one_task.table_device.node_ids is not before[2]
  after = [getattr(module, name) for module, name, _ in one_task._PARTS]
  assert after == before


def test_peak_of_a_command_is_its_own():
  held = bytearray(400 * 2**20)
  for start in range(0, len(held), 4096):
    held[start] = 1
  small = memory.run_command([sys.executable, "-c", "pass"])
  large = memory.run_command([sys.executable, "-c", "b'x' * (200 * 2**20)"])
  assert small["peak_gibibytes"] < 0.15 < large["peak_gibibytes"] < 0.3
  assert len(held) / 2**30 > 0.3
  with pytest.raises(ValueError, match="ended with .*oh"):
    memory.run_command([sys.executable, "-c", "raise SystemExit('oh')"])


def test_distances_of_a_batch():
  graphs = distances.random_graphs(3, 24, seed=2)
  found = distances.heapq_distances(graphs)
  assert np.isfinite(found).sum() > 3
  for row in range(3):
    valid = np.asarray(graphs.mask[row])
    expected = scipy_pipeline.dijkstra_distances(
      np.asarray(graphs.source[row])[valid],
      np.asarray(graphs.target[row])[valid],
      None,
      found.shape[1],
    )
    np.testing.assert_array_equal(found[row], expected)


@pytest.mark.slow
def test_every_form_of_the_distances_is_checked_and_timed():
  found = distances.measure(tiny())
  for batch in found["batches"]:
    assert not batch["failed"]
    assert set(batch["seconds"]) == {*distances.contestants(), "heapq"}
  assert "edges, lax.map" in distances.table(found)


def test_wrong_distances_are_not_timed(monkeypatch):
  monkeypatch.setattr(
    distances,
    "contestants",
    lambda: {"wrong": lambda graphs: np.zeros(graphs.node_mask.shape)},
  )
  with pytest.raises(ValueError, match="wrong differs from heapq"):
    distances.measure(tiny())


def naive_classes(texts, threshold, length):
  """Closure of all pairs, as the definition reads."""

  def elements(text):
    marked = "<" * (length - 1) + text + ">"
    runs = [marked[i : i + length] for i in range(len(text) + 1)]
    return {(run, runs[:i].count(run)) for i, run in enumerate(runs)}

  sets = [elements(text) for text in texts]
  names = list(range(len(texts)))
  for one in range(len(texts)):
    for other in range(one):
      shared = len(sets[one] & sets[other])
      if shared >= threshold * len(sets[one] | sets[other]):
        old, new = names[one], names[other]
        names = [new if name == old else name for name in names]
  return names


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(
  texts=st.lists(st.text("ab", max_size=8), min_size=1, max_size=8),
  threshold=st.sampled_from([0.5, 0.75]),
  length=st.integers(1, 3),
)
def test_exact_classes_compare_every_pair(texts, threshold, length):
  found = near_equal.exact_classes(texts, threshold=threshold, length=length)
  expected = np.array(naive_classes(texts, threshold, length))
  np.testing.assert_array_equal(
    found[:, None] == found, expected[:, None] == expected
  )


def test_precision_and_recall():
  found = np.array([7, 7, 7, 9, 9, 4])
  exact = np.array([0, 0, 1, 1, 1, 2])
  # Merged: 3 + 1 pairs; to merge: 1 + 3; both: 1 + 1.
  assert near_equal.agreement(found, exact) == {
    "precision": 0.5,
    "recall": 0.5,
    "pairs": 4,
  }


@pytest.mark.slow
def test_accelerator_runs_on_whatever_is_there():
  found = accelerator.measure_here(options.Size(3, 4, 6), calls=2, scale=2**14)
  assert set(found["forms"]) == {"sparse", "dense"}
  steps, nodes = accelerator.device_steps(options.Size(3, 4, 6))
  assert nodes == 29 and steps.mask.shape == (3, 24)
  forms = found["forms"]
  # 4 int32 or float32, 5 in all, and 4 bool columns in; 6 float32 out.
  assert forms["sparse"]["bytes"] == 3 * 24 * (5 * 4 + 4 * 1 + 6 * 4)
  assert forms["dense"]["bytes"] == forms["sparse"]["bytes"] + 2 * 4 * 3 * 29**2
  for form in forms.values():
    assert form["floor_seconds"] > 0 and form["fraction"] > 0
  assert "sparse" in accelerator.table(found)


def test_picture_has_every_contestant():
  results = {
    "pipelines": {
      "sizes": [
        {"steps": 20, "seconds": {"scipy": 2.0, "dict": 3.0}},
        {"steps": 10, "seconds": {"scipy": 1.0}},
        {"steps": 30, "refused": "apart"},
      ]
    },
    "linearity": {"sizes": [{"steps": 5, "seconds": 0.5}]},
  }
  assert picture.points(results) == {
    "scipy": [(10, 1.0), (20, 2.0)],
    "dict": [(20, 3.0)],
    "graphgpo_jax, 8 rollouts x 50": [(5, 0.5)],
  }


def run(*arguments):
  environment = dict(os.environ, JAX_PLATFORMS="cpu")
  environment.pop("XLA_FLAGS", None)
  return subprocess.run(
    [sys.executable, "-m", "experiments.bench_credit", *arguments],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    timeout=600,
  )


def assert_written(output):
  results = json.loads(output.read_text())
  picture_file = output.with_suffix(".png")
  assert picture_file.read_bytes().startswith(b"\x89PNG")
  assert {"cores", "jax", "backend", "load_average_after"} <= set(
    results["machine"]
  )
  return results


@pytest.mark.slow
def test_binary_measures_the_sections_it_is_given(tmp_path):
  output = tmp_path / "found.json"
  done = run(
    f"--output={output}", "--quick", "--sections=accelerator,linearity"
  )
  assert done.returncode == 0, done.stderr
  results = assert_written(output)
  assert results["accelerator"]["missing"]
  assert accelerator.COMMAND in done.stdout
  sizes = results["linearity"]["sizes"]
  assert len(sizes) == 2 and sizes[0]["ratio"] == 1.0
  assert all(len(record["rounds"]) == 2 for record in sizes)
  assert linearity.table(results["linearity"]) in done.stdout
  assert "pipelines" not in results


@pytest.mark.slow
def test_family_measures_every_estimator(monkeypatch):
  names = ("graphgpo", "grpo", "salt")
  monkeypatch.setattr(
    family.estimators,
    "ESTIMATORS",
    {name: estimators.ESTIMATORS[name] for name in names},
  )
  found = family.measure(tiny(repeats=2))
  assert tuple(found["estimators"]) == names
  assert found["estimators"]["graphgpo"]["ratio"] == 1.0
  assert all(len(r["rounds"]) == 2 for r in found["estimators"].values())
  lines = family.table(found).splitlines()
  assert len(lines) == 4
  assert lines[3].split()[0] == "salt" and lines[3].endswith("<= 2")


@pytest.mark.slow
@pytest.mark.extra("dev")
@pytest.mark.extra("logs")
def test_binary_measures_everything(tmp_path):
  output = tmp_path / "found.json"
  done = run(f"--output={output}", "--quick", "--sizes=2x3x5,4x4x8")
  assert done.returncode == 0, done.stderr
  results = assert_written(output)
  sizes = results["pipelines"]["sizes"]
  assert [record["size"] for record in sizes] == ["2 x 3 x 5", "4 x 4 x 8"]
  for record in sizes:
    assert set(record["seconds"]) == set(pipelines.contestants())
    assert record["ratio"]["scipy"] == 1.0
    assert all(apart <= 1e-4 for apart in record["apart"].values())
  assert len(results["one_task"]["tasks"]) == 2
  assert results["distances"]["batches"]
  assert results["near_equal"]["exact"]["recall"] >= 0.99
  assert results["near_equal"]["exact"]["precision"] >= 0.99
  assert results["stream"]["rows"] == 1920
  assert 0 < results["stream"]["peak_gibibytes"] < 2


@pytest.mark.parametrize(
  "arguments, words",
  [
    (["--sections=speed"], "--sections: unknown section 'speed'"),
    (["--sizes=8x8"], "--sizes takes groups x rollouts x horizon"),
    (["surplus"], "surplus"),
  ],
)
@pytest.mark.slow
def test_bad_arguments_are_named(tmp_path, arguments, words):
  output = tmp_path / "found.json"
  done = run(f"--output={output}", *arguments)
  assert done.returncode != 0 and "Traceback" not in done.stderr
  assert words in done.stderr + done.stdout
  assert not output.exists()
