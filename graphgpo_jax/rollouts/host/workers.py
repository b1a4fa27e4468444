"""Environments in worker processes, each step a message, faults survived."""

import collections
import dataclasses
import itertools
import time
from collections.abc import Callable
from multiprocessing import connection
from typing import Any, Self

from absl import logging

from graphgpo_jax.envs.text import types
from graphgpo_jax.rollouts.host import process as process_lib
from graphgpo_jax.rollouts.host import wire

# At most so many seconds between two looks at a worker count as waiting.
_LONGEST_TICK = 1.0
_MOST_STARTS = 3
_SECONDS_TO_CLOSE = 5.0


@dataclasses.dataclass(frozen=True)
class Failure:
  """Why an episode cannot go on.

  Attributes:
    kind: "crash" (the process ended), "hang" (no answer in time), "engine"
      (the world gave up), or "neighbour" (another environment of the same
      process crashed or hung).
    message: more about it.
  """

  kind: str
  message: str


@dataclasses.dataclass(frozen=True)
class Answer:
  """What became of a request: a step or a failure.

  Attributes:
    slot: of the pool.
    step: what the environment returned.
    failure: why there is none.
    seconds: that the environment took; 0 of a failure.
  """

  slot: int
  step: types.TextStep | None
  failure: Failure | None
  seconds: float = 0.0


