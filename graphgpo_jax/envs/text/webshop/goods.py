"""What a shop sells, and what its customers want."""

import dataclasses
import random
from collections.abc import Mapping, Sequence

# Upper limits that a customer may name, in dollars.
_LIMITS = tuple(10.0 * step for step in range(1, 100))
# A customer who names none.
NO_LIMIT = 1e6


@dataclasses.dataclass(frozen=True)
class Product:
  """A product as the shop lists it.

  Attributes:
    asin: its number, at most ten letters and digits.
    name: title.
    category: one of the shop's departments.
    query: the search that it was found by when the data were gathered; tells
      products of one kind.
    product_category: departments from the widest to the narrowest, with "›"
      between them.
    description: text.
    bullet_points: features, each a text.
    prices: dollars; none, one, or the least and the greatest.
    options: values by name of option, such as sizes.
    attributes: what is true of it; hidden from the customer.
  """

  asin: str
  name: str
  category: str
  query: str
  product_category: str
  description: str = ""
  bullet_points: tuple[str, ...] = ()
  prices: tuple[float, ...] = ()
  options: Mapping[str, tuple[str, ...]] = dataclasses.field(
    default_factory=dict
  )
  attributes: tuple[str, ...] = ()

  @property
  def price_tag(self) -> str:
    """The price as pages show it."""
    return " to ".join(f"${price}" for price in self.prices or (100.0,))

  @property
  def price(self) -> float:
    """What is paid, within the range of the tag.

    The stock shop draws it anew in each process; here it follows from the
    product's number.
    """
    if not self.prices:
      return 100.0
    share = random.Random(f"price {self.asin}").random()
    return self.prices[0] + (self.prices[-1] - self.prices[0]) * share


@dataclasses.dataclass(frozen=True)
class Goal:
  """What a customer wants.

  Attributes:
    product: one that fits in all respects.
    instruction: what the customer says.
    attributes: that it shall have.
    options: values that are to be chosen.
    price_limit: dollars that it may cost.
  """

  product: Product
  instruction: str
  attributes: tuple[str, ...]
  options: tuple[str, ...]
  price_limit: float


def with_price_limit(
  product: Product,
  instruction: str,
  attributes: Sequence[str],
  options: Sequence[str],
  number: int,
) -> Goal:
  """A goal whose price limit is drawn as the stock shop draws it.

  The greater of two of the next four multiples of ten dollars; none where the
  product costs more than 980. The stock shop draws anew in each process; here
  the draw follows from the product and `number`.

  Args:
    product: that is wanted.
    instruction: what the customer says, without the price.
    attributes: that the product shall have.
    options: that are to be chosen.
    number: of the goal among the product's.

  Returns:
    Goal.
  """
  price = product.price
  limits = [limit for limit in _LIMITS if limit > price][:4]
  limit, said = NO_LIMIT, ""
  if len(limits) >= 2:
    chance = random.Random(f"limit {product.asin} {number}")
    first = int(chance.random() * len(limits))
    second = int(chance.random() * (len(limits) - 1))
    limit = limits[max(first, second + (second >= first))]
    said = f", and price lower than {limit:.2f} dollars"
  return Goal(
    product, instruction + said, tuple(attributes), tuple(options), limit
  )
