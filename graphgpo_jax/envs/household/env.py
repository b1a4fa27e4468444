"""The household: ALFWorld in miniature, as pure functions of arrays."""

import math

import chex
import jax.numpy as jnp

from graphgpo_jax.credit.fingerprints import fingerprint
from graphgpo_jax.envs.household import courier as courier_lib
from graphgpo_jax.envs.household import generator, observation, rules
from graphgpo_jax.envs.household import vocabulary as words
from graphgpo_jax.envs.household.types import State, Task
from graphgpo_jax.envs.split import sample_from_side
from graphgpo_jax.envs.types import EnvironmentSpec, Observation, StepInfo

MAX_TIER = len(words.TASK_TYPES)
MAX_HORIZON = 200
# Receptacles, objects and step limit of each tier, the first tier first.
_DEFAULTS = (
  (6, 5, 30),
  (6, 5, 30),
  (7, 5, 40),
  (7, 5, 40),
  (8, 6, 40),
  (8, 6, 50),
)


def _check_range(name: str, value: int, low: int, high: int) -> int:
  if isinstance(value, bool) or not isinstance(value, int):
    raise ValueError(f"{name} must be an integer, got {value!r}")
  if not low <= value <= high:
    raise ValueError(f"{name} must lie in [{low}, {high}], got {value}")
  return value


def _check_cost(name: str, value: float) -> float:
  number = isinstance(value, int | float) and not isinstance(value, bool)
  if not number or not 0 <= value < math.inf:
    raise ValueError(f"{name} must be a finite number from 0, got {value!r}")
  return float(value)


