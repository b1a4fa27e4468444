"""A text world of one corridor, whose engine can be told to break."""

import os
import random
import signal
import sys
import time

from graphgpo_jax.envs.text import types

ACTIONS = ("east", "wait", "west")
KINDS = ("walk", "slow", "await", "crash", "hang", "break", "slip")


class TextCorridor:
  """Tasks are "KIND-N": a door N steps to the east ends the episode.

  Kind "walk" is sound, "slow" takes its time, "await" waits at step N for the
  file `gate`, "crash", "hang", "break" and "slip" do so at step N (0: at the
  reset).
  """

  name = "corridor"

  def __init__(self, slowness=0.01, gate=None):
    self._slowness = slowness
    self._gate = gate
    self._clock = random.Random()  # a seed of its own in every process
    self.closed = False

  def reset(self, task_id, *, seed=0):
    kind, _, number = task_id.partition("-")
    if kind not in KINDS:
      raise ValueError(f"no such task: {task_id!r}")
    self._kind, self._number = kind, int(number)
    self._seed, self._place, self._time = seed, 0, 0
    self._draw = random.random()
    self._break()
    return self._say(0.0, True)

  def step(self, action):
    self._time += 1
    self._break()
    valid = action in ACTIONS
    self._place += {"east": 1, "west": -1}.get(action, 0)
    return self._say(float(self._place == self._number), valid)

  def close(self):
    self.closed = True

  def _break(self):
    if self._kind == "slow":
      time.sleep(self._clock.uniform(0, self._slowness))
    if self._time != self._number:
      return
    if self._kind == "crash":
      os.kill(os.getpid(), signal.SIGKILL)
    while self._kind == "hang":
      time.sleep(1)
    while self._kind == "await" and not os.path.exists(self._gate):
      time.sleep(0.01)
    if self._kind == "break":
      raise types.TextWorldError("the game file is broken")
    if self._kind == "slip":
      raise KeyError("val1")

  def _say(self, reward, valid):
    success = self._place == self._number and self._kind in KINDS[:3]
    return types.TextStep(
      observation=f"You are at {self._place}.",
      task=f"Go {self._number} to the east.",
      admissible_actions=ACTIONS,
      reward=reward,
      terminated=success,
      success=success,
      action_valid=valid,
      facts={
        "seed": str(self._seed),
        "draw": str(self._draw),
        "jax": str("jax" in sys.modules),
        "hash": str(hash("a set's order")),
        "process": str(os.getpid()),
      },
    )


def without_package():
  raise ImportError('needs corridors: pip install "graphgpo-jax[text]"')


def broken():
  raise types.TextWorldError("no Java")


def dying():
  os._exit(3)


def state_key(step):
  return step.observation
