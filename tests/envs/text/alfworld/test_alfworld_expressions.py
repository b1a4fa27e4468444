import pytest

from graphgpo_jax.envs.text.alfworld.expressions import (
  Entity,
  compile_expression,
)
from graphgpo_jax.envs.text.types import TextWorldError

_NAMES = {
  "o": Entity(id="apple_bar_00", type="object", name="apple 1"),
  "r": Entity(id="fridge_bar_00", type="receptacle", name=""),
}


@pytest.mark.parametrize(
  ("text", "value"),
  [
    ("o.name", "apple 1"),
    (" o.name ", "apple 1"),
    ("o", "apple 1"),
    ("o.indefinite + ' ' + o.name", "a apple 1"),
    ("r.name or r.id", "fridge_bar_00"),
    ("o.name or r.id", "apple 1"),
    ("'x'", "x"),
  ],
)
def test_expressions_of_the_shipped_grammar(text, value):
  assert str(compile_expression(text)(_NAMES)) == value


@pytest.mark.parametrize(
  "text",
  [
    "__import__('os').system('true')",
    "o.__class__",
    "o.name.upper()",
    "[o for o in (1,)]",
    "(lambda: o)()",
    "o.name * 9",
    "o['name']",
    "1",
    "o.name if o else r.name",
    "f'{o}'",
    "",
    "o name",
    "(" * 5000,
  ],
)
def test_anything_else_is_no_expression(text):
  with pytest.raises(TextWorldError, match="is no expression"):
    compile_expression(text)


def test_unknown_names_are_named():
  with pytest.raises(TextWorldError, match="unknown 'z'"):
    compile_expression("z.name")(_NAMES)


def test_only_texts_are_added_up():
  with pytest.raises(TextWorldError, match="no text"):
    compile_expression("o + 'x'")(_NAMES)
