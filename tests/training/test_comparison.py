"""Tables, curves and progress lines against numbers worked out by hand."""

import contextlib
import json
import math
import sys

import pytest

from graphgpo_jax.report import curves as curves_lib
from graphgpo_jax.training import comparison, progress

FAST = {0: 0.0, 1: 0.5, 2: 1.0}
SLOW = {0: 0.0, 1: 0.0, 2: 0.4}


def test_updates_to():
  assert comparison.updates_to(FAST, 0.5) == 1
  assert comparison.updates_to(FAST, 0.9) == 2
  assert comparison.updates_to(FAST, 0.0) == 0
  assert comparison.updates_to(SLOW, 0.5) is None
  # The first time counts, and the order of the mapping does not.
  assert comparison.updates_to({4: 0.2, 2: 0.9, 3: 0.9}, 0.9) == 2


def test_area_under():
  assert comparison.area_under(FAST) == pytest.approx(0.5)
  assert comparison.area_under(SLOW) == pytest.approx(0.1)
  # Updates that were not evaluated are drawn straight through.
  assert comparison.area_under({0: 0.0, 4: 1.0, 5: 1.0}) == pytest.approx(0.6)
  assert comparison.area_under({3: 0.25}) == 0.25


def test_mean_and_interval():
  mean, half = comparison.mean_and_interval([1.0, 2.0, 3.0])
  assert mean == 2.0
  assert half == pytest.approx(4.303 / math.sqrt(3), rel=1e-3)
  mean, half = comparison.mean_and_interval([1.0, 2.0])
  assert half == pytest.approx(12.706 * math.sqrt(0.5) / math.sqrt(2), rel=1e-4)
  mean, half = comparison.mean_and_interval([4.0])
  assert mean == 4.0 and half is None


def summary():
  curves = {
    "quick": {1: FAST, 0: {0: 0.0, 1: 1.0, 2: 1.0}},
    "late": {0: SLOW, 1: FAST},
  }
  return comparison.summarise(curves, checkpoints=[1, 2, 5])


def test_summary():
  found = summary()
  quick, late = found["quick"], found["late"]
  assert quick["seeds"] == [0, 1]
  # No run has an update 5.
  assert sorted(quick["success"]) == [1, 2]
  assert quick["success"][1][0] == 0.75
  assert quick["each_updates_to_90"] == [1, 2]
  assert quick["updates_to_90"][0] == 1.5
  assert (quick["reached_50"], quick["reached_90"]) == (2, 2)
  assert late["each_updates_to_50"] == [None, 1]
  assert (late["reached_50"], late["reached_90"]) == (1, 1)
  # Never reached counts as the updates there were.
  assert late["updates_to_50"][0] == 1.5
  assert late["updates_to_90"][0] == 2.0
  assert late["area"][0] == pytest.approx(0.3)
  json.dumps(found)
  with pytest.raises(ValueError, match="no run of empty"):
    comparison.summarise({"empty": {}}, checkpoints=[])


def test_table():
  lines = comparison.table(summary()).splitlines()
  assert len(lines) == 4
  assert len({len(line) for line in lines}) == 1
  cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
  assert cells[0] == [
    "estimator",
    "seeds",
    "success at 1",
    "success at 2",
    "updates to 50 %",
    "updates to 90 %",
    "area under curve",
  ]
  assert all(set(cell) == {"-"} for cell in cells[1])
  assert cells[2][0] == "quick"
  # Both runs are at 1.0.
  assert cells[2][3] == "1.00 ± 0.00"
  assert not cells[2][5].startswith(">=")
  assert cells[3][5].startswith(">= 2.0") and cells[3][5].endswith("(1 never)")
  single = comparison.summarise({"one": {0: FAST}}, checkpoints=[2])
  assert "| 1.00 " in comparison.table(single)
  assert "nan" not in comparison.table(single)


def test_curves_are_drawn(tmp_path):
  pytest.importorskip("matplotlib", reason="extra [viz] is not installed")
  curves = {"graphgpo": {0: FAST, 1: SLOW}, "grpo": {0: SLOW, 1: SLOW}}
  path = tmp_path / "curves.png"
  curves_lib.draw_curves(curves, path, title="household")
  assert path.read_bytes().startswith(b"\x89PNG")
  assert path.stat().st_size > 5000


def test_missing_matplotlib_names_the_command(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "matplotlib", None)
  with pytest.raises(ImportError, match=r"pip install 'graphgpo-jax\[viz\]'"):
    curves_lib.draw_curves({"a": {0: FAST}}, tmp_path / "a.png", title="a")


@pytest.fixture
def clock(monkeypatch):
  """A clock that the test moves."""
  now = [100.0]
  monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
  return now


def test_plain_lines_where_there_is_no_terminal(clock, capsys):
  bar = progress.Progress(10, title="grpo", done=2)
  with bar.running():
    bar.show(2, {"success": 0.5})
    clock[0] += 1
    bar.show(3, {"success": 0.5})  # Too soon after the last line.
    clock[0] += 5
    bar.show(8, {"success": 0.75, "entropy": 1})
    bar.write("a word")
    clock[0] += 1
    bar.show(10, {})  # The last one is always told.
  first, second, word, last = capsys.readouterr().out.splitlines()
  assert first.startswith("grpo: update 2/10  success 0.500")
  assert second == (
    "grpo: update 8/10  success 0.750  entropy 1.000  "
    "(1.00 updates/s, 2 s left)"
  )
  assert word == "a word"
  assert last.startswith("grpo: update 10/10")
  assert "()" not in first


def test_a_bar_on_a_terminal(monkeypatch, capsys):
  monkeypatch.setenv("FORCE_COLOR", "1")
  monkeypatch.setenv("TERM", "xterm")
  monkeypatch.setenv("COLUMNS", "100")
  bar = progress.Progress(4, title="grpo")
  with contextlib.ExitStack() as stack:
    stack.enter_context(bar.running())
    bar.show(1, {"success": 0.5})
    bar.write("a word")
    bar.show(4, {"success": 1.0})
  shown = capsys.readouterr().out
  assert "4/4" in shown and "success 1.000" in shown and "updates/s" in shown
  assert "a word" in shown
