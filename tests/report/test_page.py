"""What a report reads, what it leaves out, and the page's text."""

import json
import pathlib
import re

import numpy as np
import pytest

from graphgpo_jax.report import (
  advantages,
  curve_payload,
  graph_picture,
  kept_steps,
  page,
  page_data,
  runs,
  selection,
)
from tests.report import made_runs

NAMES = ["grpo", "graphgpo"]


@pytest.fixture
def without_compiling(monkeypatch):
  def progress(graph, options, *, size):
    assert size >= len(graph.source)
    return {
      name: graph.progress.astype(np.float32) * (place + 1)
      for place, name in enumerate(options)
    }

  monkeypatch.setattr(advantages, "all_advantages", progress)


def gather(folder, *, max_bytes=5_000_000, **options):
  return page_data.gather(
    runs.read_runs(folder),
    **{"num_updates": 8, "num_tasks": 4, "names": NAMES, **options},
    max_bytes=max_bytes,
  )


def data_of(text):
  """The JSON block of a page, as a browser would cut it out."""
  block = re.search(
    r'<script type="application/json" id="data">(.*?)</script', text, re.S
  )
  return json.loads(block[1])


@pytest.mark.usefixtures("without_compiling")
def test_a_page_holds_its_data_and_no_request(tmp_path):
  made_runs.write_run(tmp_path / "graphgpo-0", states=7)
  data = gather(tmp_path / "graphgpo-0")
  text = page.render(data, title="a <b> & c")
  assert data_of(text) == data
  assert "<title>a &lt;b&gt; &amp; c</title>" in text
  assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
  assert "{{" not in text
  # Texts of the log are data: none of their tags is one of the page's.
  assert any(made_runs.TRICKS in one for one in data["texts"])
  assert "alert(1)" in text and "<script>alert" not in text
  assert len(re.findall("</script", text)) == 2


@pytest.mark.usefixtures("without_compiling")
def test_what_is_left_out_is_told(tmp_path):
  made_runs.write_run(tmp_path, states=7, updates=range(1, 10), tasks=3)
  data = gather(tmp_path, num_updates=4, num_tasks=2)
  assert len(data["graphs"]) == 8
  assert sorted({one["update"] for one in data["graphs"]}) == [1, 4, 6, 9]
  assert "8 of 27 kept graphs" in data["notes"][0]
  assert "--updates and --tasks" in data["notes"][0]
  small = gather(tmp_path, max_bytes=30_000)
  assert 0 < len(small["graphs"]) < 27
  assert "--megabytes" in small["notes"][0]
  assert len(page.escaped_json(small)) < 31_000


