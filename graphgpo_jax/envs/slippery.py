"""Worlds in which an action sometimes does not do what it was chosen for."""

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.envs import types, wrapper

MODES = ("fail", "other")


@chex.dataclass(frozen=True)
class SlipperyState:
  """A state of the world inside, and the chance of the steps to come."""

  world: types.State  # state of the world inside
  chance: chex.PRNGKey  # [], splits with every step


class Slippery(wrapper.Wrapper):
  """Any environment with slips: transitions have chance in them.

  With probability `slip` an admissible action does not happen. In its place,

    "fail":  nothing happens but the clock;
    "other": another admissible action happens, all with equal chances, or
             nothing where there is no other.

  An inadmissible action never slips: it changes nothing but the clock, as in
  every environment. `StepInfo.action_valid` tells of the chosen action, the
  reward, the success and the cost of what happened.

  The state carries a PRNG key, at first the reset's; `with_chance` gives
  another, so that rollouts from one start slip each on its own. `state_key`
  does not see it: where an episode stands does not depend on what will chance
  to happen.

  Attributes:
    environment: the world inside.
    spec: its static facts.
    slip: probability of a slip.
    mode: what happens then.
  """

  def __init__(
    self, environment: types.Environment, *, slip: float, mode: str = "fail"
  ):
    """Wraps.

    Args:
      environment: the world inside; in it the action A waits.
      slip: probability that an admissible action slips, in [0, 1).
      mode: one of `MODES`.

    Raises:
      ValueError: an argument is out of its range; the message names it.
    """
    check_slip(slip, mode)
    super().__init__(environment)
    self.slip = slip
    self.mode = mode

  def reset(
    self, key: chex.PRNGKey, task: types.Task
  ) -> tuple[SlipperyState, types.Observation]:
    """Start state of `task`.

    Args:
      key: PRNG key of the world inside, and of the slips.
      task: the task.

    Returns:
      The state and its observation.
    """
    world_key, chance = jax.random.split(key)
    world, observation = self.environment.reset(world_key, task)
    return SlipperyState(world=world, chance=chance), observation

  def with_chance(
    self, state: SlipperyState, key: chex.PRNGKey
  ) -> SlipperyState:
    """The same state, its further slips drawn from `key`."""
    inner_key, chance = jax.random.split(key)
    return SlipperyState(
      world=super().with_chance(state.world, inner_key), chance=chance
    )

  def step(
    self, state: SlipperyState, action: chex.Array
  ) -> tuple[
    SlipperyState,
    types.Observation,
    chex.Array,
    chex.Array,
    chex.Array,
    types.StepInfo,
  ]:
    """Does the action, or what happens in its place.

    Args:
      state: the current state.
      action: int32 [], in [0, A), as chosen.

    Returns:
      As the step of the world inside, with `action_valid` of the chosen
      action.
    """
    chance, slip_key, other_key = jax.random.split(state.chance, 3)
    admissible = self.environment.admissible_actions(state.world)
    chosen = jnp.arange(admissible.shape[0]) == action
    valid = jnp.any(admissible & chosen)
    slips = valid & jax.random.bernoulli(slip_key, self.slip)
    instead = jnp.int32(self.spec.num_actions)
    if self.mode == "other":
      others = admissible & ~chosen
      # Integers, which every machine compares alike; no score of 0 but where
      # there is nothing to draw.
      noise = jax.random.bits(other_key, others.shape, jnp.uint32)
      drawn = jnp.argmax(jnp.where(others, noise | 1, 0)).astype(jnp.int32)
      instead = jnp.where(jnp.any(others), drawn, instead)
    happens = jnp.where(slips, instead, action)
    world, observation, reward, terminated, truncated, info = (
      self.environment.step(state.world, happens)
    )
    return (
      SlipperyState(world=world, chance=chance),
      observation,
      reward,
      terminated,
      truncated,
      info.replace(action_valid=valid),  # type: ignore[attr-defined]
    )

  def state_key(self, state: SlipperyState) -> chex.Array:
    """uint32 [2] of the world inside; chance plays no part."""
    return self.environment.state_key(state.world)

  def admissible_actions(self, state: SlipperyState) -> chex.Array:
    """Bool [A], of the world inside."""
    return self.environment.admissible_actions(state.world)


def check_slip(slip: float, mode: str) -> None:
  """Checks the two arguments of `Slippery`.

  Args:
    slip: probability of a slip.
    mode: what happens then.

  Raises:
    ValueError: one is out of its range; the message names it.
  """
  if isinstance(slip, bool) or not isinstance(slip, int | float):
    raise ValueError(f"slip must be a number, got {slip!r}")
  if not 0 <= slip < 1:
    raise ValueError(f"slip must lie in [0, 1), got {slip}")
  if mode not in MODES:
    raise ValueError(
      f"slip_mode={mode!r} does not exist; there are {', '.join(MODES)}"
    )
