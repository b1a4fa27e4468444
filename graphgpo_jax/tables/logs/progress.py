"""How far a file has come: a bar on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Iterator

from rich import console as rich_console
from rich import progress as rich_progress

# Seconds between plain lines: a log should not grow with the file.
_SECONDS_BETWEEN_LINES = 5.0


class Progress:
  """Shows the share that is done, rows per second and the time left.

  On the error stream, for results belong to the other one. A file that is
  done at once shows nothing.
  """

  def __init__(self, *, shown: bool):
    """Starts the clock.

    Args:
      shown: whether to show anything.
    """
    self._console = rich_console.Console(stderr=True)
    self._shown = shown
    self._bar: rich_progress.Progress | None = None
    self._task: rich_progress.TaskID | None = None
    self._last_line = time.monotonic()
    self.begin("", rows=0, done=0, total=1)

  def begin(self, stage: str, *, rows: int, done: int, total: int) -> None:
    """Starts a stage.

    Args:
      stage: what is done in it.
      rows: rows done before, left out of the rate.
      done: of `total`, done before.
      total: what `done` of `advance` ends at.
    """
    self._stage = stage
    self._first_row, self._first_done, self._total = rows, done, total
    self._started = time.monotonic()
    if self._bar is not None:
      if self._task is not None:
        self._bar.remove_task(self._task)
      self._task = self._bar.add_task(
        stage, total=total, completed=done, rate=""
      )

  def advance(self, *, rows: int, done: int) -> None:
    """Tells how many rows, and how much of the total, are done."""
    now = time.monotonic()
    elapsed = max(now - self._started, 1e-9)
    rate = f"{(rows - self._first_row) / elapsed:,.0f} rows/s"
    if self._bar is not None and self._task is not None:
      self._bar.update(self._task, completed=done, rate=rate)
      return
    due = now - self._last_line >= _SECONDS_BETWEEN_LINES
    if not (self._shown and due) or done >= self._total:
      return
    self._last_line = now
    left = (
      elapsed * (self._total - done) / max(done - self._first_done, 1)
      if done > self._first_done
      else float("inf")
    )
    self._console.print(
      f"{self._stage}: {done / self._total:.1%}, {rows:,} rows "
      f"({rate}, {left:.0f} s left)",
      highlight=False,
      soft_wrap=True,
    )

  @contextlib.contextmanager
  def running(self) -> Iterator["Progress"]:
    """Keeps a bar on the screen while the block runs, on a terminal."""
    if not (self._shown and self._console.is_terminal):
      yield self
      return
    self._bar = rich_progress.Progress(
      rich_progress.TextColumn("{task.description}"),
      rich_progress.BarColumn(),
      rich_progress.TaskProgressColumn(),
      rich_progress.TextColumn("{task.fields[rate]}"),
      rich_progress.TimeRemainingColumn(),
      console=self._console,
      transient=True,
    )
    with self._bar:
      yield self
