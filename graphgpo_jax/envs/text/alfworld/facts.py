"""The facts of a game, and queries over them.

A query has the stock engine's meaning to the letter, the order of its answers
among it (`textworld.logic.State.all_assignments`): predicates from left to
right, the facts of each in the order of their arguments' names, different
placeholders for different things. What makes it fast is that a query is parsed
once, that facts are sorted once after each change, and that a predicate whose
placeholders are all known is looked up.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

# A predicate's name and the types of its arguments.
Signature = tuple[str, tuple[str, ...]]
# A placeholder's name and type.
Placeholder = tuple[str, str]
Binding = Mapping[Placeholder, str]


@dataclasses.dataclass(frozen=True)
class Condition:
  """One predicate of a query.

  Attributes:
    name: of the predicate.
    parameters: its placeholders.
    signatures: under which its facts may stand, in the order to be tried.
  """

  name: str
  parameters: tuple[Placeholder, ...]
  signatures: tuple[Signature, ...]


Query = tuple[Condition, ...]


class Facts:
  """Which facts hold, and how often each predicate's have changed."""

  def __init__(self, facts: Iterable[tuple[Signature, tuple[str, ...]]]):
    """Begins with these facts.

    Args:
      facts: signature and the arguments' names of each.
    """
    self._facts: dict[Signature, set[tuple[str, ...]]] = {}
    self._sorted: dict[Signature, list[tuple[str, ...]]] = {}
    self._changes: dict[str, int] = {}
    for signature, arguments in facts:
      self.add(signature, arguments)

  def add(self, signature: Signature, arguments: tuple[str, ...]) -> None:
    """Makes a fact hold."""
    known = self._facts.setdefault(signature, set())
    if arguments not in known:
      known.add(arguments)
      self._note_change(signature)

  def remove(self, signature: Signature, arguments: tuple[str, ...]) -> None:
    """Makes a fact hold no more."""
    known = self._facts.get(signature)
    if known is not None and arguments in known:
      known.discard(arguments)
      self._note_change(signature)

  def _note_change(self, signature):
    self._sorted.pop(signature, None)
    self._changes[signature[0]] = self._changes.get(signature[0], 0) + 1

  def changes(self, predicates: Sequence[str]) -> tuple[int, ...]:
    """How often the facts of each predicate have changed."""
    return tuple(self._changes.get(name, 0) for name in predicates)

  def ordered(self, signature: Signature) -> Sequence[tuple[str, ...]]:
    """The arguments of a signature's facts, in order."""
    known = self._sorted.get(signature)
    if known is None:
      known = sorted(self._facts.get(signature, ()))
      self._sorted[signature] = known
    return known

  def all(self) -> Iterator[tuple[Signature, tuple[str, ...]]]:
    """Signature and arguments of every fact, each signature's in order."""
    for signature in self._facts:
      for arguments in self.ordered(signature):
        yield signature, arguments

  def holds(self, query: Query, binding: Binding) -> bool:
    """Tells whether a query has an answer."""
    return next(self.answers(query, binding), None) is not None

  def answers(
    self, query: Query, binding: Binding
  ) -> Iterator[dict[Placeholder, str]]:
    """All ways to make a query true.

    Args:
      query: made of `Condition`.
      binding: what the placeholders stand for that are already known.

    Yields:
      `binding` with every placeholder of the query added.
    """
    yield from self._answers(query, 0, dict(binding), set(binding.values()))

  def _answers(self, query, depth, binding, used):
    if depth == len(query):
      yield dict(binding)
      return
    condition = query[depth]
    values = [binding.get(parameter) for parameter in condition.parameters]
    if None not in values:
      wanted = tuple(values)
      for signature in condition.signatures:
        if wanted in self._facts.get(signature, ()):
          yield from self._answers(query, depth + 1, binding, used)
      return
    for signature in condition.signatures:
      for arguments in self.ordered(signature):
        added = _match(condition.parameters, arguments, binding, used)
        if added is None:
          continue
        binding.update(added)
        used.update(added.values())
        yield from self._answers(query, depth + 1, binding, used)
        for parameter, value in added.items():
          del binding[parameter]
          used.discard(value)


def _match(parameters, arguments, binding, used):
  """What else the placeholders must stand for, or None where they cannot."""
  added: dict[Placeholder, str] = {}
  for parameter, value in zip(parameters, arguments, strict=True):
    known = binding.get(parameter) or added.get(parameter)
    if known is None:
      if value in used or value in added.values():
        return None
      added[parameter] = value
    elif known != value:
      return None
  return added
