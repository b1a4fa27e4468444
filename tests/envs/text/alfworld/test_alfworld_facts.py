import pytest

from graphgpo_jax.envs.text.alfworld.facts import Condition, Facts

_IN = ("in", ("object", "receptacle"))
_AT = ("at", ("receptacle",))
_O, _O2, _R = ("o", "object"), ("o2", "object"), ("r", "receptacle")


@pytest.fixture
def facts():
  return Facts(
    [
      (_IN, ("egg", "fridge")),
      (_IN, ("cup", "fridge")),
      (_IN, ("ant", "sink")),
      (_AT, ("fridge",)),
    ]
  )


def _in(thing, place=_R):
  return Condition("in", (thing, place), (_IN,))


_HERE = Condition("at", (_R,), (_AT,))


def _things(facts, query, binding=None):
  return [answer[_O] for answer in facts.answers(query, binding or {})]


def test_answers_come_in_the_order_of_names(facts):
  assert _things(facts, (_in(_O),)) == ["ant", "cup", "egg"]


def test_conditions_hold_together(facts):
  assert _things(facts, (_in(_O), _HERE)) == ["cup", "egg"]
  assert _things(facts, (_HERE, _in(_O))) == ["cup", "egg"]


def test_known_placeholders_stay(facts):
  assert _things(facts, (_in(_O),), {_R: "sink"}) == ["ant"]


def test_different_placeholders_are_different_things(facts):
  pairs = [
    (answer[_O], answer[_O2])
    for answer in facts.answers((_in(_O), _in(_O2)), {_R: "fridge"})
  ]
  assert pairs == [("cup", "egg"), ("egg", "cup")]


def test_changes_are_seen_and_counted(facts):
  assert facts.changes(["in", "at", "on"]) == (3, 1, 0)
  facts.remove(_IN, ("cup", "fridge"))
  facts.remove(_IN, ("cup", "fridge"))
  facts.add(_AT, ("fridge",))
  assert facts.changes(["in", "at"]) == (4, 1)
  assert _things(facts, (_in(_O), _HERE)) == ["egg"]
  assert not facts.holds((_in(_O),), {_O: "cup"})
  assert facts.holds((_in(_O),), {_O: "egg"})


def test_a_binding_is_not_written_to(facts):
  binding = {_R: "fridge"}
  list(facts.answers((_in(_O),), binding))
  facts.holds((_in(_O),), binding)
  assert binding == {_R: "fridge"}
