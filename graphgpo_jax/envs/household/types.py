"""Task and state of the household."""

import chex


@chex.dataclass(frozen=True)
class Task:
  """A room, what lies where at the start, and what is to be done.

  For `look in light` the goal receptacle is the desk: its lamp is the goal.
  """

  task_type: chex.Array  # int32 [], index into vocabulary.TASK_TYPES
  goal_object: chex.Array  # int32 [], object type
  goal_receptacle: chex.Array  # int32 [], receptacle type
  receptacle_types: chex.Array  # int32 [R]
  object_types: chex.Array  # int32 [O]
  locations: chex.Array  # int32 [O], receptacle slot of each object


@chex.dataclass(frozen=True)
class State:
  """Facts of the room now. `clock` and `seen` do not change its future."""

  task: Task
  agent: chex.Array  # int32 [], receptacle slot, or AGENT_NOWHERE
  locations: chex.Array  # int32 [O], receptacle slot, or HELD
  is_open: chex.Array  # bool [R], False for open surfaces too
  is_clean: chex.Array  # bool [O]
  temperature: chex.Array  # int32 [O], ROOM_TEMPERATURE, HOT or COLD
  seen: chex.Array  # bool [O], the agent knows where the object is
  clock: chex.Array  # int32 [], steps taken
