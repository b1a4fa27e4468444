"""What wrappers of environments share: passing on what they do not change."""

from typing import Any

import chex

from graphgpo_jax.envs import types

State = types.State
Task = types.Task


class Wrapper:
  """An environment around another one; as it is, it changes nothing.

  Attributes:
    environment: the one inside.
    spec: its static facts.
  """

  def __init__(self, environment: types.Environment):
    """Wraps.

    Args:
      environment: the one inside.
    """
    self.environment = environment
    self.spec = environment.spec

  def sample_task(self, key: chex.PRNGKey) -> Task:
    """Draws a task of the training side."""
    return self.environment.sample_task(key)

  def sample_evaluation_task(self, key: chex.PRNGKey) -> Task:
    """Draws a task that training never meets."""
    return self.environment.sample_evaluation_task(key)

  def task_fingerprint(self, task: Task) -> chex.Array:
    """uint32 [2] of the task's layout."""
    return self.environment.task_fingerprint(task)

  def reset(
    self, key: chex.PRNGKey, task: Task
  ) -> tuple[State, types.Observation]:
    """Start state of `task`."""
    return self.environment.reset(key, task)

  def step(
    self, state: State, action: chex.Array
  ) -> tuple[
    State,
    types.Observation,
    chex.Array,
    chex.Array,
    chex.Array,
    types.StepInfo,
  ]:
    """Returns state, observation, reward, terminated, truncated, info."""
    return self.environment.step(state, action)

  def state_key(self, state: State) -> chex.Array:
    """uint32 [2]: equal exactly where the future depends on the same facts."""
    return self.environment.state_key(state)

  def admissible_actions(self, state: State) -> chex.Array:
    """Bool [A], True where `step` would report the action as valid."""
    return self.environment.admissible_actions(state)

  def with_chance(self, state: State, key: chex.PRNGKey) -> State:
    """The same state, its further chance drawn from `key`."""
    inner: Any = getattr(self.environment, "with_chance", None)
    return state if inner is None else inner(state, key)
