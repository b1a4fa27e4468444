"""What a person sees of a run: a bar on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Iterator, Mapping

from rich import console as rich_console
from rich import progress as rich_progress

# Seconds between plain lines: a log should not grow with the updates.
_SECONDS_BETWEEN_LINES = 5.0


class Progress:
  """Shows how far a number of updates has come, its rate and time left."""

  def __init__(
    self, total: int, *, title: str, done: int = 0, silent: bool = False
  ):
    """Starts to count.

    Args:
      total: updates in all.
      title: what stands before the bar.
      done: updates done before this start, left out of the rate.
      silent: show nothing; another process of the same run does.
    """
    self._silent = silent
    self._total = total
    self._title = title
    self._first = done
    self._started = time.monotonic()
    self._printed = -_SECONDS_BETWEEN_LINES
    self._console = rich_console.Console()
    self._bar: rich_progress.Progress | None = None
    if self._console.is_terminal and not silent:
      self._bar = rich_progress.Progress(
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[rate]}"),
        rich_progress.TimeRemainingColumn(),
        rich_progress.TextColumn("{task.fields[news]}"),
        console=self._console,
      )
      self._task = self._bar.add_task(
        title, total=total, completed=done, rate="", news=""
      )

  def show(self, done: int, values: Mapping[str, float]) -> None:
    """Tells that `done` updates are done, with a few of their metrics."""
    if self._silent:
      return
    elapsed = time.monotonic() - self._started
    rate = (done - self._first) / max(elapsed, 1e-9)
    pace = f"{rate:.2f} updates/s" if done > self._first else ""
    news = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
    if self._bar is not None:
      self._bar.update(self._task, completed=done, rate=pace, news=news)
      return
    due = elapsed - self._printed >= _SECONDS_BETWEEN_LINES
    if due or done == self._total:
      self._printed = elapsed
      if pace:
        pace = f"  ({pace}, {(self._total - done) / rate:.0f} s left)"
      print(
        f"{self._title}: update {done}/{self._total}  {news}{pace}", flush=True
      )

  def write(self, text: str) -> None:
    """Prints a line above the bar."""
    if self._silent:
      return
    if self._bar is None:
      print(text, flush=True)
    else:
      self._bar.console.print(text, highlight=False)

  @contextlib.contextmanager
  def running(self) -> Iterator["Progress"]:
    """Keeps the bar on the screen while the block runs."""
    if self._bar is None:
      yield self
    else:
      with self._bar:
        yield self
