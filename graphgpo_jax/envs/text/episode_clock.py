"""Where an episode stands: not begun, running, or over."""


class EpisodeClock:
  """Counts the steps of an episode and refuses those outside of one."""

  def __init__(self, *, max_steps: int):
    """Makes a clock that has not begun.

    Args:
      max_steps: steps after which an episode is truncated.

    Raises:
      ValueError: `max_steps` is not positive.
    """
    if max_steps < 1:
      raise ValueError(f"max_steps must be positive, got {max_steps}")
    self._max_steps = max_steps
    self._steps = 0
    self._running = False

  def begin(self) -> None:
    """An episode begins."""
    self._steps, self._running = 0, True

  def stop(self) -> None:
    """There is no episode any more, such as after a failure."""
    self._running = False

  def check(self) -> None:
    """Refuses a step where none can be done.

    Raises:
      ValueError: no episode has begun, or it is over.
    """
    if not self._running:
      raise ValueError("no episode is running: call reset before step")

  def tick(self, *, terminated: bool) -> bool:
    """Counts a step.

    Args:
      terminated: the world says that this step ended the episode.

    Returns:
      Whether the episode was truncated by it.
    """
    self._steps += 1
    truncated = not terminated and self._steps >= self._max_steps
    self._running = not (terminated or truncated)
    return truncated