@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize("graphs", [0, 1, 5])
def test_texts_of_graphs_that_are_left_out_are_too(
  tmp_path, monkeypatch, graphs
):
  monkeypatch.setattr(made_runs, "TRICKS", "many words " * 900)
  made_runs.write_run(tmp_path, states=7, updates=range(1, 4), tasks=2)
  # As many of the six as fit, each with pages of its own.
  for path in (tmp_path / "rollouts").glob("update-*.jsonl"):
    text = path.read_text().replace("You stand", f"{path.stem}: you stand")
    path.write_text(text)
  whole = gather(tmp_path)
  assert len(whole["graphs"]) == 6
  size = len(page.escaped_json(whole))
  limit = {0: 20_000, 1: size // 3, 5: size - 9_000}[graphs]
  small = gather(tmp_path, max_bytes=limit)
  assert len(page.escaped_json(small)) < limit + 1_000
  shown = {
    number
    for one in small["graphs"]
    for numbers in (
      one["nodes"]["text"],
      one["edges"]["action"],
      one["steps"]["said"],
    )
    for number in numbers
  }
  assert shown == set(range(len(small["texts"])))
  assert (len(small["graphs"]) == 0) == (graphs == 0)
  assert len(small["graphs"]) < 6


@pytest.mark.usefixtures("without_compiling")
def test_progress_counts_rollouts_that_failed(tmp_path):
  made_runs.write_run(tmp_path, states=20, updates=(3,), tasks=1)
  (row,) = gather(tmp_path)["progress"]
  steps = made_runs.walk(states=20, seed=3, update=3)
  failed = [one for one in steps if not one["success"]]
  assert row["failed_steps"] == len(failed) > 0
  assert row["successful_steps"] == len(steps) - len(failed)


def test_runs_of_a_comparison(tmp_path):
  for name in ("gigpo-0", "gigpo-1", "grpo-10"):
    made_runs.write_run(tmp_path / name, states=5, estimator=name.split("-")[0])
  (tmp_path / "notes").mkdir()
  found = runs.read_runs(tmp_path)
  assert [run.group for run in found] == ["gigpo", "gigpo", "grpo"]
  assert [run.estimator for run in found] == ["gigpo", "gigpo", "grpo"]
  payload = curve_payload.runs_payload(found)
  assert payload[0]["metrics"]["eval/success"][0] == [0, 1, 2, 3, 4, 5]


def test_long_runs_of_unequal_length_keep_the_same_steps():
  def run(length):
    lines = [{"step": step, "eval/success": 0.5} for step in range(length)]
    folder = pathlib.Path("graphgpo-0")
    return runs.Run(
      name="", folder=folder, config={}, metrics=lines, group="graphgpo"
    )

  payload = curve_payload.runs_payload([run(1000), run(900), run(300)])
  steps = [one["metrics"]["eval/success"][0] for one in payload]
  most = curve_payload.MOST_POINTS
  assert [one[-1] for one in steps] == [999, 899, 299]
  assert most * 0.9 < len(steps[0]) <= most + 1
  assert set(steps[1][:-1]) == {one for one in steps[0] if one < 899}
  assert set(steps[2][:-1]) == {one for one in steps[0] if one < 299}


def test_a_run_under_way(tmp_path):
  made_runs.write_run(tmp_path, states=5)
  with (tmp_path / "metrics.jsonl").open("a") as file:
    file.write('{"step": 6, "eval/suc')
  (run,) = runs.read_runs(tmp_path)
  assert run.metrics[-1]["step"] == 5
  path = tmp_path / "rollouts" / "update-000004.jsonl"
  whole = kept_steps.find_steps(tmp_path)
  path.write_bytes(path.read_bytes()[:-30])
  found = kept_steps.find_steps(tmp_path)
  assert (whole.skipped, found.skipped) == (0, 1)
  assert found.places[1] == whole.places[1]


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_no_run(tmp_path, name):
  (tmp_path / "file").write_text("")
  with pytest.raises(ValueError, match="is not a folder"):
    runs.read_runs(tmp_path / name)
  with pytest.raises(ValueError, match="holds no run"):
    runs.read_runs(tmp_path)


def test_a_repeated_update_is_read_from_the_newest_file(tmp_path):
  folder = tmp_path / "rollouts"
  folder.mkdir()
  for number in (1, 2):
    rows = [
      row | {"response": f'file {number}, "update": 7, "task": "x"'}
      for row in made_runs.walk(states=5, update=3)
    ]
    (folder / f"rollouts-{number:06d}.jsonl").write_text(
      "".join(json.dumps(row) + "\n" for row in rows)
    )
  (folder / "failed-000003.jsonl").write_text('{"update": 3, "task": "3/0"}\n')
  kept = kept_steps.find_steps(tmp_path)
  assert list(kept.places) == [3]
  table = kept_steps.read_steps(kept.places[3]["3/0"])
  assert len(table["t"]) == len(rows)
  assert {text[:6] for text in table["response"]} == {"file 2"}


def test_a_broken_row_names_its_file(tmp_path):
  (tmp_path / "rollouts").mkdir()
  path = tmp_path / "rollouts" / "update-000001.jsonl"
  path.write_text('{"task": "1/0", "update": 1}\n')
  kept = kept_steps.find_steps(tmp_path)
  with pytest.raises(ValueError, match=r"update-000001\.jsonl.*trajectory"):
    kept_steps.read_steps(kept.places[1]["1/0"])


@pytest.mark.parametrize(
  "count, wanted", [(1, [9]), (2, [0, 9]), (4, [0, 3, 6, 9]), (99, range(10))]
)
def test_spread(count, wanted):
  assert selection.spread(range(10), count) == list(wanted)


@pytest.mark.usefixtures("without_compiling")
def test_pictures_for_papers(tmp_path):
  pytest.importorskip("matplotlib")
  made_runs.write_run(tmp_path / "run", states=7)
  data = gather(tmp_path / "run")
  found = graph_picture.write_pictures(data, tmp_path / "out", NAMES)
  assert {path.name for path in found} == {
    f"run-update-4-{name}.{kind}" for name in NAMES for kind in ("png", "svg")
  }
  for path in found:
    start = path.read_bytes()[:100]
    assert start.startswith(b"\x89PNG") or b"<?xml" in start
  one, other = (path.read_bytes() for path in found if path.suffix == ".svg")
  assert one != other
