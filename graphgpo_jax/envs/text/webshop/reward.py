"""What a purchase is worth to a customer.

  r = r_type * (|attributes| + |options| + [price <= limit])
             / (|wanted attributes| + |wanted options| + 1)

with the sizes of what was wanted and got (Yao et al. 2022, arXiv 2207.01206).
Matching follows the authors' code: a wanted attribute counts if one of the
product's is alike by `token_set_ratio` above 85, or if the product's texts hold
it; a wanted option counts if a chosen one is alike, colours by their basic
word.

One thing differs from that code. It tells nouns of titles by spaCy's large
English model; here every word counts that is no function word, no number, no
unit and no adjective by its ending, which is near it, since most words of a
title are tagged as proper nouns.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping

from graphgpo_jax.envs.text import text_extra
from graphgpo_jax.envs.text.webshop import word_lists
from graphgpo_jax.envs.text.webshop.goods import Goal, Product

_FUZZY_ABOVE = 85
_ADJECTIVE_ENDINGS = ("able", "ible", "ful", "less", "ous", "ive", "proof")

# 0 to 100: how much of one text's words another one has.
Similarity = Callable[[str, str], float]


def word_similarity() -> Similarity:
  """The authors' measure, `thefuzz.fuzz.token_set_ratio`, by rapidfuzz.

  Returns:
    Function of two texts, symmetric.

  Raises:
    ImportError: rapidfuzz is not installed.
  """
  fuzz = text_extra.require("rapidfuzz.fuzz", "WebShop's reward")
  utils = text_extra.require("rapidfuzz.utils", "WebShop's reward")

  def similarity(one: str, other: str) -> float:
    # thefuzz drops what is not ASCII and rounds.
    plain = [text.encode("ascii", "ignore").decode() for text in (one, other)]
    ratio = fuzz.token_set_ratio(*plain, processor=utils.default_process)
    return round(ratio)

  return similarity


@dataclasses.dataclass(frozen=True)
class Reward:
  """A purchase's worth and what it is made of.

  Attributes:
    total: in [0, 1].
    type_factor: 0, 0.1, 0.5 or 1: whether it is the kind of product.
    attributes: wanted ones that the product has.
    options: wanted ones that were chosen.
    price: it is within the limit.
  """

  total: float
  type_factor: float
  attributes: int
  options: int
  price: bool


def reward(
  bought: Product,
  chosen: Mapping[str, str],
  goal: Goal,
  similarity: Similarity,
) -> Reward:
  """Worth of a purchase.

  Args:
    bought: the product.
    chosen: values by name of option.
    goal: what was wanted.
    similarity: from `word_similarity`.

  Returns:
    Reward.
  """
  attributes = _count_attributes(bought, goal, similarity)
  options = _count_options(chosen, goal, similarity)
  price = bought.price <= goal.price_limit
  wanted = len(goal.attributes) + len(goal.options) + 1
  factor = type_factor(bought, goal.product)
  total = factor * ((attributes + options + price) / wanted)
  return Reward(total, factor, attributes, options, price)


def type_factor(bought: Product, wanted: Product) -> float:
  """Whether two products are of one kind.

  Args:
    bought: the product.
    wanted: the goal's.

  Returns:
    1 for one search, two departments or a fifth of the title's nouns in
    common, else 0.5; but 0.1 with less than a tenth of the nouns, 0 with none.
  """
  same_query = bought.query == wanted.query
  departments = _departments(bought) & _departments(wanted)
  nouns = title_nouns(wanted.name)
  common = len(nouns & title_nouns(bought.name))
  score = common / len(nouns) if nouns else 0.2
  if score == 0:
    return 0.0
  if score < 0.1:
    return 0.1
  return 1.0 if same_query or len(departments) >= 2 or score > 0.2 else 0.5


def title_nouns(title: str) -> set[str]:
  """Words of a title that are taken for nouns, in lower case."""
  words = re.findall(r"[^\W\d_]+", title.lower())
  return {
    word
    for word in words
    if len(word) > 1
    and word not in word_lists.NO_NOUNS
    and not (len(word) > 6 and word.endswith(_ADJECTIVE_ENDINGS))
  }


def basic_colour(text: str) -> str:
  """The colour that a text contains, or the text."""
  return next((colour for colour in word_lists.COLOURS if colour in text), text)


def _departments(product: Product) -> set[str]:
  return {name.strip() for name in product.product_category.split("›")}


def _texts(product: Product) -> tuple[str, str, str]:
  """What a product says of itself."""
  features = " ".join(product.bullet_points)
  return (
    product.name.lower(),
    features.lower(),
    product.description.lower(),
  )


def _count_attributes(
  bought: Product, goal: Goal, similarity: Similarity
) -> int:
  texts = _texts(bought)
  return sum(
    any(similarity(one, wanted) > _FUZZY_ABOVE for one in bought.attributes)
    or any(wanted in text for text in texts)
    for wanted in goal.attributes
  )


def _count_options(
  chosen: Mapping[str, str], goal: Goal, similarity: Similarity
) -> int:
  taken = [basic_colour(value) for value in chosen.values()]
  return sum(
    any(similarity(one, basic_colour(wanted)) > _FUZZY_ABOVE for one in taken)
    for wanted in goal.options
  )
