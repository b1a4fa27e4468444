"""Words of the household: kinds of tasks, places and objects, and where
objects are found.

The order of the names carries facts, so that the rules need one comparison
instead of a table: places that open and close come last among the receptacles,
and an object type that can be heated comes before one that can only be cooled,
and that one before one that can only be washed.
"""

import numpy as np

TASK_TYPES = (
  "pick and place",
  "look in light",
  "clean then place",
  "heat then place",
  "cool then place",
  "pick two and place",
)
PICK, LOOK, CLEAN, HEAT, COOL, PICK_TWO = range(len(TASK_TYPES))

RECEPTACLE_TYPES = (
  "countertop",
  "dining table",
  "side table",
  "shelf",
  "desk",
  "bed",
  "sofa",
  "sink basin",
  "garbage can",
  "cabinet",
  "drawer",
  "safe",
  "fridge",
  "microwave",
)
NUM_RECEPTACLE_TYPES = len(RECEPTACLE_TYPES)
DESK = RECEPTACLE_TYPES.index("desk")  # every desk has a lamp
SINK = RECEPTACLE_TYPES.index("sink basin")
FRIDGE = RECEPTACLE_TYPES.index("fridge")
MICROWAVE = RECEPTACLE_TYPES.index("microwave")
FIRST_CLOSABLE = RECEPTACLE_TYPES.index("cabinet")

OBJECT_TYPES = (
  "apple",
  "egg",
  "potato",
  "tomato",
  "mug",
  "plate",
  "lettuce",
  "bowl",
  "pan",
  "knife",
  "spoon",
  "cloth",
  "book",
  "pen",
  "alarm clock",
  "pillow",
)
NUM_OBJECT_TYPES = len(OBJECT_TYPES)
NUM_HEATABLE = OBJECT_TYPES.index("lettuce")
NUM_COOLABLE = OBJECT_TYPES.index("knife")
NUM_CLEANABLE = OBJECT_TYPES.index("book")

VERBS = ("open", "close", "put", "clean", "heat", "cool", "use lamp")
NUM_VERBS = len(VERBS)
# The fast way, an action after the verbs where a household has it.
COURIER = "send courier"

AGENT_NOWHERE = -1  # the middle of the room, where an episode starts
HELD = -1  # location of the object in the agent's hand
ROOM_TEMPERATURE, HOT, COLD = range(3)

# Receptacle types that a room of each tier has for certain: the k-th fixture
# from tier k + 2 on.
FIXTURES = (DESK, SINK, MICROWAVE, FRIDGE)

# What a room is drawn from, without replacement. Fixtures come once, so that
# "the fridge" is never ambiguous.
_STOCK_COUNTS = {
  "countertop": 2,
  "dining table": 1,
  "side table": 2,
  "shelf": 2,
  "desk": 1,
  "bed": 1,
  "sofa": 1,
  "sink basin": 1,
  "garbage can": 1,
  "cabinet": 3,
  "drawer": 3,
  "safe": 1,
  "fridge": 1,
  "microwave": 1,
}
STOCK = np.array(
  [
    RECEPTACLE_TYPES.index(name)
    for name, count in _STOCK_COUNTS.items()
    for _ in range(count)
  ],
  np.int32,
)

_FOOD_PLACES = (
  "countertop, dining table, side table, sink basin, garbage can, fridge, "
  "microwave"
)
_DISH_PLACES = (
  "countertop, dining table, side table, shelf, desk, sink basin, cabinet, "
  "fridge, microwave"
)
_TOOL_PLACES = "countertop, dining table, side table, sink basin, drawer"
_PLACES = {
  "apple": _FOOD_PLACES,
  "egg": _FOOD_PLACES,
  "potato": _FOOD_PLACES,
  "tomato": _FOOD_PLACES,
  "mug": _DISH_PLACES,
  "plate": _DISH_PLACES,
  "lettuce": "countertop, dining table, sink basin, garbage can, fridge",
  "bowl": _DISH_PLACES,
  "pan": "countertop, dining table, sink basin, cabinet, fridge",
  "knife": _TOOL_PLACES,
  "spoon": _TOOL_PLACES + ", cabinet",
  "cloth": "countertop, shelf, sink basin, garbage can, cabinet, drawer",
  "book": "dining table, side table, shelf, desk, bed, sofa, drawer, cabinet",
  "pen": "side table, shelf, desk, bed, garbage can, drawer, safe",
  "alarm clock": "side table, shelf, desk, bed, drawer, safe",
  "pillow": "bed, sofa, side table, shelf, cabinet",
}
# bool [NUM_OBJECT_TYPES, NUM_RECEPTACLE_TYPES]: the object is found there.
PLAUSIBLE = np.array(
  [
    [place in _PLACES[name].split(", ") for place in RECEPTACLE_TYPES]
    for name in OBJECT_TYPES
  ]
)


def _goal_objects() -> np.ndarray:
  """Bool [task types, object types]: what a task of each type may be about."""
  index = np.arange(NUM_OBJECT_TYPES)
  anything = np.ones(NUM_OBJECT_TYPES, bool)
  # Looked at under the lamp are things that have something to look at.
  worth_a_look = np.isin(
    OBJECT_TYPES,
    ("mug", "plate", "bowl", "book", "pen", "alarm clock", "pillow"),
  )
  rows = [anything] * len(TASK_TYPES)
  rows[LOOK] = worth_a_look
  rows[CLEAN] = index < NUM_CLEANABLE
  rows[HEAT] = index < NUM_HEATABLE
  rows[COOL] = index < NUM_COOLABLE
  return np.stack(rows)


def _goal_receptacles() -> np.ndarray:
  """Bool [task types, receptacle types]: where a task of each type may end."""
  rows = np.ones((len(TASK_TYPES), NUM_RECEPTACLE_TYPES), bool)
  rows[LOOK] = np.arange(NUM_RECEPTACLE_TYPES) == DESK
  # Otherwise the step before `put` would already stand at the goal.
  rows[CLEAN, SINK] = False
  rows[HEAT, MICROWAVE] = False
  rows[COOL, FRIDGE] = False
  return rows


GOAL_OBJECTS = _goal_objects()
GOAL_RECEPTACLES = _goal_receptacles()
