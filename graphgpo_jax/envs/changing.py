"""A household that changes: the goal of a task that is known moves elsewhere.

For what remembers a task over updates. Of a task that comes back, the object
belongs in another place from some update on:

    before = MovingGoal(household, moved=False)
    after = MovingGoal(household, moved=True)

Both draw the same tasks and name tasks and states alike, so what was remembered
before is found after, and is wrong there.
"""

import functools

import chex
import jax.numpy as jnp

from graphgpo_jax.envs import types, wrapper
from graphgpo_jax.envs.household import env as household
from graphgpo_jax.envs.household import generator
from graphgpo_jax.envs.household import vocabulary as words
from graphgpo_jax.envs.household.types import State, Task
from graphgpo_jax.envs.split import sample_from_side


def _liking(task: Task) -> chex.Array:
  """int32 [R], 0 where the goal cannot move to, 2 where the object may live."""
  types_here = jnp.asarray(task.receptacle_types)
  goal_things = task.object_types == task.goal_object
  # Where a goal object lies at the start the task would be half done.
  at_start = types_here[task.locations]
  taken = jnp.any(
    goal_things[:, None] & (at_start[:, None] == types_here), axis=0
  )
  allowed = jnp.asarray(words.GOAL_RECEPTACLES)[task.task_type, types_here]
  free = allowed & ~taken & (types_here != task.goal_receptacle)
  lives = jnp.asarray(words.PLAUSIBLE)[task.goal_object, types_here]
  return jnp.where(free, 1 + lives, 0)


def can_move(task: Task) -> chex.Array:
  """Bool [], the room has another place for the goal; not so for a lamp."""
  return jnp.any(_liking(task) > 0)


def move_goal(task: Task) -> Task:
  """The same task with its goal in another place of the room.

  The new place is of another type than the old one, holds no object of the
  goal's type at the start, and is a place that a task of this type may end in:
  the task stays solvable. Of several, the first where the object may be found
  is taken, else the first. It depends on the task alone.

  Args:
    task: one task (unbatched).

  Returns:
    The task with another `goal_receptacle`; as it was where `can_move` is
    False.
  """
  liking = _liking(task)
  place = jnp.asarray(task.receptacle_types)[jnp.argmax(liking)]
  goal = jnp.where(jnp.any(liking > 0), place, task.goal_receptacle)
  return task.replace(  # type: ignore[attr-defined]
    goal_receptacle=goal.astype(jnp.int32)
  )


class MovingGoal(wrapper.Wrapper):
  """The household with goals that can move, and names that do not tell it.

  Training tasks are those whose goal can move. Evaluation tasks are the
  household's own: of them, a goal that cannot move stays.

  `task_fingerprint` is of the task as it was drawn, and `state_key` leaves the
  goal's place out, so both are the same before and after the move. Within a
  task nothing is lost by that: its rollouts share one goal.

  Attributes:
    environment: the household inside.
    spec: its static facts.
    moved: whether tasks are played with their goal moved.
  """

  def __init__(
    self, environment: household.Household, *, moved: chex.Array | bool
  ):
    """Wraps.

    Args:
      environment: the household.
      moved: whether goals have moved; a traced bool [] serves as well, so that
        one program can play both.
    """
    super().__init__(environment)
    self.moved = moved
    self._generate = functools.partial(
      generator.generate_task,
      tier=environment.tier,
      num_receptacles=environment.num_receptacles,
      num_objects=environment.num_objects,
    )

  def sample_task(self, key: chex.PRNGKey) -> Task:
    """Draws a training task whose goal can move, as it is before the move."""
    return sample_from_side(
      self._generate,
      self.task_fingerprint,
      key,
      evaluation=False,
      accept=can_move,
    )

  def reset(
    self, key: chex.PRNGKey, task: Task
  ) -> tuple[State, types.Observation]:
    """Start state of `task`, its goal moved or not.

    Args:
      key: PRNG key.
      task: the task as it was drawn.

    Returns:
      The state and its observation, which tells the goal as it is now.
    """
    goal = jnp.where(
      self.moved, move_goal(task).goal_receptacle, task.goal_receptacle
    )
    return self.environment.reset(
      key,
      task.replace(goal_receptacle=goal),  # type: ignore[attr-defined]
    )

  def state_key(self, state: State) -> chex.Array:
    """uint32 [2] of all facts but the goal's place."""
    nowhere = jnp.zeros_like(state.task.goal_receptacle)
    task = state.task.replace(  # type: ignore[attr-defined]
      goal_receptacle=nowhere
    )
    return self.environment.state_key(
      state.replace(task=task)  # type: ignore[attr-defined]
    )
