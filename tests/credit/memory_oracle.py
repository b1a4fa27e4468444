"""The memory of a task in dicts, by (source, target)."""

import collections

from graphgpo_jax.credit import graph as graph_lib
from tests.credit import made_visits


class Dicts:
  """What the memory of a task must hold, by (source, target)."""

  def __init__(
    self, *, room=made_visits.ROOM, max_age=None, keep_cheapest=False
  ):
    self.room, self.max_age, self.cheapest = room, max_age, keep_cheapest
    self.edges, self.visits, self.evicted = {}, 0, 0

  def visit(self, group):
    self.visits += 1
    met = collections.defaultdict(list)
    for one in group:
      for source, target, cost in zip(
        one["source"], one["target"], one["cost"], strict=True
      ):
        met[int(source), int(target)].append(float(cost))
    for edge, costs in met.items():
      old = self.edges.get(edge)
      cost, first, count = min(costs), self.visits, len(costs)
      if old is not None:
        first, count = old["first"], count + old["count"]
        cost = min(cost, old["cost"]) if self.cheapest else cost
      self.edges[edge] = {
        "cost": cost,
        "first": first,
        "seen": self.visits,
        "count": count,
      }
    alive = [
      edge
      for edge, found in self.edges.items()
      if self.max_age is None or self.visits - found["seen"] < self.max_age
    ]
    alive.sort(key=self.order)
    self.evicted += max(len(alive) - self.room, 0)
    self.edges = {edge: self.edges[edge] for edge in alive[: self.room]}

  def order(self, edge):
    source, target = edge
    found, won = self.edges[edge], target == graph_lib.SUCCESS
    lanes = (0, 0) if won else tuple(made_visits.KEYS[target])
    return (
      -found["seen"],
      -found["count"],
      *made_visits.KEYS[source],
      won,
      *lanes,
    )

  def faded(self, fade, fade_after=1):
    """(source, target, cost) of every edge, its cost grown with its age."""
    for (source, target), found in self.edges.items():
      late = max(self.visits - found["seen"] - fade_after, 0)
      yield source, target, found["cost"] * fade**late
