"""experiments.report as a user starts it, on a run just trained."""

import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from graphgpo_jax import tables
from tests import binaries

pytestmark = [pytest.mark.extra("viz"), pytest.mark.slow]

# What --static draws unless it is told otherwise.
DRAWN = ("grpo", "gigpo", "graphgpo")
# Numbers of the page have four digits, and their program is compiled otherwise.
TOLERANCE = 2e-3


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """A folder with the smallest run there is in `run`."""
  folder = tmp_path_factory.mktemp("report_binary")
  binaries.write_config(folder / "tiny.py", updates=2)
  status, _, errors = binaries.finish(
    binaries.start(
      folder,
      "train",
      f"--config={folder / 'tiny.py'}",
      f"--workdir={folder / 'run'}",
    )
  )
  assert status == 0, errors
  return folder


@pytest.fixture(scope="module")
def written(place):
  """What the binary printed of a report with pictures."""
  pytest.importorskip("matplotlib", reason="extra [viz] is not installed")
  status, output, errors = report(
    place, "run", f"--static={place / 'pictures'}"
  )
  assert status == 0, errors
  return output


def report(place, workdir, *arguments):
  """Exit status, output and error text; its page is `<workdir>.html`."""
  process = binaries.start(
    place,
    "report",
    f"--workdir={place / workdir}",
    f"--output={place / workdir}.html",
    *arguments,
  )
  return binaries.finish(process)


def data_of(place):
  text = (place / "run.html").read_text(encoding="utf-8")
  block = re.search(
    r'<script type="application/json" id="data">(.*?)</script', text, re.S
  )
  return json.loads(block[1])


def kept_rows(place):
  """Rows that the run kept, by update and task."""
  found = {}
  for path in sorted((place / "run" / "rollouts").glob("update-*.jsonl")):
    for line in path.read_text().splitlines():
      row = json.loads(line)
      found.setdefault((row["update"], str(row["task"])), []).append(row)
  return found


def test_the_page_holds_the_run(place, written):
  page = place / "run.html"
  assert 10_000 < page.stat().st_size < 5_000_000
  kept = kept_rows(place)
  assert {update for update, _ in kept} == {1, 2}
  data = data_of(place)
  assert f"{len(kept)} graphs of 1 run," in written
  assert {(one["update"], one["task"]) for one in data["graphs"]} == set(kept)
  (run,) = data["runs"]
  lines = (place / "run" / "metrics.jsonl").read_text().splitlines()
  metrics = [json.loads(line) for line in lines]
  steps, values = run["metrics"]["eval/success"]
  assert steps == [line["step"] for line in metrics] == [0, 1, 2]
  np.testing.assert_allclose(
    values, [line["eval/success"] for line in metrics], rtol=1e-4
  )


def test_its_advantages_are_those_of_assign_credit(place, written):
  kept = kept_rows(place)
  config = json.loads((place / "run" / "config.json").read_text())
  seen = 0
  for graph in data_of(place)["graphs"]:
    rows = kept[graph["update"], graph["task"]]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    # Its steps stand rollout by rollout, in the order of time.
    names = [str(name) for name in graph["rollouts"]["name"]]
    order = sorted(
      range(len(rows)),
      key=lambda at: (names.index(str(rows[at]["trajectory"])), rows[at]["t"]),
    )
    for estimator in DRAWN:
      found = tables.assign_credit(
        columns, estimator, **config["estimator_options"][estimator]
      )["advantage"][order]
      np.testing.assert_allclose(
        graph["advantage"][estimator], found, atol=TOLERANCE, err_msg=estimator
      )
      seen += np.abs(found).max() > 0.1
  assert seen


def test_the_pictures_are_there(place, written):
  pictures = {path.name: path for path in (place / "pictures").iterdir()}
  assert set(pictures) == {
    f"run-update-2-{name}.{kind}" for name in DRAWN for kind in ("png", "svg")
  }
  for path in pictures.values():
    assert str(path) in written
    assert path.stat().st_size > 2_000
    if path.suffix == ".png":
      assert path.read_bytes().startswith(b"\x89PNG\r\n")
    else:
      assert ElementTree.parse(path).getroot().tag.endswith("}svg")


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_without_a_run_is_named(place, there):
  name = "empty" if there else "missing"
  if there:
    (place / name).mkdir()
  status, output, errors = report(place, name)
  assert (status, output) == (1, "")
  (line,) = [one for one in errors.splitlines() if one.startswith("error:")]
  assert str(place / name) in line and "Traceback" not in errors
  assert not (place / f"{name}.html").exists()
  assert (place / name).exists() == there
