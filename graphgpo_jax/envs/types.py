"""What an on-device environment is: the interface and the data it speaks."""

import dataclasses
from typing import Any, Protocol

import chex

State = Any
Task = Any


@dataclasses.dataclass(frozen=True)
class EnvironmentSpec:
  """Static facts of an environment, known before anything is traced.

  Attributes:
    name: short name, as in configs.
    num_tokens: L, tokens of an observation.
    feature_sizes: F sizes; feature f of a token lies in
      [0, feature_sizes[f]).
    num_pointer_actions: P; action p < P points at token `pointer_start + p`.
    pointer_start: index of the token that action 0 points at.
    num_fixed_actions: actions P, ..., P + num_fixed_actions - 1, which belong
      to no token (directions, verbs).
    horizon: step limit T of an episode.
  """

  name: str
  num_tokens: int
  feature_sizes: tuple[int, ...]
  num_pointer_actions: int
  pointer_start: int
  num_fixed_actions: int
  horizon: int

  @property
  def num_actions(self) -> int:
    """A, all actions: pointers first, then the fixed ones."""
    return self.num_pointer_actions + self.num_fixed_actions


@chex.dataclass(frozen=True)
class Observation:
  """What the policy sees of a state."""

  tokens: chex.Array  # int32 [L, F], features of each token
  token_mask: chex.Array  # bool [L], True where there is a token
  action_mask: chex.Array  # bool [A], True where the action can have an effect


@chex.dataclass(frozen=True)
class StepInfo:
  """What an environment reports of a step beside its reward."""

  action_valid: chex.Array  # bool [], the action was admissible
  success: chex.Array  # bool [], the task was solved by this step


class Environment(Protocol):
  """Pure functions of arrays, unbatched; callers use `jax.vmap`.

  `step` takes any action in [0, A): one that is not admissible changes nothing
  but the clock. An episode ends `terminated` (success or a dead end that the
  rules declare) or `truncated` (step limit). Stepping past the end is allowed
  and keeps every output finite; callers mask it.
  """

  spec: EnvironmentSpec

  def sample_task(self, key: chex.PRNGKey) -> Task:
    """Draws a solvable task of the training side: a pytree of arrays."""
    ...

  def sample_evaluation_task(self, key: chex.PRNGKey) -> Task:
    """Draws a solvable task that training never meets."""
    ...

  def task_fingerprint(self, task: Task) -> chex.Array:
    """uint32 [2] of the task's layout; it decides the task's side."""
    ...

  def reset(self, key: chex.PRNGKey, task: Task) -> tuple[State, Observation]:
    """Start state of `task`. `key` drives the world's own randomness."""
    ...

  def step(
    self, state: State, action: chex.Array
  ) -> tuple[State, Observation, chex.Array, chex.Array, chex.Array, StepInfo]:
    """Returns state, observation, reward, terminated, truncated, info."""
    ...

  def state_key(self, state: State) -> chex.Array:
    """uint32 [2]: equal exactly where the future depends on the same facts."""
    ...
