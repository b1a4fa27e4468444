"""The shop's pages as texts, and what can be clicked on them.

A page is a list of its visible texts, as the original's text mode shows it,
without the heading and the instruction.
"""

import dataclasses

from graphgpo_jax.envs.text.webshop.goods import Product

BUY, BACK = "buy now", "back to search"
PREVIOUS, NEXT = "< prev", "next >"
SUB_PAGES = ("description", "features", "reviews")
_PER_PAGE = 10


@dataclasses.dataclass(frozen=True)
class Page:
  """What a customer sees.

  Attributes:
    texts: in the order of the page.
    links: what can be clicked, in lower case.
    has_search: there is a field for a search.
  """

  texts: tuple[str, ...]
  links: tuple[str, ...]
  has_search: bool = False

  @property
  def observation(self) -> str:
    """One text, as the authors' recipe shows it to an agent."""
    return " [SEP] ".join(f"'{text}'" for text in self.texts)


def search_page() -> Page:
  """Where a visit begins."""
  return Page(("Search",), (), has_search=True)


def results_page(results: tuple[Product, ...], number: int) -> Page:
  """Ten of a search's results.

  Args:
    results: all of them.
    number: of the page, from 1.

  Returns:
    Page.
  """
  texts = ["Back to Search", f"Page {number} (Total results: {len(results)})"]
  links = [BACK]
  if number > 1:
    texts.append("< Prev")
    links.append(PREVIOUS)
  if number * _PER_PAGE < len(results):
    texts.append("Next >")
    links.append(NEXT)
  for product in results[(number - 1) * _PER_PAGE : number * _PER_PAGE]:
    texts += [product.asin, product.name, product.price_tag]
    links.append(product.asin.lower())
  return Page(tuple(texts), tuple(links))


def item_page(product: Product) -> Page:
  """A product with its options; it does not show which are chosen."""
  texts, links = ["Back to Search", "< Prev"], [BACK, PREVIOUS]
  for name, values in product.options.items():
    texts += [name, *values]
    links += values
  texts += [
    product.name,
    f"Price: {product.price_tag}",
    "Rating: N.A.",
    "Description",
    "Features",
    "Reviews",
    "Buy Now",
  ]
  links += [*SUB_PAGES, BUY]
  return Page(tuple(texts), tuple(dict.fromkeys(links)))


def sub_page(product: Product, name: str) -> Page:
  """More about a product.

  Args:
    product: it.
    name: one of SUB_PAGES.

  Returns:
    Page.
  """
  contents = {
    "description": (product.description or "No Description",),
    "features": product.bullet_points or ("No Features",),
    "reviews": ("No reviews found",),
  }
  texts = ("Back to Search", "< Prev", *contents[name])
  return Page(texts, (BACK, PREVIOUS))


def done_page(score: float) -> Page:
  """After a purchase."""
  texts = (
    "Thank you for shopping with us!",
    "Your score (min 0.0, max 1.0)",
    str(score),
  )
  return Page(texts, ())
