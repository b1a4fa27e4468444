"""The PDDL problem of a layout, for the domain that alfworld ships."""

from collections import Counter
from collections.abc import Iterable, Iterator

from graphgpo_jax.envs.text.alfworld.rooms import LAMP, Layout, Tables

# The domain speaks of these types in every room.
_NAMED_RECEPTACLES = ("FridgeType", "MicrowaveType", "SinkBasinType")
_NAMED_THINGS = ("ButterKnifeType", "KnifeType")
# alfworld shows a name with "basin" in it as "sinkbasin", from "Sink".
_BASIN = "Basin"


def problem_text(layout: Layout, tables: Tables, goal: str) -> str:
  """Writes a problem.

  Args:
    layout: the room and the task.
    tables: what goes with what.
    goal: PDDL text of the goal, with the parenthesis that ends the problem, as
      alfworld's goal library has it.

  Returns:
    PDDL text.
  """
  receptacles = _ids(layout.receptacles)
  things = _ids(kind for kind, _ in layout.things)
  objects = "\n".join(_objects(layout, receptacles, things))
  facts = "\n".join(_facts(layout, tables, receptacles, things))
  return (
    f"(define (problem generated)\n(:domain alfred)\n(:objects\n{objects}\n)\n"
    f"(:init\n{facts}\n)\n{goal}"
  )


def _ids(kinds: Iterable[str]) -> list[str]:
  """An id for each, from which alfworld makes "apple 1"."""
  count: Counter[str] = Counter()
  ids = []
  for kind in kinds:
    number = f"{count[kind]:02d}"
    count[kind] += 1
    if kind.endswith(_BASIN):
      ids.append(f"{kind.removesuffix(_BASIN)}_bar_{number}_bar_{kind}")
    else:
      ids.append(f"{kind}_bar_{number}")
  return ids


def _objects(
  layout: Layout, receptacles: list[str], things: list[str]
) -> Iterator[str]:
  yield "agent1 - agent"
  yield "loc_start - location"
  for index, receptacle in enumerate(receptacles):
    yield f"loc_{index} - location"
    yield f"{receptacle} - receptacle"
  for thing in things:
    yield f"{thing} - object"
  for kind in sorted(
    {f"{kind}Type" for kind in layout.receptacles}.union(_NAMED_RECEPTACLES)
  ):
    yield f"{kind} - rtype"
  for kind in sorted(
    {f"{kind}Type" for kind, _ in layout.things}.union(_NAMED_THINGS)
  ):
    yield f"{kind} - otype"


def _facts(
  layout: Layout, tables: Tables, receptacles: list[str], things: list[str]
) -> Iterator[str]:
  yield "(= (total-cost) 0)"
  yield "(atLocation agent1 loc_start)"
  for index, kind in enumerate(layout.receptacles):
    receptacle = receptacles[index]
    yield f"(receptacleType {receptacle} {kind}Type)"
    yield f"(receptacleAtLocation {receptacle} loc_{index})"
    if kind in tables.openable:
      yield f"(openable {receptacle})"
  for thing, (kind, place) in zip(things, layout.things, strict=True):
    yield f"(objectType {thing} {kind}Type)"
    yield f"(inReceptacle {thing} {receptacles[place]})"
    yield f"(objectAtLocation {thing} loc_{place})"
    for ability in _abilities(kind, tables):
      yield f"({ability} {thing})"
  kinds = {kind for kind, _ in layout.things}
  for receptacle in sorted(set(layout.receptacles)):
    for kind in sorted(tables.contains[receptacle] & kinds):
      yield f"(canContain {receptacle}Type {kind}Type)"


def _abilities(kind: str, tables: Tables) -> Iterator[str]:
  """What can be done with a thing."""
  if kind == LAMP:
    yield "toggleable"
    return
  yield "pickupable"
  for ability, kinds in (
    ("cleanable", tables.cleanable),
    ("heatable", tables.heatable),
    ("coolable", tables.coolable),
    ("sliceable", tables.sliceable),
    ("isReceptacleObject", tables.hollow),
  ):
    if kind in kinds:
      yield ability
