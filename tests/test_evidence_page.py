"""experiments.evidence: its page, from curves."""

import json

import pytest

from graphgpo_jax.report import evidence
from graphgpo_jax.training import comparison
from tests import markdown


def rising(start, *, updates=10):
  """Reaches 1.0 ten updates after `start`."""
  return {
    step: min(1.0, max(0.0, (step - start + 10) / 10))
    for step in range(updates + 1)
  }


def world(name, curves, **changes):
  values = {
    "name": name,
    "description": f"`{name}.py`",
    "command": f"run {name}",
    "num_updates": 10,
    "eval_every": 1,
    "curves": curves,
    "wanted": [(rule, seed) for rule in curves for seed in curves[rule]],
    "options": {rule: {"discount": 0.9} for rule in curves},
    "failure": None,
    "picture": f"{name}.png",
    **changes,
  }
  return evidence.WorldRuns(**values)


def runs(starts):
  return {seed: rising(start) for seed, start in enumerate(starts)}


FULL = {
  "graphgpo": runs([5, 5.5, 6, 6.5, 7]),
  "fast": runs([1, 1.5, 2, 2.5, 3]),
  "slow": runs([15, 15.5, 16, 16.5, 17]),
  "alike": runs([4.9, 5.4, 6.1, 6.6, 7.1]),
}
WORLDS = [
  world("full", FULL),
  world(
    "part",
    {"graphgpo": runs([5, 6]), "fast": runs([1, 2])},
    wanted=[(name, seed) for name in FULL for seed in (0, 1, 2)],
    options={"graphgpo": {"discount": 0.9}, "fast": {"discount": 0.5}},
  ),
  world("orphan", {"slow": runs([4])}),
  world(
    "empty",
    {},
    num_updates=0,
    failure="exit status 1, error: no key slip",
    picture=None,
  ),
]


@pytest.fixture(scope="module")
def numbers():
  return evidence.measure(WORLDS, reference="graphgpo")


@pytest.fixture(scope="module")
def text(numbers):
  return evidence.page(
    WORLDS,
    numbers,
    reference="graphgpo",
    command="run everything",
    picture="evidence.png",
  )


def test_numbers_of_the_page(numbers):
  assert list(numbers["worlds"]) == ["full", "part", "orphan"]
  over = numbers["over_worlds"]
  assert over["fast"]["worlds"] == ["full", "part"]
  assert over["fast"]["runs"] == 7
  assert over["fast"]["improvement"].value == 1.0
  assert over["slow"]["worlds"] == ["full"]
  assert over["slow"]["improvement"].value == 0.0
  # Another world's runs do not come into the reference's over these.
  expected = comparison.over_worlds({"full": FULL}, reference="graphgpo")
  assert over["slow"]["reference_area"] == expected["graphgpo"]["area"]
  json.dumps(numbers, allow_nan=False)
  again = evidence.measure(WORLDS, reference="graphgpo")
  assert again == numbers


def test_verdicts(numbers):
  found = evidence.verdicts(numbers["worlds"]["full"], reference="graphgpo")
  assert found == {"larger": ["fast"], "smaller": ["slow"], "tied": ["alike"]}
  # Two seeds against two tell nothing apart, however far they are.
  found = evidence.verdicts(numbers["worlds"]["part"], reference="graphgpo")
  assert found == {"larger": [], "smaller": [], "tied": ["fast"]}
  found = evidence.verdicts(numbers["worlds"]["orphan"], reference="graphgpo")
  assert found == {"larger": [], "smaller": [], "tied": []}


def test_page_says_how_each_number_is_made(text):
  assert "    run everything\n" in text
  for name in ("full", "part", "orphan"):
    assert f"    run {name}\n" in markdown.section(text, name)
    assert f"![success by update]({name}.png)" in markdown.section(text, name)
  assert "seeds 0, 1, 2, 3, 4." in markdown.section(text, "full")
  assert "10 updates, the panel played every 1" in markdown.section(
    text, "full"
  )
  assert "![area under the curve by world](evidence.png)" in text
  assert "## empty" not in text


def test_page_lists_failures_gaps_and_ties(text):
  gaps = markdown.section(text, "What is missing, failed or ended in a tie")
  assert "- empty failed: exit status 1, error: no key slip\n" in gaps
  assert "- empty: no finished run\n" in gaps
  assert "- part: graphgpo lacks seeds 2\n" in gaps
  assert "- part: slow lacks seeds 0, 1, 2\n" in gaps
  assert "full:" not in gaps
  rows = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in gaps.splitlines()
    if line.startswith("| ")
  ]
  assert ["full", "fast", "slow", "alike"] in rows
  assert ["part", "-", "-", "fast"] in rows
  assert "4 tests were made" in gaps
  assert "Too few seeds for any difference to pass: part." in gaps
  never = "Never 90 %: slow (5 of 5: 0, 1, 2, 3, 4)."
  assert never in markdown.section(text, "full")
  assert "Never" not in markdown.section(text, "part")
  assert ">= 10.0" in markdown.section(text, "full")


def test_page_over_worlds_and_options(text):
  over = markdown.section(text, "Over the worlds")
  order = [line.split()[1] for line in over.splitlines() if line[:2] == "| "]
  assert order[2:] == ["fast", "graphgpo", "alike", "slow"]
  assert "Not in every world: alike, slow." in over
  options = markdown.section(text, "Options of the estimators")
  assert "- graphgpo: discount=0.9\n" in options
  assert "- fast: discount=0.9 (full); discount=0.5 (part)" in options


def test_page_without_any_run():
  numbers = evidence.measure(WORLDS[-1:], reference="graphgpo")
  text = evidence.page(
    WORLDS[-1:],
    numbers,
    reference="graphgpo",
    command="run everything",
    picture=None,
  )
  assert "no world has a finished run of graphgpo" in text
  assert "- empty failed" in text and "![" not in text


def test_page_without_gaps():
  numbers = evidence.measure(WORLDS[:1], reference="graphgpo")
  text = evidence.page(
    WORLDS[:1], numbers, reference="graphgpo", command="run", picture=None
  )
  assert "No run is missing, and none failed." in text
