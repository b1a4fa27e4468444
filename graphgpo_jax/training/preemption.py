"""Being asked to stop: signals, and the notices of a cluster."""

import os
import signal
import threading
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

# What a shell calls a command that Ctrl-C has ended.
_INTERRUPTED = 130
_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_PREEMPTION_SERVICE = "jax_enable_preemption_service"


class StopRequests:
  """Listens while its block runs, and tells at an update's end.

  The first SIGTERM or SIGINT asks for a stop. A second SIGINT ends the process
  at once with exit status 130, also in the midst of a long program: what it
  leaves is what `kill -9` leaves, from which a run goes on. Outside of the main
  thread, where Python has no signals, it listens to notices alone.
  """

  def __init__(self) -> None:
    self._requested = ""
    self._old: dict[int, Any] = {}
    self._old_wakeup = -1
    self._ends: tuple[int, int] | None = None

  def __enter__(self) -> "StopRequests":
    if threading.current_thread() is threading.main_thread():
      # Python runs a handler only between two of its own instructions, which a
      # compiled update can put off for minutes. The byte is written at once.
      reading, writing = self._ends = os.pipe()
      os.set_blocking(writing, False)
      self._old_wakeup = signal.set_wakeup_fd(
        writing, warn_on_full_buffer=False
      )
      for number in _SIGNALS:
        self._old[number] = signal.signal(number, lambda *_: None)
      threading.Thread(
        target=self._listen, args=(reading,), daemon=True
      ).start()
    return self

  def __exit__(self, *_: Any) -> None:
    if self._ends is not None:
      signal.set_wakeup_fd(self._old_wakeup)
      for number, handler in self._old.items():
        signal.signal(number, handler)
      os.close(self._ends[1])  # Which ends the thread.
      self._ends = None

  def _listen(self, reading: int) -> None:
    interrupts = 0
    with open(reading, "rb", buffering=0) as pipe:
      while byte := pipe.read(1):
        number = byte[0]
        if number not in _SIGNALS:
          continue
        interrupts += number == signal.SIGINT
        if interrupts > 1:
          # The cursor, which a progress bar hides; nobody else will.
          os.write(2, b"\x1b[?25h" if os.isatty(2) else b"")
          os._exit(_INTERRUPTED)
        self._requested = signal.Signals(number).name

  def asked(self, step: int) -> str:
    """Who asks to stop.

    Args:
      step: updates done; with several processes, every one of them asks after
        every update, and all get an answer of the same kind.

    Returns:
      A signal's name or "a preemption notice"; "" to go on.
    """
    if not jax.distributed.is_initialized():
      return self._requested
    notice = False
    # Set while the program runs, and so not known to its types.
    if getattr(jax.config, _PREEMPTION_SERVICE):
      notice = multihost_utils.reached_preemption_sync_point(step)
    told = np.array(bool(self._requested))
    signalled = bool(np.any(multihost_utils.process_allgather(told)))
    if signalled:
      return self._requested or "a signal to another process"
    return "a preemption notice" if notice else ""
