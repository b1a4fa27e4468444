"""The reward by hand: kind, attributes, options, price."""

import dataclasses

import pytest

from graphgpo_jax.envs.text.webshop import reward as reward_lib
from tests.envs.text.webshop.goods_for_tests import JACKET, SHIRT, WANTED

pytestmark = pytest.mark.extra("text")


@pytest.fixture(scope="module")
def similarity():
  pytest.importorskip("rapidfuzz", reason="needs the extra [text]")
  return reward_lib.word_similarity()


def worth(bought, chosen, similarity, goal=WANTED):
  return reward_lib.reward(bought, chosen, goal, similarity)


def test_all_that_was_wanted_earns_one(similarity):
  found = worth(SHIRT, {"color": "red", "size": "large"}, similarity)
  assert found == reward_lib.Reward(1.0, 1.0, 2, 2, True)


@pytest.mark.parametrize(
  ("chosen", "options"),
  [
    ({}, 0),
    ({"color": "red"}, 1),
    ({"color": "dark red stripes"}, 0),  # "dark" comes before "red"
    ({"color": "bright red stripes"}, 1),
    ({"size": "large"}, 1),
    ({"size": "large tall"}, 1),  # all of the wanted words are in it
    ({"size": "larg"}, 1),
    ({"size": "small"}, 0),
    ({"size": "soft cotton"}, 0),  # what the product says is no choice
    ({"color": "red", "cuff": "red"}, 1),  # a wanted option counts once
  ],
)
def test_options(chosen, options, similarity):
  found = worth(SHIRT, chosen, similarity)
  assert found.options == options
  assert found.total == pytest.approx((2 + options + 1) / 5)


@pytest.mark.parametrize(
  ("wanted", "has"),
  [
    ("slim fit", 1),
    ("fit slim", 1),
    ("Slim-Fit", 1),
    ("slim fits", 1),
    ("soft cotton", 1),  # from the features
    ("every day", 1),  # from the description
    ("cotton shirt", 1),  # from the title
    ("linen", 0),
  ],
)
def test_attributes(wanted, has, similarity):
  goal = dataclasses.replace(WANTED, attributes=(wanted,), options=())
  found = worth(SHIRT, {}, similarity, goal)
  assert found.attributes == has
  assert found.total == (has + 1) / 2


def test_price_must_be_within_the_limit(similarity):
  for limit, fits in ((19.99, False), (20.0, True)):
    goal = dataclasses.replace(WANTED, price_limit=limit)
    found = worth(SHIRT, {"color": "red", "size": "large"}, similarity, goal)
    assert found.price == fits
    assert found.total == pytest.approx(1.0 if fits else 0.8)


@pytest.mark.parametrize(
  ("changes", "factor"),
  [
    ({}, 1.0),
    ({"name": "Jacket"}, 0.0),  # no noun in common, whatever the search
    ({"query": "tops"}, 1.0),  # two departments in common
    ({"query": "tops", "product_category": "a › Shirts"}, 1.0),  # the nouns
    ({"query": "tops", "product_category": "a", "name": "slim shirt"}, 1.0),
    # One noun of five is not more than a fifth.
    ({"query": "tops", "product_category": "a", "name": "shirt"}, 0.5),
    ({"product_category": "a", "name": "shirt"}, 1.0),
  ],
)
def test_kind(changes, factor):
  bought = dataclasses.replace(SHIRT, **changes)
  assert reward_lib.type_factor(bought, SHIRT) == factor


@pytest.mark.parametrize(
  ("nouns", "factor"),
  [(5, 0.5), (10, 0.5), (11, 0.1)],
  ids=["a fifth", "a tenth", "less"],
)
def test_few_nouns_in_common(nouns, factor):
  words = [f"word{'abcdefghijk'[place]}" for place in range(nouns)]
  wanted = dataclasses.replace(SHIRT, name=" ".join(words))
  bought = dataclasses.replace(JACKET, name="worda otherwise")
  assert reward_lib.type_factor(bought, wanted) == factor


def test_titles_nouns():
  title = "Comfortable 3-Pack of Waterproof Men's Running Shoes, 12 Inch (XL)"
  assert reward_lib.title_nouns(title) == {
    "men",
    "running",
    "shoes",
    "xl",
  }


def test_similarity_is_symmetric_and_of_words(similarity):
  assert similarity("long sleeve", "sleeve, LONG!") == 100
  assert similarity("red", "bright red stripes") == 100  # a part of its words
  assert similarity("", "red") == 0
  pairs = [("slim fit", "slim fits"), ("blue", "bleu"), ("tea tree", "treacle")]
  for one, other in pairs:
    assert similarity(one, other) == similarity(other, one) < 100
