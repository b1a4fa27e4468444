"""The coin world in which one task kills its worker process.

Modules of worlds are opened in workers, so this one imports no test.
"""

import os
import signal

from tests.training import coin_world

STATE_KEYS = coin_world.STATE_KEYS
task_ids = coin_world.task_ids
# One of the ten tasks that `tasks.all.first = 20` leaves to training.
DEADLY = "coin-27"


class Dying(coin_world.Coin):
  """Dies as by `kill -9` in the second step of its task."""

  def reset(self, task_id, *, seed=0):
    self._steps = 0
    self._deadly = task_id == DEADLY
    return super().reset(task_id, seed=seed)

  def step(self, action):
    self._steps += 1
    if self._deadly and self._steps == 2:
      os.kill(os.getpid(), signal.SIGKILL)
    return super().step(action)


def make(**options):
  coin_world.make(**options).close()
  return Dying()
