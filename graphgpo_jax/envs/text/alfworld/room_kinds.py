"""Kinds of rooms that generated games play in, and types of tasks."""

import dataclasses
import types
from collections.abc import Mapping

LOOK = "look_at_obj_in_light"
TWO = "pick_two_obj_and_place"
# What a task asks of its object, as a name in `Tables`.
TREATMENTS = {
  "pick_clean_then_place_in_recep": "cleanable",
  "pick_heat_then_place_in_recep": "heatable",
  "pick_cool_then_place_in_recep": "coolable",
}
TASK_TYPES = ("pick_and_place_simple", LOOK, *TREATMENTS, TWO)


@dataclasses.dataclass(frozen=True)
class RoomKind:
  """What can stand in a kind of room.

  Attributes:
    receptacles: fewest and most of each type of receptacle.
    things: types of the things that lie about.
    task_types: types of tasks that can be done there.
  """

  receptacles: Mapping[str, tuple[int, int]]
  things: tuple[str, ...]
  task_types: frozenset[str]


def _words(text: str) -> tuple[str, ...]:
  return tuple(text.split())


_ANYWHERE = frozenset({"pick_and_place_simple", TWO})
_KINDS = {
  "kitchen": RoomKind(
    receptacles={
      "Cabinet": (3, 9),
      "CoffeeMachine": (1, 1),
      "CounterTop": (1, 3),
      "DiningTable": (0, 1),
      "Drawer": (2, 6),
      "Fridge": (1, 1),
      "GarbageCan": (1, 1),
      "Microwave": (1, 1),
      "Shelf": (0, 3),
      "SinkBasin": (1, 1),
      "StoveBurner": (2, 4),
      "Toaster": (0, 1),
    },
    things=_words(
      "Apple Bowl Bread ButterKnife Cup DishSponge Egg Fork Glassbottle Kettle "
      "Knife Ladle Lettuce Mug Pan PepperShaker Plate Pot Potato SaltShaker "
      "SoapBottle Spatula Spoon Tomato Vase WineBottle"
    ),
    task_types=_ANYWHERE | set(TREATMENTS),
  ),
  "living room": RoomKind(
    receptacles={
      "ArmChair": (1, 2),
      "Cabinet": (0, 4),
      "CoffeeTable": (1, 1),
      "Desk": (0, 1),
      "Drawer": (2, 6),
      "Dresser": (0, 1),
      "GarbageCan": (1, 1),
      "Ottoman": (0, 1),
      "Safe": (0, 1),
      "Shelf": (2, 6),
      "SideTable": (2, 3),
      "Sofa": (1, 1),
      "TVStand": (0, 1),
    },
    things=_words(
      "Book Bowl Box Candle CellPhone CreditCard KeyChain Laptop Newspaper "
      "Pencil Pillow Plate RemoteControl Statue TissueBox Vase Watch "
      "WateringCan"
    ),
    task_types=_ANYWHERE | {LOOK},
  ),
  "bedroom": RoomKind(
    receptacles={
      "ArmChair": (0, 1),
      "Bed": (1, 1),
      "Cabinet": (0, 4),
      "Desk": (1, 2),
      "Drawer": (3, 8),
      "Dresser": (0, 1),
      "GarbageCan": (1, 1),
      "LaundryHamper": (0, 1),
      "Safe": (0, 1),
      "Shelf": (2, 6),
      "SideTable": (2, 2),
    },
    things=_words(
      "AlarmClock BaseballBat BasketBall Book Bowl Box CD CellPhone Cloth "
      "CreditCard KeyChain Laptop Mug Pen Pencil Pillow Statue TennisRacket "
      "TissueBox Vase"
    ),
    task_types=_ANYWHERE | {LOOK},
  ),
  "bathroom": RoomKind(
    receptacles={
      "BathtubBasin": (0, 1),
      "Cabinet": (2, 6),
      "Cart": (0, 1),
      "CounterTop": (1, 1),
      "Drawer": (0, 6),
      "GarbageCan": (1, 1),
      "HandTowelHolder": (1, 2),
      "Shelf": (0, 2),
      "SinkBasin": (1, 2),
      "Toilet": (1, 1),
      "ToiletPaperHanger": (1, 1),
      "TowelHolder": (2, 2),
    },
    things=_words(
      "Candle Cloth DishSponge HandTowel PaperTowel Plunger SoapBar SoapBottle "
      "SprayBottle TissueBox ToiletPaper Towel"
    ),
    task_types=_ANYWHERE | {"pick_clean_then_place_in_recep"},
  ),
}
ROOM_KINDS: Mapping[str, RoomKind] = types.MappingProxyType(_KINDS)
