"""Worker processes: what they answer, and what becomes of broken ones."""

import os
import signal
import time

import pytest

from graphgpo_jax.envs.text import types
from graphgpo_jax.rollouts.host import factories, process, workers
from tests.rollouts import text_corridor

# Whole runs: test-all.
pytestmark = pytest.mark.slow

TextCorridor = text_corridor.TextCorridor


def make_pool(make=TextCorridor, *, workers_=1, each=1, **options):
  return workers.WorkerPool(
    make, num_workers=workers_, environments_per_worker=each, **options
  )


def answers(pool, count):
  """The next answers by slot; there is no limit but the worker's own."""
  found = {}
  while len(found) < count:
    for answer in pool.poll(0.1):
      found[answer.slot] = answer
  return found


def test_steps_come_back_whole():
  with make_pool() as pool:
    pool.reset(0, "walk-1", seed=5)
    start = answers(pool, 1)[0].step
    pool.step(0, "fly \ud800 \u2028")
    failed = answers(pool, 1)[0].step
    pool.step(0, "east")
    end = answers(pool, 1)[0].step
  here = TextCorridor()
  assert start.task == here.reset("walk-1", seed=5).task
  assert start.admissible_actions == text_corridor.ACTIONS
  assert start.facts["seed"] == "5"
  assert not failed.action_valid and not failed.done
  assert end.success and end.terminated and end.reward == 1.0
  assert end.observation == "You are at 1."


def test_workers_import_no_jax_and_hash_alike():
  with make_pool(workers_=2) as pool:
    for slot in range(2):
      pool.reset(slot, "walk-1", seed=0)
    facts = [answer.step.facts for answer in answers(pool, 2).values()]
  assert {fact["jax"] for fact in facts} == {"False"}
  assert facts[0]["hash"] == facts[1]["hash"]
  assert facts[0]["process"] != facts[1]["process"]


def test_global_chance_follows_from_the_episode():
  with make_pool(each=2) as pool:
    draws = []
    for task, seed in (("walk-1", 0), ("walk-2", 0), ("walk-1", 0)):
      pool.reset(0, task, seed=seed)
      draws.append(answers(pool, 1)[0].step.facts["draw"])
  assert draws[0] == draws[2] != draws[1]


def test_registered_worlds_are_made_by_name():
  factory = factories.WorldFactory("no such world", {"size": 3})
  with pytest.raises(ValueError, match="no such world"):
    make_pool(factory)


@pytest.mark.parametrize(
  ("make", "error", "match"),
  [
    (text_corridor.without_package, ImportError, r"graphgpo-jax\[text\]"),
    (text_corridor.broken, types.TextWorldError, "no Java"),
    (text_corridor.dying, types.TextWorldError, "exit status 3"),
    (lambda: None, ValueError, "pickled"),
  ],
  ids=["import", "engine", "exit", "lambda"],
)
def test_environments_that_cannot_be_made(make, error, match):
  with pytest.raises(error, match=match):
    make_pool(make)


@pytest.mark.parametrize("name", ["num_workers", "step_timeout"])
def test_numbers_are_checked(name):
  with pytest.raises(ValueError, match=name):
    workers.WorkerPool(TextCorridor, **({"num_workers": 1} | {name: 0}))


def test_unknown_task_is_the_callers_error_and_the_pool_lives_on():
  with make_pool(each=2) as pool:
    pool.reset(0, "fly-1", seed=0)
    pool.reset(1, "walk-2", seed=0)
    with pytest.raises(ValueError, match="fly-1"):
      answers(pool, 1)
    assert answers(pool, 1)[1].step.task == "Go 2 to the east."
    with pytest.raises(ValueError, match="no episode"):
      pool.step(0, "east")
    pool.reset(0, "walk-1", seed=0)
    assert answers(pool, 1)[0].step


