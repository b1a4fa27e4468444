"""Contexts of a made-up world."""

from graphgpo_jax.envs.text import types
from graphgpo_jax.rollouts.host import episodes


def say(observation, commands=("go east", "go west", "take coin"), **fields):
  return types.TextStep(
    observation=observation,
    task="Find the coin.",
    admissible_actions=tuple(commands),
    **fields,
  )


def context(now, past=(), *, index=0, seed=7):
  """`past` is a list of commands."""
  plan = episodes.Plan(index, 0, index, "room-1", 0)
  turns = tuple(
    episodes.Turn(now, episodes.Action(command), now) for command in past
  )
  return episodes.Context(plan, seed, now, turns)