class Household:
  """Household chores with a reward for the finished chore alone.

  Actions: `go to receptacle r` for r < R, `take object o` as R + o, then the
  verbs of `vocabulary.VERBS`, then, where there is one, the courier (see
  courier.py). Pointer action p points at token 1 + p. The
  reward is 1 on the step that solves the task and 0 on every other. An
  inadmissible action changes nothing but the clock.
  """

  def __init__(
    self,
    *,
    tier: int = 1,
    num_receptacles: int | None = None,
    num_objects: int | None = None,
    horizon: int | None = None,
    hidden: bool | None = None,
    courier: bool = False,
    step_cost: float = 1.0,
    fast_cost: float | None = None,
  ):
    """Sets the sizes of the world.

    Args:
      tier: k of 1..6; tasks are of the first k of `vocabulary.TASK_TYPES`.
      num_receptacles: R; by default what suits the tier, 6 to 8.
      num_objects: O; by default 5 or 6.
      horizon: step limit, 1..200; by default 30 to 50.
      hidden: whether the contents of a shut receptacle are unknown until it
        was open while the agent was there; by default from tier 3 on.
      courier: whether there is the fast way, one action more.
      step_cost: cost of a step, at least 0, in units of the user's choice:
        time, money, tokens.
      fast_cost: cost of the courier's step when it brings something, in the
        same unit; by default `step_cost`. An estimator reckons with costs of
        their own step only where it is told to (`add_step_cost` of graphgpo).

    Raises:
      ValueError: an argument is out of its range; the message names it.
    """
    self.tier = _check_range("tier", tier, 1, MAX_TIER)
    defaults = _DEFAULTS[tier - 1]
    # The goal's receptacle and the goal object's home, beside the fixtures.
    fewest = 2 + len(words.FIXTURES[: tier - 1])
    self.num_receptacles = _check_range(
      "num_receptacles",
      defaults[0] if num_receptacles is None else num_receptacles,
      fewest,
      len(words.STOCK),
    )
    self.num_objects = _check_range(
      "num_objects",
      defaults[1] if num_objects is None else num_objects,
      2 if tier > words.PICK_TWO else 1,
      32,
    )
    horizon = _check_range(
      "horizon",
      defaults[2] if horizon is None else horizon,
      1,
      MAX_HORIZON,
    )
    if hidden is None:
      hidden = tier >= 3
    if not isinstance(hidden, bool):
      raise ValueError(f"hidden must be True or False, got {hidden!r}")
    self.hidden = hidden
    if not isinstance(courier, bool):
      raise ValueError(f"courier must be True or False, got {courier!r}")
    if fast_cost is not None and not courier:
      raise ValueError(f"fast_cost={fast_cost!r} needs courier=True")
    self.courier = courier
    self.step_cost = _check_cost("step_cost", step_cost)
    self.fast_cost = self.step_cost
    if fast_cost is not None:
      self.fast_cost = _check_cost("fast_cost", fast_cost)
    num_pointers = self.num_receptacles + self.num_objects
    self._courier_action = num_pointers + words.NUM_VERBS
    groups = (("courier", (self._courier_action,)),)
    self.spec = EnvironmentSpec(
      name=f"household_{tier}",
      num_tokens=1 + num_pointers,
      feature_sizes=observation.feature_sizes(self.num_receptacles),
      num_pointer_actions=num_pointers,
      pointer_start=1,
      num_fixed_actions=words.NUM_VERBS + courier,
      horizon=horizon,
      has_costs=courier or self.step_cost != 1.0,
      action_groups=groups if courier else (),
    )

  def _generate(self, key: chex.PRNGKey) -> Task:
    return generator.generate_task(
      key,
      tier=self.tier,
      num_receptacles=self.num_receptacles,
      num_objects=self.num_objects,
    )

  def task_fingerprint(self, task: Task) -> chex.Array:
    """uint32 [2], equal exactly for equal tasks of this size."""
    return generator.task_fingerprint(task)

  def sample_task(self, key: chex.PRNGKey) -> Task:
    """Draws a solvable task from the training side of the split."""
    return sample_from_side(
      self._generate, self.task_fingerprint, key, evaluation=False
    )

  def sample_evaluation_task(self, key: chex.PRNGKey) -> Task:
    """Draws a solvable task that training never meets."""
    return sample_from_side(
      self._generate, self.task_fingerprint, key, evaluation=True
    )

  def reset(self, key: chex.PRNGKey, task: Task) -> tuple[State, Observation]:
    """Start state of `task`. The world has no chance in it: `key` is unused."""
    del key
    state = rules.start(task)
    return state, self._observe(state)

  def step(
    self, state: State, action: chex.Array
  ) -> tuple[State, Observation, chex.Array, chex.Array, chex.Array, StepInfo]:
    """One step.

    Args:
      state: the facts before.
      action: int32 [], in [0, A), or A to wait.

    Returns:
      state, observation, float32 [] reward (1 on success, else 0), bool []
      terminated (success), bool [] truncated (step limit without success),
      and StepInfo.
    """
    chex.assert_rank(action, 0)
    after, valid, success = rules.advance(state, action)
    cost = jnp.float32(self.step_cost)
    if self.courier:
      # To the rules alone the courier's action is none of theirs.
      brought = courier_lib.parcel(state) & (action == self._courier_action)
      after = courier_lib.deliver(after, brought)
      came = jnp.any(brought)
      valid = valid | came
      cost = jnp.where(came, jnp.float32(self.fast_cost), cost)
    truncated = (after.clock >= self.spec.horizon) & ~success
    return (
      after,
      self._observe(after),
      success.astype(jnp.float32),
      success,
      truncated,
      StepInfo(action_valid=valid, success=success, cost=cost),
    )

  def _observe(self, state: State) -> Observation:
    """What the policy sees of `state`."""
    seen = observation.observe(state, hidden=self.hidden)
    if not self.courier:
      return seen
    return seen.replace(  # type: ignore[attr-defined]
      action_mask=self._with_courier(state, seen.action_mask)
    )

  def admissible_actions(self, state: State) -> chex.Array:
    """Bool [A], what the agent can do in `state`."""
    admissible = rules.admissible_actions(state, rules.situation(state))
    return self._with_courier(state, admissible)

  def _with_courier(self, state: State, admissible: chex.Array) -> chex.Array:
    """Bool [A], admissible actions with the courier's, where there is one."""
    if not self.courier:
      return admissible
    comes = jnp.any(courier_lib.parcel(state))
    return jnp.concatenate([admissible, comes[None]])

  def state_key(self, state: State) -> chex.Array:
    """uint32 [2], fingerprint of the facts that decide the future.

    The clock is left out: time passed is not a place in the graph. So is
    `seen`: the world obeys the same rules whatever the agent knows of it, and
    keeping it in would split nodes that share every path to success. Two
    objects of one type keep their identity.
    """
    task = state.task
    # One word per token, each part in bits of its own, since hashing is dear.
    head = jnp.stack(
      [
        state.agent + 1,
        task.task_type + 8 * (task.goal_object + 32 * task.goal_receptacle),
      ]
    )
    receptacles = state.is_open + 2 * task.receptacle_types
    objects = (
      state.is_clean
      + 2 * state.temperature
      + 8 * (task.object_types + 32 * (state.locations + 1))
    )
    return fingerprint(jnp.concatenate([head, receptacles, objects]))
