"""Tokens of the household: one for the goal, one per receptacle and object."""

import enum

import chex
import jax.numpy as jnp

from graphgpo_jax.envs.household import rules
from graphgpo_jax.envs.household import vocabulary as words
from graphgpo_jax.envs.household.types import State
from graphgpo_jax.envs.types import Observation


class Feature(enum.IntEnum):
  """Columns of a token. In every column 0 means "not applicable"."""

  KIND = 0  # 1 goal, 2 receptacle, 3 object
  RECEPTACLE_TYPE = 1  # 1 + type; the goal's on the goal token
  OBJECT_TYPE = 2  # 1 + type; the goal's on the goal token
  TASK_TYPE = 3  # 1 + type, on the goal token
  IS_GOAL = 4  # 1 no, 2 yes: it is of the type that the goal names
  DOOR = 5  # of it, around it, or here: 1 surface, 2 shut, 3 open
  HERE = 6  # 1 no, 2 yes: the agent is at it
  HAND = 7  # on every token: 1 empty, 2 other, 3 goal object, 4 ready for put
  HELD = 8  # 1 no, 2 yes, on objects
  PROPERTY = 9  # 1 + clean + 2 * temperature; what is asked, on the goal token
  SLOT = 10  # 1 + slot of it, around it, or of the agent; R + 1 in the hand
  PLACED = 11  # 1 no, 2 yes: lies in the goal's place; goal token: 3 + count


def feature_sizes(num_receptacles: int) -> tuple[int, ...]:
  """F sizes of the features, in the order of `Feature`."""
  sizes = {
    Feature.KIND: 4,
    Feature.RECEPTACLE_TYPE: 1 + words.NUM_RECEPTACLE_TYPES,
    Feature.OBJECT_TYPE: 1 + words.NUM_OBJECT_TYPES,
    Feature.TASK_TYPE: 1 + len(words.TASK_TYPES),
    Feature.IS_GOAL: 3,
    Feature.DOOR: 4,
    Feature.HERE: 3,
    Feature.HAND: 5,
    Feature.HELD: 3,
    Feature.PROPERTY: 7,
    Feature.SLOT: num_receptacles + 2,
    Feature.PLACED: 5,
  }
  return tuple(sizes[feature] for feature in Feature)


def _flag(condition: chex.Array) -> chex.Array:
  """1 for no, 2 for yes."""
  return 1 + condition.astype(jnp.int32)


def _block(columns, length: int) -> chex.Array:
  """int32 [length, F], tokens of one kind; scalars are broadcast."""
  return jnp.stack(
    [
      jnp.broadcast_to(jnp.asarray(column, jnp.int32), (length,))
      for column in columns
    ],
    axis=-1,
  )


def observe(state: State, *, hidden: bool) -> Observation:
  """What the policy sees of `state`.

  Args:
    state: the facts.
    hidden: True leaves out the tokens of objects that the agent has not seen.

  Returns:
    tokens int32 [1 + R + O, F], their mask, and the admissible actions.
  """
  task = state.task
  shape = (state.is_open.shape[0], state.locations.shape[0])
  slots = jnp.arange(shape[0])
  facts = rules.situation(state)

  goal_slots = rules.goal_slots(task)
  goal_objects = task.object_types == task.goal_object
  in_goal = rules.locations_in(state.locations, goal_slots)
  ready = rules.is_ready(task, state.is_clean, state.temperature)
  num_placed = jnp.sum(goal_objects & in_goal & ready, dtype=jnp.int32)

  closable = task.receptacle_types >= words.FIRST_CLOSABLE
  door = jnp.where(closable, 2 + state.is_open, 1)
  door_around = jnp.max(
    jnp.where(state.locations[:, None] == slots, door, 0), axis=-1
  )
  door_here = jnp.max(jnp.where(slots == state.agent, door, 0))

  held_is_goal = facts.held_type == task.goal_object
  held_ready = rules.is_ready(task, facts.held_clean, facts.held_temperature)
  hand = jnp.where(
    facts.holding, 2 + held_is_goal + (held_is_goal & held_ready), 1
  )
  asked = (
    1
    + (task.task_type == words.CLEAN)
    + 2 * words.HOT * (task.task_type == words.HEAT)
    + 2 * words.COLD * (task.task_type == words.COOL)
  )
  # Goal, receptacles, objects.
  columns = {
    Feature.KIND: (1, 2, 3),
    Feature.RECEPTACLE_TYPE: (
      1 + task.goal_receptacle,
      1 + task.receptacle_types,
      0,
    ),
    Feature.OBJECT_TYPE: (1 + task.goal_object, 0, 1 + task.object_types),
    Feature.TASK_TYPE: (1 + task.task_type, 0, 0),
    Feature.IS_GOAL: (0, _flag(goal_slots), _flag(goal_objects)),
    Feature.DOOR: (door_here, door, door_around),
    Feature.HERE: (
      0,
      _flag(slots == state.agent),
      _flag((state.locations == state.agent) & ~facts.held),
    ),
    Feature.HAND: (hand, hand, hand),
    Feature.HELD: (0, 0, _flag(facts.held)),
    Feature.PROPERTY: (asked, 0, 1 + state.is_clean + 2 * state.temperature),
    Feature.SLOT: (
      1 + state.agent,
      1 + slots,
      jnp.where(facts.held, shape[0] + 1, 1 + state.locations),
    ),
    Feature.PLACED: (3 + jnp.minimum(num_placed, 1), 0, _flag(in_goal)),
  }
  by_kind = zip(*(columns[feature] for feature in Feature), strict=True)
  tokens = jnp.concatenate(
    [
      _block(block, length)
      for block, length in zip(by_kind, (1, *shape), strict=True)
    ]
  )
  seen = state.seen if hidden else jnp.ones(shape[1], bool)
  token_mask = jnp.concatenate([jnp.ones(1 + shape[0], bool), seen])
  if hidden:
    tokens = jnp.where(token_mask[:, None], tokens, 0)
  return Observation(
    tokens=tokens,
    token_mask=token_mask,
    action_mask=rules.admissible_actions(state, facts),
  )
