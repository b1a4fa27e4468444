"""Rules of the household: what the agent can do, and what comes of it.

Compares with iota take the place of indexing: a gather of one element per
environment is the slow way on every backend once the rules are vmapped.
"""

import chex
import jax.numpy as jnp

from graphgpo_jax.envs.household import vocabulary as words
from graphgpo_jax.envs.household.types import State, Task


@chex.dataclass(frozen=True)
class Situation:
  """What the rules ask of a state: the agent's place and its hand."""

  place_type: chex.Array  # int32 [], type of the agent's receptacle, or -1
  place_open: chex.Array  # bool [], the agent's receptacle was opened
  reachable: chex.Array  # bool [], things go in and out of it
  held: chex.Array  # bool [O], one True at most
  holding: chex.Array  # bool []
  held_type: chex.Array  # int32 [], object type, or -1
  held_clean: chex.Array  # bool []
  held_temperature: chex.Array  # int32 []


def start(task: Task) -> State:
  """State at the start of `task`: everything shut, the agent nowhere."""
  receptacle_types = jnp.asarray(task.receptacle_types)
  locations = jnp.asarray(task.locations)
  slots = jnp.arange(receptacle_types.shape[0])
  inside = (locations[:, None] == slots) & (
    receptacle_types >= words.FIRST_CLOSABLE
  )
  return State(
    task=task,
    agent=jnp.int32(words.AGENT_NOWHERE),
    locations=locations,
    is_open=jnp.zeros(receptacle_types.shape, bool),
    is_clean=jnp.zeros(locations.shape, bool),
    temperature=jnp.full(locations.shape, words.ROOM_TEMPERATURE, jnp.int32),
    seen=~jnp.any(inside, axis=-1),
    clock=jnp.int32(0),
  )


def situation(state: State) -> Situation:
  """Place and hand of the agent in `state`."""
  here = jnp.arange(state.is_open.shape[0]) == state.agent
  place_type = jnp.max(jnp.where(here, state.task.receptacle_types, -1))
  place_open = jnp.any(here & state.is_open)
  held = state.locations == words.HELD
  held_type = jnp.max(jnp.where(held, state.task.object_types, -1))
  return Situation(
    place_type=place_type,
    place_open=place_open,
    reachable=(place_type >= 0)
    & ((place_type < words.FIRST_CLOSABLE) | place_open),
    held=held,
    holding=held_type >= 0,
    held_type=held_type,
    held_clean=jnp.any(held & state.is_clean),
    held_temperature=jnp.max(jnp.where(held, state.temperature, 0)),
  )


def admissible_verbs(facts: Situation) -> chex.Array:
  """Bool [NUM_VERBS], the verbs that can have an effect, in VERBS' order."""
  place, thing = facts.place_type, facts.held_type
  closable = place >= words.FIRST_CLOSABLE
  return jnp.stack(
    [
      closable & ~facts.place_open,
      closable & facts.place_open,
      facts.holding & facts.reachable,
      (place == words.SINK)
      & facts.holding
      & (thing < words.NUM_CLEANABLE)
      & ~facts.held_clean,
      (place == words.MICROWAVE)
      & facts.holding
      & (thing < words.NUM_HEATABLE)
      & (facts.held_temperature != words.HOT),
      (place == words.FRIDGE)
      & facts.holding
      & (thing < words.NUM_COOLABLE)
      & (facts.held_temperature != words.COLD),
      (place == words.DESK) & facts.holding,
    ]
  )


def admissible_actions(state: State, facts: Situation) -> chex.Array:
  """Bool [A], what the agent can do: go to, take, then the verbs."""
  go_to = jnp.arange(state.is_open.shape[0]) != state.agent
  take = (state.locations == state.agent) & facts.reachable & ~facts.holding
  return jnp.concatenate([go_to, take, admissible_verbs(facts)])


def is_ready(task: Task, is_clean, temperature) -> chex.Array:
  """bool, the goal's demand on cleanness or heat is met; elementwise."""
  return (
    ((task.task_type != words.CLEAN) | is_clean)
    & ((task.task_type != words.HEAT) | (temperature == words.HOT))
    & ((task.task_type != words.COOL) | (temperature == words.COLD))
  )


def goal_slots(task: Task) -> chex.Array:
  """Bool [R], receptacles of the goal's type."""
  return task.receptacle_types == task.goal_receptacle


def locations_in(locations: chex.Array, slots: chex.Array) -> chex.Array:
  """Bool [O], True where an object's location is one of `slots` (bool [R])."""
  index = jnp.arange(slots.shape[0])
  return jnp.any((locations[:, None] == index) & slots, axis=-1)


def placed(state: State) -> chex.Array:
  """Bool [O], goal objects that lie, ready, in a receptacle of the goal."""
  task = state.task
  return (
    (task.object_types == task.goal_object)
    & is_ready(task, state.is_clean, state.temperature)
    & locations_in(state.locations, goal_slots(task))
  )


def goal_holds(state: State) -> chex.Array:
  """Bool [], a placing goal holds; a lamp's goal is an act, never a state."""
  task = state.task
  needed = jnp.where(task.task_type == words.PICK_TWO, 2, 1)
  enough = jnp.sum(placed(state), dtype=jnp.int32) >= needed
  return (task.task_type != words.LOOK) & enough


def advance(
  state: State, action: chex.Array
) -> tuple[State, chex.Array, chex.Array]:
  """One step of the rules.

  Args:
    state: the facts before.
    action: int32 [], in [0, A).

  Returns:
    the facts after, bool [] whether the action was admissible, bool []
    whether it solved the task. The clock moves in any case.
  """
  task = state.task
  num_receptacles = state.is_open.shape[0]
  num_objects = state.locations.shape[0]
  facts = situation(state)
  admissible = admissible_actions(state, facts)
  chosen = (jnp.arange(admissible.shape[0]) == action) & admissible
  go_to = chosen[:num_receptacles]
  take = chosen[num_receptacles : num_receptacles + num_objects]
  (
    opening,
    closing,
    putting,
    cleaning,
    heating,
    cooling,
    lighting,
  ) = [
    chosen[num_receptacles + num_objects + v] for v in range(words.NUM_VERBS)
  ]

  here = jnp.arange(num_receptacles) == state.agent
  agent = jnp.where(jnp.any(go_to), action, state.agent).astype(jnp.int32)
  locations = jnp.where(take, words.HELD, state.locations)
  locations = jnp.where(facts.held & putting, state.agent, locations)
  is_open = (state.is_open | (here & opening)) & ~(here & closing)
  is_clean = state.is_clean | (facts.held & cleaning)
  temperature = jnp.where(facts.held & heating, words.HOT, state.temperature)
  temperature = jnp.where(facts.held & cooling, words.COLD, temperature)

  reachable_now = jnp.arange(num_receptacles) == agent
  reachable_now &= is_open | (task.receptacle_types < words.FIRST_CLOSABLE)
  after = State(
    task=task,
    agent=agent,
    locations=locations,
    is_open=is_open,
    is_clean=is_clean,
    temperature=temperature,
    # Only the agent moves things, so that what it saw once stays known.
    seen=state.seen
    | (locations == words.HELD)
    | locations_in(locations, reachable_now),
    clock=state.clock + 1,
  )
  looked = (
    lighting
    & (task.task_type == words.LOOK)
    & (facts.held_type == task.goal_object)
  )
  # Nothing but `put` makes a placing goal true: what is put away stays as it
  # is until it is taken again.
  success = looked | (putting & goal_holds(after))
  return after, jnp.any(chosen), success
