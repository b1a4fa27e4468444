"""The stock engine's text grammar, parsed once and then only followed.

The stock engine (`textworld.envs.pddl.textgen`) parses the text to be derived
again for every admissible command of every step, parses conditions again at
every query, and copies the context deeply at every symbol. Here each text is
turned into functions the first time it is met; the text that comes out is the
same to the byte.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from graphgpo_jax.envs.text.alfworld import packages
from graphgpo_jax.envs.text.alfworld.expressions import (
  Entity,
  compile_expression,
)
from graphgpo_jax.envs.text.alfworld.facts import (
  Binding,
  Condition,
  Facts,
  Query,
)
from graphgpo_jax.envs.text.types import TextWorldError


class Context:
  """What a text is derived from.

  Attributes:
    facts: of the state.
    entities: all things of the game by their ids.
    binding: what the placeholders stand for.
    names: the entities by the placeholders' names.
  """

  __slots__ = ("binding", "entities", "facts", "names")

  def __init__(
    self, facts: Facts, entities: Mapping[str, Entity], binding: Binding
  ):
    """Puts a context together; see the class."""
    self.facts = facts
    self.entities = entities
    self.binding = binding
    self.names = {
      placeholder[0]: entities[thing] for placeholder, thing in binding.items()
    }

  def answers(self, query: Query) -> list["Context"]:
    """A context for each answer to `query`."""
    return [
      Context(self.facts, self.entities, binding)
      for binding in self.facts.answers(query, self.binding)
    ]


# The texts that a symbol stands for in a context: one, or those of a list.
_Emit = Callable[[Context], list[str]]


class FastGrammar:
  """Derives texts from the rules of one grammar."""

  def __init__(self, rules: Mapping[str, Any], types: Any):
    """Takes the rules over.

    Args:
      rules: the stock grammar's production rules by their left-hand sides.
      types: the game's `textworld.logic.TypeHierarchy`.
    """
    self._rules = rules
    self._types = types
    self._compiled_rules: dict[str, _Emit] = {}
    self._compiled_texts: dict[str, _Emit] = {}
    self._queries: dict[str, Query] = {}
    self._predicates: dict[str, tuple[str, ...]] = {}

  def derive(self, start: str, context: Context) -> str:
    """Derives a text.

    Args:
      start: such as "#look.feedback#" or "take {o} from {r}".
      context: what it is derived from.

    Returns:
      The text.

    Raises:
      TextWorldError: the grammar has no rule for a symbol, goes in circles, or
        has something in braces that it must not.
    """
    emit = self._compiled_texts.get(start)
    if emit is None:
      emit = self._sequence(_parse(start))
      self._compiled_texts[start] = emit
    try:
      return "".join(emit(context))
    except RecursionError as error:
      raise TextWorldError(f"the grammar goes in circles: {start}") from error

  def predicates(self, start: str) -> tuple[str, ...]:
    """The predicates whose facts can change what `start` derives to."""
    found = self._predicates.get(start)
    if found is None:
      seen: set[str] = set()
      queries: set[str] = set()
      self._collect(_parse(start), seen, queries)
      found = tuple(
        sorted({c.name for text in queries for c in self._query(text)})
      )
      self._predicates[start] = found
    return found

  def _collect(self, symbols, seen, queries):
    """Adds the conditions that lie on the way from some symbols."""
    for symbol in symbols:
      match type(symbol).__name__:
        case "ListSymbol":
          self._collect([symbol.symbol], seen, queries)
          for name in ("list_empty", "list_separator", "list_last_separator"):
            self._collect_rules(name, seen, queries)
        case "ConditionalSymbol":
          if symbol.given:
            queries.add(symbol.given)
          self._collect([symbol.expression], seen, queries)
        case "NonterminalSymbol":
          self._collect_rules(str(symbol), seen, queries)

  def _collect_rules(self, name, seen, queries):
    if name in seen:
      return
    seen.add(name)
    for rule in self._rules.get(name, ()):
      if rule.condition:
        queries.add(rule.condition)
      self._collect(rule.rhs, seen, queries)

  def _sequence(self, symbols) -> _Emit:
    """Functions of symbols in a row, as one."""
    emits = [self._symbol(symbol) for symbol in symbols]
    return lambda context: [text for emit in emits for text in emit(context)]

  def _symbol(self, symbol) -> _Emit:
    match type(symbol).__name__:
      case "TerminalSymbol":
        texts = [str(symbol)]
        return lambda _: texts
      case "NonterminalSymbol":
        return self._rule(str(symbol))
      case "EvalSymbol":
        value = compile_expression(symbol.expression)
        return lambda context: [str(value(context.names))]
      case "ConditionalSymbol":
        return self._conditional(symbol)
      case "ListSymbol":
        return self._list(symbol)
    raise TextWorldError(f"the grammar has an unknown symbol: {symbol!r}")

  def _conditional(self, symbol) -> _Emit:
    expression = self._symbol(symbol.expression)
    if not symbol.given:
      return lambda context: ["".join(expression(context))]
    query = self._query(symbol.given)
    return lambda context: [
      "".join(expression(answer)) for answer in context.answers(query)
    ]

  def _list(self, symbol) -> _Emit:
    items = self._symbol(symbol.symbol)
    empty = self._rule("list_empty")
    separator = self._rule("list_separator")
    last_separator = self._rule("list_last_separator")

    def emit(context):
      texts = items(context)
      if not texts:
        return empty(context)
      if len(texts) == 1:
        return texts
      between = "".join(separator(context))
      return [
        between.join(texts[:-1]),
        *last_separator(context),
        texts[-1],
      ]

    return emit

  def _rule(self, name: str) -> _Emit:
    """Follows the first rule of a symbol whose condition holds.

    The rules are looked up when a text first gets there, as in the stock
    engine, whose grammar may name symbols that it never meets.
    """

    def emit(context):
      compiled = self._compiled_rules.get(name)
      if compiled is None:
        compiled = self._compile_rules(name)
        self._compiled_rules[name] = compiled
      return compiled(context)

    return emit

  def _compile_rules(self, name: str) -> _Emit:
    rules = self._rules.get(name)
    if not rules:
      raise TextWorldError(f"the grammar has no rule for #{name}#")
    compiled = [
      (
        self._query(rule.condition) if rule.condition else None,
        self._sequence(rule.rhs),
      )
      for rule in rules
    ]

    def emit(context):
      for query, sequence in compiled:
        if query is None or context.facts.holds(query, context.binding):
          return sequence(context)
      raise TextWorldError(f"no rule of the grammar for #{name}# applies")

    return emit

  def _query(self, text: str) -> Query:
    """A query in its parts, parsed the first time it is met."""
    query = self._queries.get(text)
    if query is None:
      query = tuple(
        Condition(
          name,
          parameters,
          tuple(
            (name, tuple(subtype.name for subtype in subtypes))
            for subtypes in self._types.multi_subtypes(
              [self._type(type_name, text) for _, type_name in parameters]
            )
          ),
        )
        for name, parameters in _parse_query(text)
      )
      self._queries[text] = query
    return query

  def _type(self, name, query):
    try:
      return self._types.get(name)
    except KeyError:
      raise TextWorldError(
        f"the grammar asks for a type {name!r} that the domain lacks: {query}"
      ) from None


@functools.lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[Any, ...]:
  """Symbols of a text; they are read only, so that all may share them."""
  textgen = packages.require("textworld.envs.pddl.textgen")
  try:
    return tuple(textgen._parse_and_convert(text, rule_name="symbols"))
  except Exception as error:
    raise TextWorldError(f"the grammar cannot be read: {text!r}") from error


@functools.lru_cache(maxsize=4096)
def _parse_query(text: str) -> tuple[tuple[str, tuple[Any, ...]], ...]:
  """Name and placeholders of each predicate of a query."""
  logic = packages.require("textworld.logic")
  try:
    rule = logic.Rule.parse_conjunctive_query(text)
  except Exception as error:
    raise TextWorldError(f"the grammar cannot be read: {text!r}") from error
  return tuple(
    (
      predicate.name,
      tuple((place.name, place.type) for place in predicate.parameters),
    )
    for predicate in rule.preconditions
  )
