"""What an on-device environment is: the interface and the data it speaks."""

import dataclasses
from typing import Any, Protocol

import chex
import numpy as np

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
    has_costs: steps may cost something else than 1; evaluation then reports
      the cost of episodes.
    action_groups: names of sets of actions, such as the fast ones, with the
      actions; evaluation reports how much each set is used.
  """

  name: str
  num_tokens: int
  feature_sizes: tuple[int, ...]
  num_pointer_actions: int
  pointer_start: int
  num_fixed_actions: int
  horizon: int
  has_costs: bool = False
  action_groups: tuple[tuple[str, tuple[int, ...]], ...] = ()

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
  # float32 [], cost of what happened, at least 0, in the environment's unit
  # (time, money, tokens); a step by default.
  cost: chex.Array = dataclasses.field(
    default_factory=lambda: np.ones((), np.float32)
  )


class Environment(Protocol):
  """Pure functions of arrays, unbatched; callers use `jax.vmap`.

  `step` takes any action in [0, A): one that is not admissible changes nothing
  but the clock. So does the action A, which no policy can choose: it waits, and
  its `action_valid` means nothing. An episode ends `terminated` (success or a
  dead end that the rules declare) or `truncated` (step limit). Stepping past
  the end is allowed and keeps every output finite; callers mask it.

  An environment whose steps have chance in them carries a PRNG key in its state
  and has one method more, `with_chance(state, key) -> State`: the same state,
  its further chance drawn from `key`. Rollouts of a task start from one state;
  the method gives each a key of its own.
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

  def admissible_actions(self, state: State) -> chex.Array:
    """Bool [A], True where `step` would report the action as valid."""
    ...
