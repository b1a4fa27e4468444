"""What a person sees of a run over a file."""

import io

import pytest
from rich import console as rich_console

from graphgpo_jax.tables.logs import progress


@pytest.fixture
def clock(monkeypatch):
  """Seconds, to be set."""
  now = [100.0]
  monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
  return now


def test_lines_with_rows_per_second(clock, capsys):
  shown = progress.Progress(shown=True)
  with shown.running():
    shown.begin("credit", rows=1000, done=1000, total=5000)
    clock[0] += 1.0
    shown.advance(rows=1100, done=1100)
    assert capsys.readouterr().err == ""
    clock[0] += 9.0
    shown.advance(rows=3000, done=3000)
    shown.advance(rows=3100, done=3100)
    clock[0] += 9.0
    shown.advance(rows=5000, done=5000)
  text, errors = capsys.readouterr()
  assert text == ""
  assert errors == "credit: 60.0%, 3,000 rows (200 rows/s, 10 s left)\n"


def test_nothing_if_not_wanted(clock, capsys):
  shown = progress.Progress(shown=False)
  with shown.running():
    shown.begin("credit", rows=0, done=0, total=10)
    clock[0] += 100.0
    shown.advance(rows=5, done=5)
  assert capsys.readouterr() == ("", "")


def test_bar_on_a_terminal(monkeypatch):
  screen = io.StringIO()
  terminal = rich_console.Console(file=screen, force_terminal=True, width=100)
  monkeypatch.setattr(progress.rich_console, "Console", lambda **_: terminal)
  shown = progress.Progress(shown=True)
  with shown.running():
    shown.begin("split", rows=0, done=0, total=10)
    shown.advance(rows=5, done=5)
    shown.begin("write", rows=0, done=0, total=10)
    shown.advance(rows=5, done=5)
  assert "write" in screen.getvalue()
  assert "50%" in screen.getvalue()
  assert "rows/s" in screen.getvalue()
