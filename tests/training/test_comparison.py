"""Tables, curves and progress lines against numbers worked out by hand."""

import contextlib
import json
import math
import sys

import pytest

from graphgpo_jax.report import comparison_tables, intervals, markdown
from graphgpo_jax.report import curves as curves_lib
from graphgpo_jax.training import aggregate, comparison, progress

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


CURVES = {
  "quick": {1: FAST, 0: {0: 0.0, 1: 1.0, 2: 1.0}},
  "late": {0: SLOW, 1: FAST},
}


def summary(**options):
  return comparison.summarise(CURVES, checkpoints=[1, 2, 5], **options)


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
  assert late["iqm_updates_to_90"] == (2.0, 2.0, 2.0)
  assert late["area"][0] == pytest.approx(0.3)
  assert late["each_area"] == pytest.approx([0.1, 0.5])
  assert late["iqm_area"].value == pytest.approx(0.3)
  assert late["each_final"] == [0.4, 1.0]
  assert late["iqm_final"].value == pytest.approx(0.7)
  assert quick["against"] is None and late["against"] is None
  json.dumps(found, allow_nan=False)
  with pytest.raises(ValueError, match="no run of empty"):
    comparison.summarise({"empty": {}}, checkpoints=[])


def test_against_the_reference():
  found = summary(reference="late")
  assert found["late"]["against"] is None
  against = found["quick"]["against"]
  # Areas 0.75 and 0.5 against 0.1 and 0.5: three pairs won, one tied.
  assert against["area"].value == 3.5 / 4
  # Updates 1 and 2 against never and 2: the same.
  assert against["updates_to_90"].value == 3.5 / 4
  assert against["ratio_updates_to_90"] == pytest.approx(1.5 / 2)
  assert against["p_area"] > 0.05
  assert summary(reference="late") == found
  backwards = summary(reference="quick")["late"]["against"]
  assert backwards["area"].value == 0.5 / 4
  assert backwards["updates_to_90"].value == 0.5 / 4
  json.dumps(found, allow_nan=False)
  with pytest.raises(ValueError, match="'grpo' is none of quick, late"):
    summary(reference="grpo")


def test_a_reference_that_starts_over_90_has_no_ratio():
  curves = {"a": {0: {0: 0.95, 1: 1.0}}, "b": {0: {0: 0.0, 1: 1.0}}}
  found = comparison.summarise(curves, checkpoints=[], reference="a")
  assert found["b"]["against"]["ratio_updates_to_90"] is None
  json.dumps(found, allow_nan=False)
  text = comparison_tables.robust(found, reference="a")
  assert "unknown" in text and "nan" not in text


def test_over_worlds():
  found = comparison.over_worlds(
    {
      "one": CURVES,
      "two": {"late": {5: FAST}, "other": {5: SLOW}},
      "three": {"other": {5: FAST}},
    },
    reference="late",
  )
  # The largest area first.
  assert list(found) == ["quick", "late", "other"]
  late = found["late"]
  assert late["worlds"] == ["one", "two"] and late["runs"] == 3
  assert late["area"].value == pytest.approx((0.1 + 0.5 + 0.5) / 3)
  assert late["area"] == late["reference_area"]
  assert late["improvement"] is None
  assert late["reached_90"] == 2
  quick = found["quick"]
  assert quick["worlds"] == ["one"]
  # Over the same worlds, not over the reference's own.
  assert quick["reference_area"].value == pytest.approx(0.3)
  assert quick["improvement"].value == 3.5 / 4
  # A world without the reference counts for nobody.
  other = found["other"]
  assert other["worlds"] == ["two"]
  assert other["improvement"].value == 0.0
  assert other["final"].value == pytest.approx(0.4)
  json.dumps(found, allow_nan=False)
  assert comparison.over_worlds({"one": CURVES}, reference="grpo") == {}


def cells_of(text):
  lines = text.splitlines()
  assert len({len(line) for line in lines}) == 1
  return [[cell.strip() for cell in line.split(" | ")] for line in lines]


def test_table_of_means():
  cells = cells_of(comparison_tables.means(summary()))
  assert [cell.strip("| ") for cell in cells[0]] == [
    "estimator",
    "seeds",
    "success at 1",
    "success at 2",
    "updates to 50 %",
    "updates to 90 %",
    "area under curve",
  ]
  assert all(set(cell) <= set("-| ") for cell in cells[1])
  assert cells[2][0] == "| quick"
  # Both runs are at 1.0.
  assert cells[2][3] == "1.00 ± 0.00"
  assert not cells[2][5].startswith(">=")
  assert cells[3][5].startswith(">= 2.0") and cells[3][5].endswith("(1 never)")
  single = comparison.summarise({"one": {0: FAST}}, checkpoints=[2])
  assert "| 1.00 " in comparison_tables.means(single)
  assert "nan" not in comparison_tables.means(single)


