"""The household in sentences, for people."""

from collections import Counter
from collections.abc import Iterable, Sequence

import jax
import numpy as np

from graphgpo_jax.envs.household import vocabulary as words
from graphgpo_jax.envs.household.env import Household
from graphgpo_jax.envs.household.types import State, Task

_CONTAINERS = ("sink basin", "garbage can")


def _numbered(types: Iterable[int], names: Sequence[str]) -> list[str]:
  """Names such as `cabinet 2`, counted within each type."""
  count: Counter[str] = Counter()
  numbered = []
  for type_id in np.asarray(types):
    name = names[type_id]
    count[name] += 1
    numbered.append(f"{name} {count[name]}")
  return numbered


def receptacle_names(task: Task) -> list[str]:
  """Name of each receptacle, such as `cabinet 2`, in the order of slots."""
  return _numbered(task.receptacle_types, words.RECEPTACLE_TYPES)


def object_names(task: Task) -> list[str]:
  """Name of each object, such as `mug 1`, in the order of objects."""
  return _numbered(task.object_types, words.OBJECT_TYPES)


def _with_article(name: str) -> str:
  return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _listing(names: Sequence[str]) -> str:
  """`a mug 1, an apple 1 and a pen 1`; `nothing` of nothing."""
  if not names:
    return "nothing"
  names = [_with_article(name) for name in names]
  return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _closable(type_id: int) -> bool:
  return bool(type_id >= words.FIRST_CLOSABLE)


def _preposition(type_id: int) -> str:
  inside = _closable(type_id) or (
    words.RECEPTACLE_TYPES[type_id] in _CONTAINERS
  )
  return "in" if inside else "on"


def _described(state: State, thing: int) -> str:
  """Name of an object with its properties, such as `clean hot mug 1`."""
  parts = ["clean"] if state.is_clean[thing] else []
  parts += [["", "hot", "cold"][int(state.temperature[thing])]]
  parts += [object_names(state.task)[thing]]
  return " ".join(filter(None, parts))


def _contents(state: State, slot: int, *, hidden: bool) -> list[str]:
  """What is known to lie in a receptacle."""
  return [
    _described(state, thing)
    for thing, location in enumerate(np.asarray(state.locations))
    if location == slot and (state.seen[thing] or not hidden)
  ]


def _held(state: State) -> int | None:
  """Index of the object in the hand."""
  held = np.flatnonzero(np.asarray(state.locations) == words.HELD)
  return int(held[0]) if held.size else None


def render_goal(task: Task) -> str:
  """The task as an order, such as `put a clean mug in a cabinet`."""
  thing = words.OBJECT_TYPES[int(task.goal_object)]
  type_id = int(task.goal_receptacle)
  place = _with_article(words.RECEPTACLE_TYPES[type_id])
  where = f"{_preposition(type_id)} {place}"
  kind = int(task.task_type)
  if kind == words.LOOK:
    return f"look at {_with_article(thing)} under the lamp of {place}"
  if kind == words.PICK_TWO:
    plural = {"knife": "knives"}.get(
      thing, thing + ("es" if thing.endswith("o") else "s")
    )
    return f"put two {plural} {where}"
  adjective = {words.CLEAN: "clean ", words.HEAT: "hot ", words.COOL: "cold "}
  return f"put {_with_article(adjective.get(kind, '') + thing)} {where}"


def _place_line(state: State, slot: int, *, hidden: bool) -> str:
  """What a receptacle looks like: its door and what is known to be there."""
  name = receptacle_names(state.task)[slot]
  type_id = int(state.task.receptacle_types[slot])
  things = _contents(state, slot, hidden=hidden)
  shut = _closable(type_id) and not state.is_open[slot]
  if shut and (hidden and not things):
    return f"The {name} is closed."
  door = ""
  if _closable(type_id):
    door = f"The {name} is {'closed' if shut else 'open'}. "
  where = f"{_preposition(type_id)} the {name}"
  if not things:
    return f"{door}There is nothing {where}."
  verb = "are" if len(things) > 1 else "is"
  return f"{door}{where.capitalize()} {verb} {_listing(things)}."


