"""Search: terms, and scores against the formula written out."""

import math
import random

import pytest

from graphgpo_jax.envs.text.webshop import search


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("The Men's running SHOES, of 3.4 fl oz", "men running shoe 3 4 fl oz"),
    ("batteries and glass buses", "battery glass buse"),
    ("status: is gas", "status gas"),
    ("", ""),
    ("Crème–brûlée", "crème brûlée"),
  ],
)
def test_terms(text, expected):
  assert search.terms(text) == expected.split()


def oracle(texts, query):
  """BM25 (k1 0.9, b 0.4, Lucene's idf) of each text, term by term."""
  documents = [text.split() for text in texts]
  mean = sum(map(len, documents)) / len(documents)
  scores = []
  for words in documents:
    score = 0.0
    for term in query.split():
      holding = sum(term in other for other in documents)
      idf = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
      count = words.count(term)
      norm = 0.9 * (1 - 0.4 + 0.4 * len(words) / mean)
      score += idf * count / (count + norm)
    scores.append(score)
  return scores


def test_ranks_are_those_of_the_formula():
  chance = random.Random(0)
  words = ["red", "blue", "shoe", "shirt", "cup", "lamp", "big", "cheap"]
  texts = [
    " ".join(chance.choices(words, k=chance.randint(1, 12))) for _ in range(40)
  ]
  index = search.SearchIndex(texts)
  for _ in range(30):
    query = " ".join(chance.choices(words, k=3))
    scores = oracle(texts, query)
    found = index.search(query, most=15)
    best = sorted(range(40), key=lambda place: -round(scores[place], 9))
    assert [round(scores[place], 9) for place in found] == [
      round(scores[place], 9) for place in best[:15] if scores[place] > 0
    ]


def test_equals_come_in_their_order_and_misses_not_at_all():
  index = search.SearchIndex(["a cup", "red cup", "cup", "cup", "lamp"])
  assert index.search("cups", most=9) == [0, 2, 3, 1]
  assert index.search("cups", most=2) == [0, 2]
  assert index.search("the spoon", most=9) == []
  assert search.SearchIndex([""]).search("cup", most=1) == []
