"""What a grammar may say in braces, without running it as a program.

The stock engine hands `{o.indefinite + ' ' + o.name}` of a game file to `eval`.
A game file is data: here such a text is read as names, their attributes, texts,
sums and `or`; anything else is an error.
"""

import ast
import dataclasses
from collections.abc import Callable, Mapping

from graphgpo_jax.envs.text.types import TextWorldError


@dataclasses.dataclass(frozen=True)
class Entity:
  """A thing of the game, as a grammar speaks of it."""

  id: str
  type: str
  name: str
  definite: str = "the"
  indefinite: str = "a"

  def __str__(self) -> str:
    return self.name


Value = str | Entity
Expression = Callable[[Mapping[str, Entity]], Value]

_ATTRIBUTES = frozenset(field.name for field in dataclasses.fields(Entity))


def compile_expression(text: str) -> Expression:
  """Makes a function of an expression.

  Args:
    text: such as "r.name or r.id".

  Returns:
    A function from the entities by their names to the value; it raises a
    TextWorldError where a name is not among them.

  Raises:
    TextWorldError: the text is no expression of the kinds above.
  """
  try:
    tree = ast.parse(text.strip(), mode="eval")
    return _compile(tree.body)
  except (SyntaxError, ValueError, RecursionError) as error:
    raise TextWorldError(
      f"the grammar's {{{text}}} is no expression of names, attributes "
      f"({', '.join(sorted(_ATTRIBUTES))}), texts, + and or: {error}"
    ) from error


def _compile(node: ast.expr) -> Expression:
  match node:
    case ast.Constant(value=str(text)):
      return lambda _: text
    case ast.Name(id=name):
      return lambda entities: _entity(entities, name)
    case ast.Attribute(value=ast.Name(id=name), attr=attribute) if (
      attribute in _ATTRIBUTES
    ):
      return lambda entities: getattr(_entity(entities, name), attribute)
    case ast.BinOp(left=left, op=ast.Add(), right=right):
      first, second = _compile(left), _compile(right)
      return lambda entities: _sum(first(entities), second(entities))
    case ast.BoolOp(op=ast.Or(), values=values):
      options = [_compile(value) for value in values]
      return lambda entities: _first_true(options, entities)
  raise ValueError(f"found {type(node).__name__}")


def _entity(entities, name):
  try:
    return entities[name]
  except KeyError:
    raise TextWorldError(f"the grammar speaks of an unknown {name!r}") from None


def _sum(first, second):
  if isinstance(first, str) and isinstance(second, str):
    return first + second
  raise TextWorldError("the grammar adds up what is no text")


def _first_true(options, entities):
  for option in options:
    value = option(entities)
    if value:
      break
  return value
