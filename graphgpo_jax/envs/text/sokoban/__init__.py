"""Sokoban in text: push every box onto a target.

  from graphgpo_jax.envs.text import sokoban

  world = sokoban.make()
  step = world.reset("train/boxes=2,height=6,solution=15,width=6/0")
  for command in world.plan():
    step = world.step(command)

The rules, and how rooms are made, are those of the on-device world
(`graphgpo_jax.envs.sokoban`), here without JAX, since many processes play them.
`rules` says how a room looks, `tasks` what a task id means, `environment` what
is paid. Its registered name is "sokoban_text": "sokoban" is the on-device one.

State keys: the grid tells the whole state, so "recipe", "observation" and
"true" are the same.
"""

from collections.abc import Mapping
from types import MappingProxyType

from graphgpo_jax.envs.text import state_keys, types
from graphgpo_jax.envs.text.sokoban import environment
from graphgpo_jax.envs.text.sokoban.tasks import task_ids

__all__ = ["STATE_KEYS", "make", "task_ids"]


def make(
  *, max_steps: int = 15, gym_rewards: bool = False
) -> types.TextEnvironment:
  """A warehouse; see `environment.TextSokoban` for the options.

  Raises:
    ValueError: `max_steps` is not positive.
  """
  return environment.TextSokoban(max_steps=max_steps, gym_rewards=gym_rewards)


STATE_KEYS: Mapping[str, types.StateKeyFn] = MappingProxyType(
  {
    "recipe": state_keys.true_key,
    "true": state_keys.true_key,
    "observation": state_keys.observation_key,
  }
)
