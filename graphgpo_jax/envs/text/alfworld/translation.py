"""From a game's PDDL to what the engine's library loads."""

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from graphgpo_jax.envs.text.alfworld import packages
from graphgpo_jax.envs.text.alfworld.expressions import Entity
from graphgpo_jax.envs.text.alfworld.facts import Signature
from graphgpo_jax.envs.text.types import TextWorldError


@dataclasses.dataclass(frozen=True)
class Translation:
  """A game's world, ready to be loaded any number of times.

  Attributes:
    sas: the planning task as the library reads it, every operator kept.
    start_facts: signature and arguments of each fact at the start.
    object_types: type of each thing by its id.
    parameters: placeholders of each action by its name.
    changing: predicates that some action changes.
    entities: each thing of the start's facts, with its shown name.
    types: the game's `textworld.logic.TypeHierarchy`.
    domain: PDDL text of the domain.
    problem: PDDL text of the problem.
  """

  sas: bytes
  start_facts: tuple[tuple[Signature, tuple[str, ...]], ...]
  object_types: Mapping[str, str]
  parameters: Mapping[str, tuple[tuple[str, str], ...]]
  changing: frozenset[str]
  entities: Mapping[str, Entity]
  types: Any
  domain: str
  problem: str


def translate(domain: str, problem: str) -> Translation:
  """Translates a game.

  Args:
    domain: PDDL text.
    problem: PDDL text.

  Returns:
    The game's world.

  Raises:
    TextWorldError: the PDDL is broken, or its goal cannot be reached or holds
      from the start: the engine has no game then.
  """
  task, sas = to_sas(domain, problem, optimize=False)
  if "dummy(val1)" in sas:
    raise TextWorldError(_no_game(sas))
  object_types = {thing.name: thing.type_name for thing in task.objects}
  start_facts = tuple(_start_facts(task, object_types))
  return Translation(
    sas=sas.encode(),
    start_facts=start_facts,
    object_types=object_types,
    parameters={
      action.name: tuple(
        (parameter.name.strip("?"), parameter.type_name)
        for parameter in action.parameters
      )
      for action in task.actions
    },
    changing=frozenset(
      effect.literal.predicate
      for action in task.actions
      for effect in action.effects
    ),
    entities=_entities(start_facts, object_types),
    types=_hierarchy(task.types),
    domain=domain,
    problem=problem,
  )


def to_sas(domain: str, problem: str, *, optimize: bool) -> tuple[Any, str]:
  """The library's own translation, without its mark on `sys.argv`.

  Args:
    domain: PDDL text.
    problem: PDDL text.
    optimize: prune what no plan needs; otherwise every operator is kept.

  Returns:
    The task as the library's parser has it, and its text for the library.

  Raises:
    TextWorldError: the PDDL is broken.
  """
  fast_downward = packages.require("fast_downward")
  arguments = sys.argv
  try:
    return fast_downward.pddl2sas(domain, problem, optimize=optimize)
  # It ends the process for some faults and asserts the absence of others.
  except (Exception, SystemExit) as error:
    raise TextWorldError(
      f"the game's PDDL is broken: {type(error).__name__}: {error}"
    ) from error
  finally:
    sys.argv = arguments


def _no_game(sas: str) -> str:
  """Which of two ways the translator found no game in."""
  goal = sas.split("begin_goal\n", 1)[-1].split("end_goal", 1)[0]
  if goal.split() == ["1", "0", "0"]:
    return "the game's goal holds from the start"
  return "the game's goal cannot be reached"


def _start_facts(
  task: Any, object_types: Mapping[str, str]
) -> Iterator[tuple[Signature, tuple[str, ...]]]:
  """Facts of the start, without equalities, costs and distances."""
  for atom in task.init:
    predicate = getattr(atom, "predicate", "=")
    if predicate != "=":
      arguments = tuple(atom.args)
      types = tuple(object_types[argument] for argument in arguments)
      yield (predicate, types), arguments


def _entities(
  start_facts: tuple[tuple[Signature, tuple[str, ...]], ...],
  object_types: Mapping[str, str],
) -> dict[str, Entity]:
  """Things and their shown names, such as "apple 1"; alfworld numbers them."""
  misc = packages.require("alfworld.agents.utils.misc")
  ids = {thing for _, arguments in start_facts for thing in arguments}
  unnamed = {
    thing: Entity(id=thing, type=object_types[thing], name=thing)
    for thing in ids
  }
  naming = misc.Demangler(game_infos=unnamed)
  return {
    thing: dataclasses.replace(entity, name=naming.demangle_alfred_name(thing))
    for thing, entity in unnamed.items()
  }


def _hierarchy(declared: Any) -> Any:
  """The types as the stock engine's queries see them."""
  logic = packages.require("textworld.logic")
  types = logic.TypeHierarchy()
  for declaration in declared:
    # A domain may say twice what a type is; the first time counts.
    try:
      types.add(logic.Type(declaration.name, declaration.supertype_names))
    except ValueError:
      continue
  return types
