"""The courier: a fast way to what the task is about, at a price of its own.

One action brings an object of the goal's type into the agent's hand, from
wherever it lies. Without it the agent goes there, opens what is shut, and takes
it: two or three steps, and more where it has to search.
"""

import chex
import jax.numpy as jnp

from graphgpo_jax.envs.household import rules
from graphgpo_jax.envs.household import vocabulary as words
from graphgpo_jax.envs.household.types import State


def parcel(state: State) -> chex.Array:
  """What the courier would bring.

  It is the first object of the goal's type that does not yet lie in the goal's
  place as the task wants it; nothing while the agent's hand is full.

  Args:
    state: the facts.

  Returns:
    bool [O], one True at most.
  """
  is_goal = state.task.object_types == state.task.goal_object
  wanted = is_goal & ~rules.placed(state)
  first = wanted & (jnp.cumsum(wanted) == 1)
  return first & ~jnp.any(state.locations == words.HELD)


def deliver(state: State, brought: chex.Array) -> State:
  """The facts with what was brought in the agent's hand, and so known.

  Args:
    state: the facts.
    brought: bool [O], one True at most.

  Returns:
    The facts after; no place, door or clock is touched.
  """
  return state.replace(  # type: ignore[attr-defined]
    locations=jnp.where(brought, words.HELD, state.locations),
    seen=state.seen | brought,
  )