def test_table_of_robust_numbers():
  found = summary(reference="late")
  cells = cells_of(comparison_tables.robust(found, reference="late"))
  header, quick, late = cells[0], cells[2], cells[3]
  assert header[5] == "times late's mean updates to 90 %"
  # The reference missed 90 % once, so that the ratio may be less.
  assert quick[5] == "<= 0.75"
  assert quick[6].startswith("0.88 [") and quick[7].startswith("0.88 [")
  assert late[4] == ">= 2.0 [2.0, 2.0] (1 never)"
  assert late[2].startswith("0.300 [0.100, 0.500]")
  assert [cell.strip("| ") for cell in late[5:]] == ["-"] * 4
  found = summary(reference="quick")
  cells = cells_of(comparison_tables.robust(found, reference="quick"))
  assert cells[3][5] == ">= 1.33"
  alone = cells_of(comparison_tables.robust(summary(), reference=None))
  assert len(alone[0]) == 5


def test_tables_say_what_they_hold():
  text = comparison_tables.tables(summary(), reference=None)
  assert "lower bounds" in text and "rank test" not in text
  text = comparison_tables.tables(summary(reference="late"), reference="late")
  assert "rank test" in text


def test_markdown_table_keeps_its_columns():
  text = markdown.table([["a|b", "c"], ["1", "22222"]])
  assert text.splitlines() == [
    "| a\\|b | c     |",
    "| ---- | ----- |",
    "| 1    | 22222 |",
  ]
  with pytest.raises(ValueError, match="one length"):
    markdown.table([["a"], ["b", "c"]])


def test_only_whole_runs_are_read(tmp_path):
  path = tmp_path / "metrics.jsonl"
  assert comparison.read_curve(path, num_updates=2) is None
  lines = [
    json.dumps({"step": 0, "eval/success": 0.25}),
    json.dumps({"step": 1, "loss": 1.0}),
    json.dumps({"step": 2, "eval/success": 0.5}),
  ]
  path.write_text("\n".join(lines[:2]) + "\n")
  assert comparison.read_curve(path, num_updates=2) is None
  # As a killed process leaves it.
  path.write_text("\n".join(lines)[:-4])
  assert comparison.read_curve(path, num_updates=2) is None
  path.write_text("\n".join(lines) + "\n")
  assert comparison.read_curve(path, num_updates=2) == {0: 0.25, 2: 0.5}


def test_curves_are_drawn(tmp_path):
  pytest.importorskip("matplotlib", reason="extra [viz] is not installed")
  curves = {"graphgpo": {0: FAST, 1: SLOW}, "grpo": {0: SLOW, 1: SLOW}}
  path = tmp_path / "curves.png"
  curves_lib.draw_curves(curves, path, title="household")
  assert path.read_bytes().startswith(b"\x89PNG")
  assert path.stat().st_size > 5000
  with pytest.raises(ValueError, match="'gigpo' is none of graphgpo, grpo"):
    curves_lib.draw_curves(curves, path, title="a", reference="gigpo")
  with pytest.raises(ValueError, match="no curves"):
    curves_lib.draw_curves({}, path, title="a")


@pytest.mark.parametrize("count", [5, 15])
def test_many_curves_get_a_plot_each(tmp_path, count):
  pytest.importorskip("matplotlib", reason="extra [viz] is not installed")
  curves = {f"rule{index}": {0: SLOW, 1: SLOW} for index in range(count - 1)}
  curves["best"] = {0: FAST, 1: SLOW, 2: FAST}
  path = tmp_path / "curves.svg"
  curves_lib.draw_curves(curves, path, title="household", reference="rule3")
  text = path.read_text()
  # What is written stands beside its outlines as a comment.
  for name in curves:
    assert f"<!-- {name} -->" in text
  assert text.index("<!-- best -->") < text.index("<!-- rule0 -->")
  assert "<!-- area 0.367, 90 % in 2/3 -->" in text
  assert "dashed: rule3" in text


def test_intervals_are_drawn(tmp_path):
  pytest.importorskip("matplotlib", reason="extra [viz] is not installed")
  columns = {
    f"world{index}": {
      "graphgpo": aggregate.Estimate(0.5, 0.4, 0.6),
      f"only{index}": aggregate.Estimate(0.7, None, None),
    }
    for index in range(7)
  }
  path = tmp_path / "intervals.svg"
  intervals.draw_intervals(columns, path, title="area", reference="graphgpo")
  text = path.read_text()
  for index in range(7):
    assert f"<!-- world{index} -->" in text
    assert f"<!-- only{index} -->" in text
  with pytest.raises(ValueError, match="no estimates"):
    intervals.draw_intervals({}, path, title="area", reference="graphgpo")


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
