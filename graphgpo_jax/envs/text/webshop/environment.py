"""WebShop as a text environment: search, choose, buy."""

import dataclasses
import hashlib
import json
import re

from graphgpo_jax.envs.text import episode_clock, types
from graphgpo_jax.envs.text.webshop import pages
from graphgpo_jax.envs.text.webshop import reward as reward_lib
from graphgpo_jax.envs.text.webshop.goods import Goal, Product
from graphgpo_jax.envs.text.webshop.shop import Shop

_ACTION = re.compile(r"\s*(search|click)\[(.*)\]\s*", re.DOTALL)
_LIMIT_CLAUSE = re.compile(r",? and price lower than [\d.]+ dollars$")


@dataclasses.dataclass(frozen=True)
class _Place:
  """Where a customer is: all that the rest of the visit depends on."""

  page: str  # search, results, item, a sub page's name, or done
  results: tuple[str, ...] = ()
  number: int = 1
  asin: str = ""
  chosen: tuple[tuple[str, str], ...] = ()


class WebShop:
  """A visit to a shop, as Yao et al. (2022, arXiv 2207.01206) have it.

  Actions are `search[words]`, on every page, and `click[link]` with a link of
  the page; a click on anything else changes nothing and is not valid. Buying
  ends the visit and pays the only reward, `reward.reward`; success is a reward
  of 1. Nothing is random.

  `admissible_actions` lists the links, and of all searches one: for what the
  customer said, without the price. So a policy that only chooses can play.

  Facts: page, asin, options (JSON), page_number and true_state, a digest of
  all that the rest of the visit depends on.
  """

  name = "webshop"

  def __init__(self, shop: Shop, *, max_steps: int = 15):
    """Opens the shop.

    Args:
      shop: what is sold; may be shared.
      max_steps: actions of a visit, at least 1; the recipe's by default.

    Raises:
      ValueError: `max_steps` is not positive.
      ImportError: rapidfuzz is not installed.
    """
    self.shop = shop
    self._clock = episode_clock.EpisodeClock(max_steps=max_steps)
    self._similarity = reward_lib.word_similarity()

  def reset(self, task_id: str, *, seed: int = 0) -> types.TextStep:
    """Begins a visit; see `TextEnvironment`."""
    del seed
    self._goal = self.shop.goal(task_id)
    self._place = _Place("search")
    self._page = pages.search_page()
    self._clock.begin()
    return self._say(True, truncated=False)

  def step(self, action: str) -> types.TextStep:
    """Does an action; see `TextEnvironment`."""
    self._clock.check()
    match = _ACTION.fullmatch(action.lower())
    kind, word = match.groups() if match else ("", "")
    valid = True
    if kind == "search" and word.strip():
      results = self.shop.search(word)
      self._go(_Place("results", results))
    elif kind == "click" and word in self._page.links:
      self._click(word)
    else:
      valid = False
    late = self._clock.tick(terminated=self._place.page == "done")
    return self._say(valid, truncated=late)

  def close(self) -> None:
    """Ends the visit."""
    self._clock.stop()

  def _click(self, link: str) -> None:
    place = self._place
    if link == pages.BUY:
      self._buy()
    elif link == pages.BACK:
      self._go(_Place("search"))
    elif link == pages.NEXT:
      self._go(dataclasses.replace(place, number=place.number + 1))
    elif link == pages.PREVIOUS and place.page == "results":
      self._go(dataclasses.replace(place, number=place.number - 1))
    elif link == pages.PREVIOUS and place.page == "item":
      self._go(_Place("results", place.results, place.number))
    elif link == pages.PREVIOUS:
      self._go(dataclasses.replace(place, page="item"))
    elif place.page == "results":
      asin = next(one for one in place.results if one.lower() == link)
      self._go(dataclasses.replace(place, page="item", asin=asin))
    elif link in pages.SUB_PAGES:
      self._go(dataclasses.replace(place, page=link))
    else:
      self._choose(link)

  def _choose(self, value: str) -> None:
    options = self._product.options
    # Of two options with the same value the page's last one is meant.
    name = [name for name, values in options.items() if value in values][-1]
    chosen = tuple(sorted((dict(self._place.chosen) | {name: value}).items()))
    self._go(dataclasses.replace(self._place, chosen=chosen))

  def _buy(self) -> None:
    chosen = dict(self._place.chosen)
    self._worth = reward_lib.reward(
      self._product, chosen, self._goal, self._similarity
    )
    self._place = dataclasses.replace(self._place, page="done")
    self._page = pages.done_page(self._worth.total)

  @property
  def _product(self) -> Product:
    return self.shop.products[self._place.asin]

  def _go(self, place: _Place) -> None:
    self._place = place
    if place.page == "search":
      self._page = pages.search_page()
    elif place.page == "results":
      found = tuple(self.shop.products[asin] for asin in place.results)
      self._page = pages.results_page(found, place.number)
    elif place.page == "item":
      self._page = pages.item_page(self._product)
    else:
      self._page = pages.sub_page(self._product, place.page)

  def _say(self, valid: bool, *, truncated: bool) -> types.TextStep:
    goal, place = self._goal, self._place
    bought = place.page == "done"
    total = self._worth.total if bought else 0.0
    actions = [f"click[{link}]" for link in self._page.links]
    if self._page.has_search:
      actions.append(f"search[{own_words(goal)}]")
    state = json.dumps(dataclasses.astuple(place)).encode()
    return types.TextStep(
      observation=self._page.observation,
      task=goal.instruction,
      admissible_actions=tuple(sorted(actions)),
      reward=total,
      terminated=bought,
      truncated=truncated,
      success=bought and total >= 1.0,
      action_valid=valid,
      facts={
        "page": place.page,
        "asin": place.asin,
        "options": json.dumps(dict(place.chosen)),
        "page_number": str(place.number),
        "true_state": hashlib.sha256(state).hexdigest(),
      },
    )


def own_words(goal: Goal) -> str:
  """What a customer says, as a search: lower case, without the price.

  Args:
    goal: the customer's.

  Returns:
    Words.
  """
  words = _LIMIT_CLAUSE.sub("", goal.instruction.lower())
  return " ".join(re.sub(r"[\[\]]", " ", words).split())
