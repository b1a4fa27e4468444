"""Plays episodes on a pool of environments with one actor for all of them."""

import collections
import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from absl import logging

from graphgpo_jax.envs.text import types
from graphgpo_jax.rollouts.host import workers
from graphgpo_jax.rollouts.host.episodes import (
  Action,
  Context,
  Episode,
  Plan,
  Turn,
)

# An action for each context. To be independent of timing it must be a function
# of each context alone, its chance drawn from `Context.random_key`.
Act = Callable[[Sequence[Context]], Sequence[Action]]

# Between two looks at workers while nothing is to be done.
_TICK_SECONDS = 0.2
# An environment that takes so many times a usual step is not waited for; what
# is usual is the median of the latest steps.
_LATE, _LATEST_STEPS = 4.0, 256


@dataclasses.dataclass(frozen=True)
class Collection:
  """Episodes and how playing them went.

  Attributes:
    episodes: in the order of their indices, failed ones among them.
    failures: number of failed episodes by kind of failure.
    batches: calls of the actor.
    actions: what it chose in all.
    act_seconds: that the actor took.
    wait_seconds: that it was kept waiting.
  """

  episodes: tuple[Episode, ...]
  failures: Mapping[str, int]
  batches: int
  actions: int
  act_seconds: float
  wait_seconds: float

  @property
  def sound(self) -> tuple[Episode, ...]:
    """Episodes that earn credit."""
    return tuple(one for one in self.episodes if not one.failed)


