"""The generated catalogue: the same everywhere, and every goal reachable."""

import dataclasses
import hashlib
import json

import pytest

from graphgpo_jax.envs.text.webshop import (
  environment,
  generator,
  kinds,
  reward,
  shop,
)


@pytest.fixture(scope="module")
def catalogue():
  return generator.make_catalogue()


def test_catalogue_is_the_same_on_every_machine(catalogue):
  text = json.dumps(list(map(dataclasses.asdict, sum(catalogue, []))))
  digest = hashlib.sha256(text.encode()).hexdigest()
  assert (
    digest == "0f08fed0feeb82e751463c807b876152d80f1d4fbffcb29f4ed19addc098b2f0"
  )
  assert catalogue != generator.make_catalogue(seed=1)


def test_catalogue_has_what_it_says(catalogue):
  products, goals = catalogue
  assert len(products) == len({one.asin for one in products}) == 400
  assert len(goals) == 1200
  assert {one.category for one in products} == set(kinds.DEPARTMENTS)
  assert len({one.query for one in products}) == 40
  for goal in goals:
    assert set(goal.attributes) <= set(goal.product.attributes)
    assert goal.product.price < goal.price_limit
    for value, values in zip(
      goal.options, goal.product.options.values(), strict=True
    ):
      assert value in values


def test_options_can_be_told_apart_on_a_page(catalogue):
  for product in catalogue[0]:
    values = sum(product.options.values(), ())
    assert len(set(values)) == len(values)


def test_search_finds_what_is_described(catalogue):
  opened = shop.Shop(*catalogue)
  places = [
    opened.search(environment.own_words(goal)).index(goal.product.asin)
    for goal in opened.goals[:200]
  ]
  assert sum(place < 10 for place in places) > 0.9 * len(places)


@pytest.mark.extra("text")
def test_every_goal_can_earn_one(catalogue):
  pytest.importorskip("rapidfuzz", reason="needs the extra [text]")
  similarity = reward.word_similarity()
  for goal in catalogue[1]:
    chosen = dict(zip(goal.product.options, goal.options, strict=True))
    assert reward.reward(goal.product, chosen, goal, similarity).total == 1.0
