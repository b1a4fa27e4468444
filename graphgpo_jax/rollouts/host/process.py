"""A worker process and the pipe to it: start, send, receive, kill."""

import collections
import contextlib
import dataclasses
import os
import pathlib
import pickle
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import connection
from typing import Any

from graphgpo_jax.envs.text import types
from graphgpo_jax.rollouts.host import wire

_PROGRAM = str(pathlib.Path(__file__).with_name("worker_main.py"))
# A message that is begun and does not end within this many seconds.
_PIPE_SECONDS = 30


@dataclasses.dataclass(frozen=True)
class Request:
  """What an environment of a worker is to do.

  Attributes:
    slot: of the pool; which environment.
    ticket: tells the answer from answers to older requests.
    message: what is sent.
    limit: seconds that it may take.
  """

  slot: int
  ticket: int
  message: dict[str, Any]
  limit: float


class WorkerProcess:
  """One process; what it has to do, and for how long it has been at it.

  A fresh interpreter, as `multiprocessing`'s "spawn" starts one, but without
  what that one does first: import the main program's module again, and with it
  jax. The process leads a session of its own, so that an engine's processes
  (a Java machine, a planner) die with it. POSIX only.

  Attributes:
    slots: of the pool, which its environments are.
    link: the pipe.
    ready: its environments are made.
    current: what it is doing.
    queue: what it is to do next.
    failed_starts: in succession.
  """

  def __init__(
    self,
    make: Callable[[], types.TextEnvironment],
    slots: range,
    start_limit: float,
  ):
    self.slots = slots
    self.current: Request | None = None
    self.queue: collections.deque[Request] = collections.deque()
    self.failed_starts = 0
    try:
      self._make = pickle.dumps(make)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
      raise ValueError(
        f"make: expected an object that can be pickled ({error})"
      ) from error
    self._start_limit = start_limit
    self.start()

  def start(self) -> None:
    """Starts the process; `ready` is False until it says so."""
    ours, theirs = socket.socketpair()
    patience = struct.pack("ll", _PIPE_SECONDS, 0)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
      ours.setsockopt(socket.SOL_SOCKET, option, patience)
    environment = dict(
      os.environ,
      # An engine's sets of texts have one order in all workers.
      PYTHONHASHSEED="0",
      # The accelerator belongs to the model.
      JAX_PLATFORMS="cpu",
    )
    with theirs:
      self._process = subprocess.Popen(
        # -P: the program's folder is no place to import from.
        [sys.executable, "-P", _PROGRAM, str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
      )
    self.link = connection.Connection(ours.detach())
    self.ready = False
    self._begin_wait(self._start_limit)
    hello = {"path": sys.path, "environments": len(self.slots)}
    # A process that is already dead is found by who reads next.
    with contextlib.suppress(OSError):
      self.link.send_bytes(wire.encode(hello))
      self.link.send_bytes(self._make)

  @property
  def pid(self) -> int:
    """Of the process."""
    return self._process.pid

  @property
  def busy(self) -> bool:
    """It owes an answer."""
    return self.current is not None or not self.ready

  def send_next(self) -> None:
    """Sends what is next, if the process can take it."""
    if self.busy or not self.queue:
      return
    self.current = self.queue.popleft()
    self._begin_wait(self.current.limit)
    try:
      self.link.send_bytes(wire.encode(self.current.message))
    except OSError:
      # Dead, or its pipe is full: either way, reading will find its end.
      self.kill()

  def receive(self) -> dict[str, Any]:
    """The message that has come.

    Raises:
      EOFError, OSError: the process has ended, or ended amidst the message.
      ValueError: the message is none.
    """
    return wire.decode(self.link.recv_bytes())

  def out_of_patience(self, since: float, longest: float) -> bool:
    """Charges the time since the last look; whether it is more than allowed.

    Args:
      since: when the pool looked last.
      longest: at most so many seconds count. When everything was stopped for
        minutes, by a debugger or a laptop's lid, nothing hangs for it.

    Returns:
      True if the process should have answered by now.
    """
    now = time.monotonic()
    self._waited += min(now - max(since, self._begun), longest)
    return self._waited > self._limit

  def kill(self) -> int:
    """Ends the process and all of its session; the exit status."""
    # Before the process is waited for its number cannot be another's.
    if self._process.returncode is None:
      with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(self._process.pid, signal.SIGKILL)
    return self._process.wait()

  def exit_status(self) -> int:
    """Status of a process whose pipe is closed: its own, or the kill's."""
    self._await_exit(1.0)
    return self.kill()

  def restart(self) -> None:
    """Starts a new process; what the old one had to do is forgotten."""
    self.kill()
    self.link.close()
    self.current = None
    self.queue.clear()
    self.start()

  def let_go(self) -> None:
    """Closes the pipe: a sound process closes its environments and ends."""
    self.link.close()

  def end(self, seconds: float) -> None:
    """Waits for the end, then kills what is left."""
    self._await_exit(seconds)
    self.kill()

  def _await_exit(self, seconds: float) -> None:
    """Waits until the process has ended, if possible keeping its number."""
    if not hasattr(os, "waitid"):
      with contextlib.suppress(subprocess.TimeoutExpired):
        self._process.wait(seconds)
      return
    until = time.monotonic() + seconds
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while time.monotonic() < until:
      if self._process.returncode is not None:
        return
      try:
        if os.waitid(os.P_PID, self._process.pid, flags) is not None:
          return
      except ChildProcessError:
        return
      time.sleep(0.005)

  def _begin_wait(self, limit: float) -> None:
    self._limit = limit
    self._begun = time.monotonic()
    self._waited = 0.0
