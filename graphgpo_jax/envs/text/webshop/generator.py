"""A small catalogue with the real one's fields, for tests and demos.

Four hundred products of forty kinds in five departments, three goals each.
Brands and texts are made up; all follows from a seed, by `random.random`
alone, whose numbers are the same in every version of Python.
"""

import itertools
import random
from collections.abc import Sequence
from typing import TypeVar

from graphgpo_jax.envs.text.webshop import goods, kinds
from graphgpo_jax.envs.text.webshop.goods import Goal, Product

_PER_KIND = 10
_GOALS_PER_PRODUCT = 3
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"

T = TypeVar("T")


def make_catalogue(*, seed: int = 0) -> tuple[list[Product], list[Goal]]:
  """Draws products and goals.

  Args:
    seed: of all that is drawn.

  Returns:
    Products, and goals in their order; each goal's product earns it a reward
    of 1.
  """
  chance = random.Random(f"catalogue {seed}")
  products: dict[str, Product] = {}
  for kind in kinds.KINDS:
    for _ in range(_PER_KIND):
      product = _draw_product(chance, kind, products)
      products[product.asin] = product
  goals = [
    _draw_goal(chance, product, number)
    for product in products.values()
    for number in range(_GOALS_PER_PRODUCT)
  ]
  # As the real products lie in their file: in no order.
  return _some(chance, list(products.values()), len(products)), goals


def _draw_product(
  chance: random.Random, kind: kinds.Kind, taken: dict[str, Product]
) -> Product:
  department = kinds.DEPARTMENTS[kind.category]
  attributes = _some(chance, kind.attributes, 3 + _below(chance, 2))
  attributes += _some(chance, department.attributes, 1)
  brand = _pick(chance, kinds.BRANDS)
  said, silent = attributes[:2], attributes[2:]
  name = f"{brand} {said[0].title()} {kind.name.title()}, {said[1].title()}"
  least, greatest = kind.prices
  price = round(least + (greatest - least) * chance.random()) + 0.99
  prices: tuple[float, ...] = (price,)
  if chance.random() < 0.2:
    prices = (price, round(price + 5 * (1 + _below(chance, 3)), 2))
  while True:
    asin = "B0" + "".join(_pick(chance, _LETTERS) for _ in range(8))
    if asin not in taken:
      break
  return Product(
    asin=asin,
    name=name,
    category=kind.category,
    query=kind.query,
    product_category=" › ".join(
      [department.name, kind.shelf, kind.name.title()]
    ),
    description=(
      f"This {kind.name} by {brand} is {said[0]} and {said[1]}. "
      f"{_pick(chance, department.praise)}"
    ),
    bullet_points=(
      f"{silent[0].capitalize()}: {_pick(chance, department.praise)}",
      *(one.capitalize() for one in silent[1:]),
    ),
    prices=prices,
    options={
      option: _in_order(chance, kinds.OPTIONS[option], 3 + _below(chance, 3))
      for option in kind.options
    },
    attributes=tuple(attributes),
  )


def _draw_goal(chance: random.Random, product: Product, number: int) -> Goal:
  attributes = _some(chance, product.attributes, 1 + _below(chance, 2))
  options = {
    name: _pick(chance, values) for name, values in product.options.items()
  }
  opening = _pick(chance, kinds.OPENINGS)
  kind = product.product_category.split("›")[-1].strip().lower()
  article = "an" if kind[0] in "aeiou" else "a"
  text = f"{opening} {article} {kind} that is {' and '.join(attributes)}"
  said = ", and ".join(f"{name}: {one}" for name, one in options.items())
  if said:
    text += f", with {said}"
  return goods.with_price_limit(
    product, text, attributes, tuple(options.values()), number
  )


def _below(chance: random.Random, bound: int) -> int:
  return int(chance.random() * bound)


def _pick(chance: random.Random, values: Sequence[T]) -> T:
  return values[_below(chance, len(values))]


def _some(chance: random.Random, values: Sequence[T], count: int) -> list[T]:
  """Some of the values, in a drawn order."""
  left = list(values)
  return [left.pop(_below(chance, len(left))) for _ in range(count)]


def _in_order(
  chance: random.Random, values: Sequence[str], count: int
) -> tuple[str, ...]:
  """Some of the values, in the given order."""
  count = min(count, len(values))
  kept = set(_some(chance, range(len(values)), count))
  return tuple(
    itertools.compress(values, map(kept.__contains__, itertools.count()))
  )