@pytest.mark.parametrize(
  ("task", "kind", "message"),
  [
    ("crash-1", "crash", "exit status -9"),
    ("crash-0", "crash", "exit status -9"),
    ("hang-1", "hang", "no answer"),
    ("hang-0", "hang", "no answer"),
    ("break-1", "engine", "the game file is broken"),
    ("slip-1", "engine", "KeyError: 'val1'"),
  ],
)
def test_failures_are_told_apart_and_the_slot_lives_on(task, kind, message):
  limits = {"step_timeout": 1.5, "reset_timeout": 1.5}
  with make_pool(**(limits if kind == "hang" else {})) as pool:
    pid = pool.pids[0]
    pool.reset(0, task, seed=0)
    answer = answers(pool, 1)[0]
    if answer.step:
      pool.step(0, "east")
      answer = answers(pool, 1)[0]
    assert answer.step is None
    assert answer.failure.kind == kind
    assert message in answer.failure.message
    assert pool.restarts == (kind != "engine")
    # What is not to fail has the time that a busy machine takes.
    pool._reset_timeout = 600.0
    pool.reset(0, "walk-1", seed=0)
    assert answers(pool, 1)[0].step
    assert (pool.pids[0] == pid) == (kind == "engine")
  if kind != "engine":
    with pytest.raises(ProcessLookupError):
      os.kill(pid, 0)


def test_a_machine_that_stood_still_makes_nobody_late(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(process.time, "monotonic", lambda: now[0])
  worker = process.WorkerProcess.__new__(process.WorkerProcess)
  worker._begin_wait(3.0)
  late = []
  for moment in (1.0, 5000.0, 5000.9, 5001.8):
    before, now[0] = now[0], moment
    late.append(worker.out_of_patience(before, 1.0))
  assert late == [False, False, False, True]
  worker._begin_wait(3.0)
  now[0] += 0.5
  # What passed before the request was sent does not count.
  worker.out_of_patience(0.0, 1.0)
  assert worker._waited == 0.5


def test_worker_killed_from_outside():
  with make_pool(workers_=2) as pool:
    for slot in range(2):
      pool.reset(slot, "walk-2", seed=0)
    answers(pool, 2)
    os.kill(pool.pids[1], signal.SIGKILL)
    found = answers(pool, 1)
    assert list(found) == [1]
    assert found[1].failure.kind == "crash"
    pool.step(0, "east")
    assert answers(pool, 1)[0].step.observation == "You are at 1."


def test_neighbours_of_a_crash_fail_with_it():
  with make_pool(each=3) as pool:
    pool.reset(0, "walk-2", seed=0)
    pool.reset(1, "crash-1", seed=0)
    answers(pool, 2)
    pool.step(1, "east")
    found = answers(pool, 2)
  kinds = {slot: answer.failure.kind for slot, answer in found.items()}
  assert kinds == {0: "neighbour", 1: "crash"}  # slot 2 had no episode


@pytest.mark.parametrize("times", [1, 2**20], ids=["short", "fills the pipe"])
def test_stopped_worker_is_replaced(monkeypatch, times):
  monkeypatch.setattr(process, "_PIPE_SECONDS", 1)
  with make_pool(step_timeout=1.0) as pool:
    pool.reset(0, "walk-2", seed=0)
    answers(pool, 1)
    os.kill(pool.pids[0], signal.SIGSTOP)
    pool.step(0, "east" * times)
    kind = answers(pool, 1)[0].failure.kind
  assert kind == ("hang" if times == 1 else "crash")


def test_answers_to_a_dropped_episode_are_dropped():
  with make_pool() as pool:
    pool.reset(0, "walk-1", seed=0)
    pool.reset(0, "walk-7", seed=0)
    (answer,) = answers(pool, 1).values()
    assert answer.step.task == "Go 7 to the east."
    assert not pool.poll(0.0)


def test_closed_pool_leaves_no_process():
  pool = make_pool(workers_=2)
  pids = pool.pids
  pool.reset(0, "hang-0", seed=0)
  pool.close()
  pool.close()
  for pid in pids:
    with pytest.raises(ProcessLookupError):
      os.kill(pid, 0)
  with pytest.raises(ValueError, match="closed"):
    pool.reset(0, "walk-1", seed=0)


def test_workers_end_when_nobody_holds_their_pipe():
  pool = make_pool()
  worker = pool._workers[0]
  worker.let_go()
  while worker._process.poll() is None:
    time.sleep(0.01)
  assert worker._process.returncode == 0
  pool.close()
