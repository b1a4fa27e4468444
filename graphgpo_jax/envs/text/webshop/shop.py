"""A shop: its products, its customers' goals and its search."""

import random
from collections.abc import Iterable, Sequence

from graphgpo_jax.envs.text import types
from graphgpo_jax.envs.text.webshop import search
from graphgpo_jax.envs.text.webshop.goods import Goal, Product

# The first goals are for evaluation, as in the original.
NUM_EVALUATION_GOALS = 500
_MOST_RESULTS = 50
# The original's: its goals have the same places here.
_SHUFFLE_SEED = 233


class Shop:
  """What does not change while customers come and go.

  Attributes:
    products: by number.
    goals: in the order of their task ids.
  """

  def __init__(self, products: Sequence[Product], goals: Iterable[Goal]):
    """Builds the search index and mixes the goals.

    Args:
      products: numbers all different.
      goals: in the order of the products that they are of.

    Raises:
      TextWorldError: there is no product or no goal.
    """
    self.products = {product.asin: product for product in products}
    self.goals = list(goals)
    if not self.products or not self.goals:
      raise types.TextWorldError(
        f"the shop has {len(self.products)} products and {len(self.goals)} "
        "goals: expected some of both"
      )
    random.Random(_SHUFFLE_SEED).shuffle(self.goals)
    self._asins = list(self.products)
    self._index = search.SearchIndex(
      [_search_text(product) for product in self.products.values()]
    )

  def search(self, words: str) -> tuple[str, ...]:
    """Numbers of the fifty products that fit best, best first."""
    places = self._index.search(words, most=_MOST_RESULTS)
    return tuple(self._asins[place] for place in places)

  def task_ids(self, side: str) -> tuple[str, ...]:
    """Tasks of a side.

    Args:
      side: "train" or "evaluation" (the first 500 goals).

    Returns:
      Task ids in order.

    Raises:
      ValueError: no such side, or no goal is left for it.
    """
    if side not in ("train", "evaluation"):
      raise ValueError(f'side: expected "train" or "evaluation", got {side!r}')
    split = min(NUM_EVALUATION_GOALS, len(self.goals))
    places = (
      range(split) if side == "evaluation" else range(split, len(self.goals))
    )
    if not places:
      raise ValueError(
        f"no task for training: the first {NUM_EVALUATION_GOALS} goals are for "
        f"evaluation, and this shop has {len(self.goals)}"
      )
    return tuple(f"goal-{place}" for place in places)

  def goal(self, task_id: str) -> Goal:
    """The goal of a task.

    Raises:
      ValueError: there is no such task.
    """
    number = task_id.removeprefix("goal-")
    if (
      number == task_id
      or not number.isascii()
      or not number.isdigit()
      or int(number) >= len(self.goals)
    ):
      raise ValueError(
        f"no task {task_id!r}: expected goal-0 to goal-{len(self.goals) - 1}"
      )
    return self.goals[int(number)]


def _search_text(product: Product) -> str:
  """What of a product is searched: as the original indexes it."""
  options = ", and ".join(
    f"{name}: {', '.join(values)}" for name, values in product.options.items()
  )
  first = product.bullet_points[0] if product.bullet_points else ""
  return " ".join([product.name, product.description, first, options])
