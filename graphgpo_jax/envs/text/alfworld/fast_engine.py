"""ALFWorld's engine, fast: the real planner library, the grammar only followed.

The world is the stock engine's: its library holds the state, lists the
operators that apply and applies them. What is ours is everything around it that
the stock engine (`textworld.envs.pddl`) does again at every step: reading the
grammar, making an object of every operator and of every fact.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphgpo_jax.envs.text.alfworld import libraries, packages
from graphgpo_jax.envs.text.alfworld.expert import find_plan
from graphgpo_jax.envs.text.alfworld.facts import Facts, Signature
from graphgpo_jax.envs.text.alfworld.fast_grammar import Context, FastGrammar
from graphgpo_jax.envs.text.alfworld.translation import Translation, translate
from graphgpo_jax.envs.text.types import TextWorldError

NOTHING_HAPPENS = "Nothing happens."

# The library keeps every state that it has met; it is loaded anew after these.
_MOST_STATES = 20_000
_OPERATOR = np.dtype([("id", "<i4"), ("name", "S1024"), ("effects", "<i4")])
_ATOM = re.compile(r"(Atom|NegatedAtom) ([^(]+)\((.*)\)")
# A task in plain words can be cut out of a grammar, which is then the same for
# all games of a kind.
_TASK = re.compile(r'"Your task is to: ([\w ,.\'-]+)"')
_TASK_START = "Your task is to: "


@dataclasses.dataclass(frozen=True)
class Game:
  """A game to be played: its world and its texts.

  Attributes:
    translation: the world.
    grammar: the texts.
    templates: of each action's command by the action's name.
    feedback: what each action's answer is derived from, by its name.
  """

  translation: Translation
  grammar: FastGrammar
  templates: Mapping[str, str]
  feedback: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Turn:
  """What the engine says after a reset or a step."""

  feedback: str
  admissible_commands: tuple[str, ...]
  won: bool


@dataclasses.dataclass
class _Operator:
  """An operator of the library, with what of it does not change.

  Attributes:
    name: the action's name and its arguments.
    action: the action's name.
    binding: what the action's placeholders stand for.
    num_effects: how many facts it may change.
    template: what its command is derived from.
    predicates: whose facts can change the command.
    command: the command, and how often those facts had changed then.
  """

  name: str
  action: str
  binding: dict[tuple[str, str], str]
  num_effects: int
  template: str
  predicates: tuple[str, ...]
  command: tuple[tuple[int, ...], str] | None = None


def load_game(data: Mapping[str, Any]) -> Game:
  """Makes a game of what a game file says.

  Args:
    data: texts under "pddl_domain", "pddl_problem" and "grammar".

  Returns:
    The game.

  Raises:
    TextWorldError: something of it is missing or broken, or there is no way to
      its goal.
  """
  for part in ("pddl_domain", "pddl_problem", "grammar"):
    if not isinstance(data.get(part), str):
      raise TextWorldError(f"the game lacks its {part}")
  return _load(data["pddl_domain"], data["pddl_problem"], data["grammar"])


# The rollouts of a group play one game, in several environments of a process,
# and a translation takes up to seconds.
@functools.lru_cache(maxsize=32)
def _load(domain: str, problem: str, grammar: str) -> Game:
  translation = translate(domain, problem)
  actions, rules = _grammar(grammar)
  return Game(
    translation=translation,
    grammar=FastGrammar(rules, translation.types),
    templates={name: action.template for name, action in actions.items()},
    feedback={name: action.feedback_rule for name, action in actions.items()},
  )


def _grammar(text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
  """Actions and production rules of a grammar."""
  tasks = _TASK.findall(text)
  if len(tasks) != 1:
    return _read_grammar(text)
  actions, rules = _read_grammar(_TASK.sub(f'"{_TASK_START}"', text))
  rest = json.dumps({"task": [{"rhs": _TASK_START + tasks[0]}]})
  textgen = packages.require("textworld.envs.pddl.textgen")
  own = textgen.ContextSensitiveGrammar.parse(rest)._rules
  if [rule.condition for rule in rules.get("task", ())] != [""]:
    return _read_grammar(text)
  return actions, {**rules, **own}


@functools.lru_cache(maxsize=16)
def _read_grammar(text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
  """Reads a grammar with the stock engine's parser; it takes a third of 1 s."""
  logic = packages.require("textworld.envs.pddl.logic")
  try:
    read = logic.GameLogic(domain="", grammar=text)
  except Exception as error:
    raise TextWorldError(
      f"the game's grammar cannot be read: {type(error).__name__}: {error}"
    ) from error
  return read.actions, dict(read.grammar._rules)