class WorkerPool:
  """Slots of environments that reset and step while the caller does else.

  `reset` and `step` return at once; `poll` returns what has been answered.
  One request a process is under way at a time, so that time limits are a
  request's own. A process that ends or does not answer in time is killed with
  all that it started, and a new one takes its place; the episodes of its slots
  are answered with a Failure. Nothing is played again.

  Environments are made in the workers, which import neither jax nor the
  package's heavy parts; see `worker_main` and `process`.

  Attributes:
    num_slots: environments in all.
    slots_per_worker: environments that share a process.
    restarts: processes that were replaced so far.
  """

  def __init__(
    self,
    make: Callable[[], types.TextEnvironment],
    *,
    num_workers: int,
    environments_per_worker: int = 1,
    step_timeout: float = 60.0,
    reset_timeout: float = 300.0,
    start_timeout: float = 300.0,
  ):
    """Starts the processes and waits until all environments are made.

    Args:
      make: makes an environment; it is pickled, so it must be a `WorldFactory`
        or another object that a fresh process can import.
      num_workers: processes.
      environments_per_worker: environments that share a process, its crashes
        and its global random generators. More than one for worlds that are
        light and sound and draw from their own.
      step_timeout: seconds that a step may take.
      reset_timeout: seconds that a reset may take.
      start_timeout: seconds that making the environments may take.

    Raises:
      ValueError: a number is out of its range, or `make` raised it.
      ImportError: `make` lacks a package.
      TextWorldError: the environments cannot be made.
    """
    limits = {
      "num_workers": num_workers,
      "environments_per_worker": environments_per_worker,
      "step_timeout": step_timeout,
      "reset_timeout": reset_timeout,
      "start_timeout": start_timeout,
    }
    for name, value in limits.items():
      if not value > 0:
        raise ValueError(f"{name}: expected more than 0, got {value}")
    self.num_slots = num_workers * environments_per_worker
    self.slots_per_worker = environments_per_worker
    self.restarts = 0
    self._step_timeout = step_timeout
    self._reset_timeout = reset_timeout
    self._tickets = itertools.count()
    # Of each slot with an episode: its latest request.
    self._tickets_of: dict[int, int] = {}
    self._answers: collections.deque[Answer] = collections.deque()
    self._looked = time.monotonic()
    self._started = False
    self._workers: list[process_lib.WorkerProcess] = []
    try:
      for first in range(0, self.num_slots, environments_per_worker):
        slots = range(first, first + environments_per_worker)
        worker = process_lib.WorkerProcess(make, slots, start_timeout)
        self._workers.append(worker)
      while not all(worker.ready for worker in self._workers):
        self._look(_LONGEST_TICK)
    except BaseException:
      self.close()
      raise
    self._started = True

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: Any) -> None:
    self.close()

  @property
  def pids(self) -> tuple[int, ...]:
    """Numbers of the processes, in the order of their slots."""
    return tuple(worker.pid for worker in self._workers)

  def reset(self, slot: int, task_id: str, *, seed: int) -> None:
    """Begins an episode in a slot; one that was under way there is dropped.

    Args:
      slot: in [0, num_slots).
      task_id: of the world.
      seed: of what is random in the episode.
    """
    worker = self._worker(slot)
    kept = [request for request in worker.queue if request.slot != slot]
    worker.queue = collections.deque(kept)
    # What was answered to an episode that nobody polled for any more.
    old = [answer for answer in self._answers if answer.slot != slot]
    self._answers = collections.deque(old)
    message = {"do": "reset", "task": task_id, "seed": seed}
    self._submit(slot, message, self._reset_timeout)

  def step(self, slot: int, action: str) -> None:
    """Does a command in a slot whose last answer was a step.

    Args:
      slot: in [0, num_slots).
      action: the command.
    """
    if slot not in self._tickets_of:
      raise ValueError(f"slot {slot} has no episode: expected a reset first")
    self._submit(slot, {"do": "step", "action": action}, self._step_timeout)

  def poll(self, seconds: float) -> list[Answer]:
    """What has been answered, waiting a little for a first answer.

    Args:
      seconds: to wait at most where nothing has been answered.

    Returns:
      Answers to the latest request of each slot, in no order that means
      anything.

    Raises:
      ValueError: a reset named a task that the world does not have.
      TextWorldError: a process cannot be started again.
    """
    self._look(seconds)
    answers = list(self._answers)
    self._answers.clear()
    return answers

  def close(self) -> None:
    """Ends all processes; may be repeated."""
    workers, self._workers = self._workers, []
    for worker in workers:
      worker.let_go()
    until = time.monotonic() + _SECONDS_TO_CLOSE
    for worker in workers:
      # One that is amidst something will not end by itself soon.
      left = 0.0 if worker.busy else until - time.monotonic()
      worker.end(max(left, 0.0))

  def _worker(self, slot: int) -> process_lib.WorkerProcess:
    if not 0 <= slot < self.num_slots:
      raise ValueError(f"slot: expected 0 to {self.num_slots - 1}, got {slot}")
    if not self._workers:
      raise ValueError("the pool is closed")
    return self._workers[slot // (self.num_slots // len(self._workers))]

  def _submit(self, slot: int, message: dict[str, Any], limit: float) -> None:
    worker = self._worker(slot)
    ticket = self._tickets_of[slot] = next(self._tickets)
    message["environment"] = slot - worker.slots.start
    worker.queue.append(process_lib.Request(slot, ticket, message, limit))
    worker.send_next()

  def _look(self, seconds: float) -> None:
    """Receives what has come and gives up on who is late."""
    links = {worker.link: worker for worker in self._workers}
    spoken = [links[link] for link in connection.wait(list(links), seconds)]  # type: ignore[index]
    for worker in spoken:
      self._receive(worker)
    for worker in self._workers:
      if worker in spoken or not worker.busy:
        continue
      if worker.out_of_patience(self._looked, _LONGEST_TICK):
        self._replace(worker, Failure("hang", "no answer in time"))
    self._looked = time.monotonic()

  def _receive(self, worker: process_lib.WorkerProcess) -> None:
    try:
      message = worker.receive()
    except (EOFError, OSError, ValueError):
      status = worker.exit_status()
      reason = f"the worker process ended (exit status {status})"
      self._replace(worker, Failure("crash", reason))
      return
    error = message.get("error")
    if not worker.ready:
      if error:
        self._raise(error)
      worker.ready = True
      worker.failed_starts = 0
    elif worker.current is not None:
      request, worker.current = worker.current, None
      worker.send_next()
      self._take(request, message)
      return
    worker.send_next()

  def _take(self, request: process_lib.Request, message: Any) -> None:
    """Files the answer to a request, unless nobody waits for it any more."""
    slot = request.slot
    if self._tickets_of.get(slot) != request.ticket:
      return
    if "error" in message:
      del self._tickets_of[slot]
      if message["error"]["kind"] != "engine":
        self._raise(message["error"])
      failure = Failure("engine", message["error"]["message"])
      self._answers.append(Answer(slot, None, failure))
      return
    step = wire.unpack_step(message["step"])
    if step.done:
      del self._tickets_of[slot]
    self._answers.append(Answer(slot, step, None, float(message["seconds"])))

  def _replace(
    self, worker: process_lib.WorkerProcess, failure: Failure
  ) -> None:
    """Starts a worker anew; its slots' episodes have failed."""
    starting = not worker.ready
    culprit = worker.current.slot if worker.current else None
    for slot in worker.slots:
      if self._tickets_of.pop(slot, None) is None:
        continue
      alone = culprit is None or slot == culprit
      kind = failure.kind if alone else "neighbour"
      self._answers.append(Answer(slot, None, Failure(kind, failure.message)))
    worker.failed_starts += starting
    if starting and (not self._started or worker.failed_starts >= _MOST_STARTS):
      raise types.TextWorldError(
        f"a worker process cannot make its environments: {failure.message}"
      )
    logging.warning(
      "worker process %d: %s; a new one is started",
      worker.pid,
      failure.message,
    )
    self.restarts += 1
    worker.restart()

  def _raise(self, error: dict[str, str]) -> None:
    """Raises in this process what was raised in a worker."""
    kinds = {"import": ImportError, "value": ValueError}
    raise kinds.get(error["kind"], types.TextWorldError)(error["message"])
