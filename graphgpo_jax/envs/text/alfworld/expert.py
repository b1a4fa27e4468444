"""Plans by the library's planner, in a part of the world small enough for it.

The planner that alfworld calls searches blindly: in a room of real size it
needs minutes as soon as something is to be cooled. Nothing in the domain gets
in the way of anything else but the agent's one hand, so that a plan for the
things that a goal speaks of, in the receptacles that hold or take them, is a
plan for the whole room.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from graphgpo_jax.envs.text.alfworld.facts import Facts
from graphgpo_jax.envs.text.alfworld.translation import Translation, to_sas
from graphgpo_jax.envs.text.types import TextWorldError

_THING_TYPE = re.compile(r"\(\s*objecttype\s+\?\w+\s+(\w+)\s*\)")
_RECEPTACLE_TYPE = re.compile(r"\(\s*receptacletype\s+\?\w+\s+(\w+)\s*\)")
_APPLIANCES = ("sinkbasintype", "microwavetype", "fridgetype")

# Facts of two arguments: which second ones belong to a first one.
_Pairs = Sequence[tuple[str, str]]


def find_plan(
  library: Any, operator_class: Any, translation: Translation, facts: Facts
) -> list[str]:
  """Finds operators that lead to the goal.

  Args:
    library: of `fast_downward.load_lib`; its state stays as it is.
    operator_class: of the fast_downward package.
    translation: the game.
    facts: of the state to begin in.

  Returns:
    The operators' names; not the shortest plan of the whole room.

  Raises:
    TextWorldError: the planner found none, or the goal is of another kind than
      alfworld's six.
  """
  problem = _part_of_problem(translation, facts)
  sas = to_sas(translation.domain, problem, optimize=True)[1]
  if not library.solve_sas(sas.encode(), False):
    raise TextWorldError("the planner found no way to the goal")
  steps = (operator_class * library.get_last_plan_length())()
  library.get_last_plan(steps)
  return [step.name for step in steps]


def _part_of_problem(translation: Translation, facts: Facts) -> str:
  """The problem that begins in a state, of what the goal needs alone."""
  goal_at = translation.problem.lower().rfind("(:goal")
  goal = translation.problem[goal_at:]
  kept = set(_kept(facts, goal.lower()))
  kept.update(
    thing
    for thing, kind in translation.object_types.items()
    if kind in ("agent", "otype", "rtype")
  )
  objects = "\n".join(
    f"{thing} - {translation.object_types[thing]}" for thing in sorted(kept)
  )
  init = "\n".join(
    f"({' '.join((name, *arguments))})"
    for (name, _), arguments in facts.all()
    if kept.issuperset(arguments)
    and not name.startswith(("not_", "new-axiom@"))
  )
  return (
    f"(define (problem part)\n(:domain alfred)\n(:objects\n{objects}\n)\n"
    f"(:init\n(= (total-cost) 0)\n{init}\n)\n{goal}"
  )


def _kept(facts: Facts, goal: str) -> Iterator[str]:
  """The things, receptacles and locations that a plan needs."""
  wanted = Counter(_THING_TYPE.findall(goal))
  if not wanted:
    raise TextWorldError("the goal is of another kind than alfworld's six")
  thing_types = _pairs(facts, "objecttype")
  receptacle_types = _pairs(facts, "receptacletype")
  inside = dict(_pairs(facts, "inreceptacle"))
  held = [thing for _, thing in _pairs(facts, "holds")]

  things = []
  for kind, count in wanted.items():
    # What is at hand comes first, then what can be reached at all.
    candidates = sorted(
      (thing for thing, its_kind in thing_types if its_kind == kind),
      key=lambda thing: (thing not in held, thing not in inside, thing),
    )
    things += candidates[:count]

  receptacles = {inside[thing] for thing in things if thing in inside}
  for kind in {*_RECEPTACLE_TYPE.findall(goal), *_APPLIANCES}:
    of_kind = [place for place, its in receptacle_types if its == kind]
    known = sorted(receptacles.intersection(of_kind))
    receptacles.update((known or sorted(of_kind))[:1])
  for thing in set(held).difference(things):
    things.append(thing)
    takes = _takers(facts, thing, thing_types, receptacle_types)
    if not receptacles.intersection(takes):
      receptacles.update(takes[:1])

  yield from things
  yield from receptacles
  yield from (at for _, at in _pairs(facts, "atlocation"))
  for receptacle, location in _pairs(facts, "receptacleatlocation"):
    if receptacle in receptacles:
      yield location


def _pairs(facts: Facts, predicate: str) -> _Pairs:
  return [
    (arguments[0], arguments[1])
    for (name, _), arguments in facts.all()
    if name == predicate
  ]


def _takers(
  facts: Facts, thing: str, thing_types: _Pairs, receptacle_types: _Pairs
) -> list[str]:
  """The receptacles that a thing can be put in."""
  kinds = _seconds(thing_types, [thing])
  takers = {
    receptacle_type
    for receptacle_type, thing_type in _pairs(facts, "cancontain")
    if thing_type in kinds
  }
  return sorted(place for place, kind in receptacle_types if kind in takers)


def _seconds(pairs: _Pairs, firsts: Iterable[str]) -> set[str]:
  chosen = set(firsts)
  return {second for first, second in pairs if first in chosen}