def render_observation(state: State, *, hidden: bool = False) -> str:
  """All that the agent knows in `state`, one receptacle a line.

  Args:
    state: one state (unbatched).
    hidden: leave out what the agent has not seen, as `Household(hidden=True)`.
  """
  names = receptacle_names(state.task)
  agent = int(state.agent)
  where = "in the middle of a room"
  if agent != words.AGENT_NOWHERE:
    where = f"at the {names[agent]}"
  held = _held(state)
  hand = _listing([] if held is None else [_described(state, held)])
  return "\n".join(
    [
      f"You stand {where} with {hand} in your hand.",
      *(_place_line(state, k, hidden=hidden) for k in range(len(names))),
      f"Your task: {render_goal(state.task)}.",
    ]
  )


def render_action(state: State, action: int) -> str:
  """The action as a command, such as `take mug 1 from cabinet 2`.

  Args:
    state: one state (unbatched), before the action.
    action: index in [0, A).
  """
  places, things = receptacle_names(state.task), object_names(state.task)
  action = int(action)
  if action < len(places):
    return f"go to {places[action]}"
  action -= len(places)
  if action == len(things) + words.NUM_VERBS:
    return words.COURIER
  agent = int(state.agent)
  here = "nothing" if agent == words.AGENT_NOWHERE else places[agent]
  if action < len(things):
    from_here = "" if agent == words.AGENT_NOWHERE else f" from {here}"
    return f"take {things[action]}{from_here}"
  verb = words.VERBS[action - len(things)]
  if verb in ("open", "close"):
    return f"{verb} {here}"
  if verb == "use lamp":
    return verb
  held = _held(state)
  thing = "nothing" if held is None else things[held]
  if verb == "put":
    if agent == words.AGENT_NOWHERE:
      return f"put {thing} down"
    where = _preposition(int(state.task.receptacle_types[agent]))
    return f"put {thing} {where} {here}"
  return f"{verb} {thing} with {here}"


def render_outcome(
  before: State, action: int, after: State, *, valid: bool, hidden: bool
) -> str:
  """What the agent is told after an action.

  Args:
    before: one state (unbatched).
    action: index in [0, A).
    after: the state that `action` led to.
    valid: whether the action was admissible.
    hidden: as `Household(hidden=...)`.
  """
  if not valid:
    return "Nothing happens."
  places, things = receptacle_names(after.task), object_names(after.task)
  action, agent = int(action), int(after.agent)
  # Only the courier can come while the agent stands nowhere.
  here = "" if agent == words.AGENT_NOWHERE else places[agent]
  line = _place_line(after, agent, hidden=hidden) if here else ""
  if action < len(places):
    return f"You walk to the {here}. {line}"
  action -= len(places)
  if action < len(things):
    return f"You take the {things[action]} from the {here}."
  if action == len(things) + words.NUM_VERBS:
    brought = _held(after)
    assert brought is not None
    return f"The courier brings you the {things[brought]}."
  verb = words.VERBS[action - len(things)]
  if verb == "open":
    return f"You open the {here}. {line.split('. ', 1)[1]}"
  if verb == "close":
    return f"You close the {here}."
  held = _held(before)
  assert held is not None  # every other verb asks for a full hand
  if verb == "put":
    where = _preposition(int(after.task.receptacle_types[agent]))
    return f"You put the {things[held]} {where} the {here}."
  if verb == "use lamp":
    return f"You look at the {things[held]} in the light of the lamp."
  return f"You {verb} the {things[held]} with the {here}."


def render_episode(
  environment: Household, task: Task, actions: Iterable[int]
) -> str:
  """An episode as a person would read it, up to its end.

  Args:
    environment: gives the rules and says what is hidden.
    task: one task (unbatched).
    actions: indices in [0, A); those after the end are left out.
  """
  step = jax.jit(environment.step)
  state, _ = environment.reset(jax.random.key(0), task)
  lines = [render_observation(state, hidden=environment.hidden)]
  for action in actions:
    before = state
    state, _, _, terminated, truncated, info = step(before, action)
    outcome = render_outcome(
      before,
      action,
      state,
      valid=bool(info.action_valid),
      hidden=environment.hidden,
    )
    lines += ["", f"> {render_action(before, action)}", outcome]
    if terminated or truncated:
      lines += ["", "The task is done." if terminated else "Time is up."]
      break
  return "\n".join(lines)