def collect(
  pool: workers.WorkerPool,
  plans: Sequence[Plan],
  act: Act,
  *,
  seed: int,
  max_steps: int,
  min_batch: int | None = None,
  max_batch: int | None = None,
  patience: float | None = None,
) -> Collection:
  """Plays episodes, the actor always working on those that are ready.

  Whatever environments have answered when the actor is free are its next
  batch, if they are `min_batch` or all that are under way, or if the actor has
  waited for more for `patience` seconds. The others go on meanwhile: nobody
  waits for the slowest. Which episodes meet in a batch depends on timing, so an
  actor must treat each context by itself; then episodes do not depend on it,
  nor on the number of workers.

  An episode whose worker or engine breaks keeps the turns it had, is marked
  and counted, and is not played again.

  Args:
    pool: where to play; one collection at a time.
    plans: what to play, indices all different.
    act: chooses actions for a batch of contexts in the order of their indices.
    seed: passed to the actor with each context.
    max_steps: an episode's turns at most; the world may end it earlier.
    min_batch: contexts to wait for; by default half the pool's slots, so that
      one half plays while the actor works for the other.
    max_batch: contexts at once at most; by default all.
    patience: seconds to wait for `min_batch` once one is ready. By default what
      four usual steps take, or as long as the actor's quickest call, which is
      what a fuller batch may save; the first batch is waited for in any case.

  Returns:
    Collection, an episode for each plan.

  Raises:
    ValueError: an argument is out of its range, a plan names no task, or the
      actor returned something else than an action for each context.
    TextWorldError: a worker cannot be started again.
  """
  if len({plan.index for plan in plans}) != len(plans):
    raise ValueError("plans: expected an index of its own for each episode")
  if min_batch is None:
    min_batch = max(pool.num_slots // 2, 1)
  if max_batch is None:
    max_batch = pool.num_slots
  sizes = {"max_steps": max_steps, "min_batch": min_batch}
  for name, value in (sizes | {"max_batch": max_batch}).items():
    if value < 1:
      raise ValueError(f"{name}: expected at least 1, got {value}")
  if patience is not None and not patience >= 0:
    raise ValueError(f"patience: expected at least 0, got {patience}")
  table = _Table(pool, plans, seed=seed, max_steps=max_steps)
  batches = actions = 0
  act_seconds, quickest = 0.0, math.inf
  begun = time.monotonic()
  # Since when something has been ready and the actor free.
  idle_since: float | None = None
  while table.seat():
    tick = _TICK_SECONDS
    enough = len(table.ready) >= min(min_batch, max_batch, len(table.playing))
    if table.ready and not enough:
      now = time.monotonic()
      idle_since = now if idle_since is None else idle_since
      longest = patience
      if longest is None:
        longest = max(table.late_seconds(), quickest)
      tick = min(tick, max(idle_since + longest - now, 0.0))
      enough = tick <= 0.0
    # First all that has come already, for larger batches.
    if table.take(pool.poll(0.0 if enough else tick)) or not enough:
      continue
    batch = table.next_batch(max_batch)
    before = time.monotonic()
    chosen = act(batch)
    took = time.monotonic() - before
    act_seconds, quickest = act_seconds + took, min(quickest, took)
    idle_since = None
    table.play(batch, chosen)
    batches += 1
    actions += len(batch)
  failures = collections.Counter(
    one.failure.kind for one in table.over if one.failure
  )
  if failures:
    logging.warning(
      "%d of %d episodes failed: %s",
      failures.total(),
      len(plans),
      ", ".join(f"{kind} {n}" for kind, n in sorted(failures.items())),
    )
  return Collection(
    episodes=tuple(sorted(table.over, key=lambda one: one.plan.index)),
    failures=dict(sorted(failures.items())),
    batches=batches,
    actions=actions,
    act_seconds=act_seconds,
    wait_seconds=time.monotonic() - begun - act_seconds,
  )


@dataclasses.dataclass
class _Playing:
  """An episode under way in a slot."""

  plan: Plan
  turns: list[Turn]
  now: types.TextStep | None = None
  action: Action | None = None


class _Table:
  """Who plays where, who waits for the actor, who is done."""

  def __init__(self, pool, plans, *, seed, max_steps):
    self.playing: dict[int, _Playing] = {}  # by slot
    self.ready: dict[int, int] = {}  # slot by index
    self.over: list[Episode] = []
    self._pool = pool
    self._seed = seed
    self._max_steps = max_steps
    self._plans = collections.deque(sorted(plans, key=lambda one: one.index))
    self._step_seconds: collections.deque[float] = collections.deque(
      maxlen=_LATEST_STEPS
    )

  def seat(self) -> bool:
    """Begins episodes in free slots; whether anything is left to do."""
    for slot in range(self._pool.num_slots):
      if self._plans and slot not in self.playing:
        plan = self._plans.popleft()
        self.playing[slot] = _Playing(plan, [])
        self._pool.reset(slot, plan.task_id, seed=plan.seed)
    return bool(self.playing)

  def late_seconds(self) -> float:
    """How long an answer takes that is not waited for any more."""
    if not self._step_seconds:
      return _TICK_SECONDS
    # The environments of a process step one after another.
    turn = statistics.median(self._step_seconds) * self._pool.slots_per_worker
    return max(_LATE * turn, _TICK_SECONDS)

  def take(self, answers: Sequence[workers.Answer]) -> bool:
    """Goes on with episodes by what their environments say."""
    taken = False
    for answer in answers:
      # A slot without an episode has an answer to an abandoned collection.
      one = self.playing.get(answer.slot)
      if one is None:
        continue
      taken = True
      if answer.failure:
        self._end(answer.slot, answer.failure)
        continue
      assert answer.step is not None
      if one.action is not None:
        assert one.now is not None
        one.turns.append(Turn(one.now, one.action, answer.step))
        self._step_seconds.append(answer.seconds)
      one.now, one.action = answer.step, None
      if answer.step.done or len(one.turns) >= self._max_steps:
        self._end(answer.slot, None)
      else:
        self.ready[one.plan.index] = answer.slot
    return taken

  def next_batch(self, size: int) -> list[Context]:
    """Contexts of ready episodes, those of the least indices."""
    batch = []
    for index in sorted(self.ready)[:size]:
      one = self.playing[self.ready[index]]
      assert one.now is not None
      batch.append(Context(one.plan, self._seed, one.now, tuple(one.turns)))
    return batch

  def play(self, batch: Sequence[Context], actions: Sequence[Action]) -> None:
    """Sends what the actor chose."""
    if len(actions) != len(batch):
      raise ValueError(
        f"act returned {len(actions)} actions: expected {len(batch)}, one for "
        "each context"
      )
    for context, action in zip(batch, actions, strict=True):
      slot = self.ready.pop(context.plan.index)
      self.playing[slot].action = action
      self._pool.step(slot, action.command)

  def _end(self, slot: int, failure: workers.Failure | None) -> None:
    one = self.playing.pop(slot)
    self.ready.pop(one.plan.index, None)
    success = one.now is not None and one.now.success and failure is None
    self.over.append(Episode(one.plan, tuple(one.turns), failure, success))