class FastEngine:
  """Plays one game at a time; the same game may be begun again and again."""

  def __init__(self) -> None:
    """Takes a copy of the library: each engine has a state of its own."""
    self._fast_downward = packages.require("fast_downward")
    self._library = libraries.borrow()
    self._game: Game | None = None
    self._operators: dict[int, _Operator] = {}
    self._start_state = 0
    self._num_states = 0
    self._commands: dict[str, tuple[int, _Operator]] = {}
    self._facts = Facts(())

  @property
  def facts(self) -> Facts:
    """The facts of the state."""
    return self._facts

  @property
  def game(self) -> Game:
    """The game being played."""
    if self._game is None:
      raise ValueError("the engine has no game: reset it with one first")
    return self._game

  def reset(self, game: Game) -> Turn:
    """Begins a game.

    Args:
      game: of `load_game`.

    Returns:
      The first turn.
    """
    if self._library is None:
      raise ValueError("the engine is closed")
    if game is self._game and self._num_states < _MOST_STATES:
      self._library.set_state_id(self._start_state)
    else:
      self._library.load_sas(game.translation.sas)
      self._start_state = self._library.get_state_id()
      self._num_states = 0
      if game is not self._game:
        self._game = game
        self._operators = {}
    # Commands belong to facts, which begin anew.
    for operator in self._operators.values():
      operator.command = None
    self._facts = Facts(game.translation.start_facts)
    return self._turn(self._derive("#intro#", {}))

  def step(self, command: str) -> Turn:
    """Does what a command says.

    Args:
      command: one of the admissible ones; any other changes nothing.

    Returns:
      What came of it.
    """
    found = self._commands.get(command.strip())
    if found is None:
      return self._turn(NOTHING_HAPPENS)
    number, operator = found
    self._apply(number, operator)
    rule = self.game.feedback[operator.action]
    return self._turn(self._derive(rule, operator.binding))

  def plan(self) -> tuple[str, ...]:
    """Commands that solve the game from here, by the library's planner.

    Raises:
      TextWorldError: there is no way to the goal from here.
    """
    names = find_plan(
      self._library,
      self._fast_downward.Operator,
      self.game.translation,
      self._facts,
    )
    return tuple(self._command(self._new_operator(name, 0)) for name in names)

  def close(self) -> None:
    """Lets the library go; the engine is of no use after it."""
    if self._library is not None:
      libraries.give_back(self._library)
      self._library = None

  def _turn(self, feedback: str) -> Turn:
    """Lists what can be done now."""
    count = self._library.get_applicable_operators_count()
    room = (self._fast_downward.Operator * count)()
    self._library.get_applicable_operators(room)
    listed = np.frombuffer(room if count else b"", dtype=_OPERATOR)
    self._commands = {}
    seen: set[str] = set()
    for row, number in enumerate(listed["id"].tolist()):
      operator = self._operators.get(number)
      if operator is None:
        operator = self._new_operator(
          listed["name"][row].decode("cp1252"), int(listed["effects"][row])
        )
        self._operators[number] = operator
      # One action may stand under several numbers, one for each way that its
      # conditions can hold; the first listed is the one that is done.
      if operator.name not in seen:
        seen.add(operator.name)
        self._commands.setdefault(self._command(operator), (number, operator))
    return Turn(
      feedback=feedback,
      admissible_commands=tuple(sorted(self._commands)),
      won=bool(self._library.check_goal()),
    )

  def _new_operator(self, name: str, num_effects: int) -> _Operator:
    action, *arguments = name.split()
    game = self.game
    if action not in game.templates:
      raise TextWorldError(f"the game's grammar lacks the action {action}")
    template = game.templates[action]
    return _Operator(
      name=name,
      action=action,
      binding=dict(
        zip(game.translation.parameters[action], arguments, strict=False)
      ),
      num_effects=num_effects,
      template=template,
      predicates=game.grammar.predicates(template),
    )

  def _command(self, operator: _Operator) -> str:
    """The operator's command, derived again where its facts have changed."""
    changes = self._facts.changes(operator.predicates)
    if operator.command is None or operator.command[0] != changes:
      text = self._derive(operator.template, operator.binding)
      operator.command = (changes, text)
    return operator.command[1]

  def _derive(self, start: str, binding: dict[tuple[str, str], str]) -> str:
    game = self.game
    context = Context(self._facts, game.translation.entities, binding)
    return game.grammar.derive(start, context)

  def _apply(self, number: int, operator: _Operator) -> None:
    """Applies an operator; its negated effects become facts of their own."""
    effects = (self._fast_downward.Atom * operator.num_effects)()
    self._library.apply_operator(number, effects)
    self._num_states += 1
    for effect in effects:
      negated, (name, types), arguments = self._atom(effect.name)
      holds, fails = name, f"not_{name}"
      if negated:
        holds, fails = fails, holds
      self._facts.remove((fails, types), arguments)
      self._facts.add((holds, types), arguments)

  def _atom(self, text: str) -> tuple[bool, Signature, tuple[str, ...]]:
    """Reads "NegatedAtom opened(fridge_bar_00)"."""
    read = _ATOM.fullmatch(text)
    if read is None:
      raise TextWorldError(f"the engine changed an unknown fact: {text!r}")
    kind, name, inside = read.groups()
    arguments = tuple(argument for argument in inside.split(", ") if argument)
    object_types = self.game.translation.object_types
    types = tuple(object_types[argument] for argument in arguments)
    return kind == "NegatedAtom", (name, types), arguments
