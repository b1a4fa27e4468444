import dataclasses

import pytest

from graphgpo_jax.envs.text import alfworld
from graphgpo_jax.envs.text.types import TextStep

_STEP = TextStep(
  observation="You see nothing.",
  task="put an egg in fridge.",
  admissible_actions=("look", "open fridge 1"),
  facts={
    "location": "fridge 1",
    "holdings": "egg 1",
    "true_state": "holds(agent1, egg)",
  },
)


def _with_fact(name, value):
  facts = {**_STEP.facts, name: value}
  return dataclasses.replace(_STEP, facts=facts)


@pytest.mark.parametrize(
  ("other", "told_apart"),
  [
    (dataclasses.replace(_STEP, observation="x"), {"recipe", "observation"}),
    (dataclasses.replace(_STEP, admissible_actions=("look",)), {"recipe"}),
    (_with_fact("location", "sink 1"), {"recipe"}),
    (_with_fact("holdings", "nothing"), {"recipe"}),
    (_with_fact("true_state", "opened(fridge)"), {"true"}),
    (dataclasses.replace(_STEP, reward=1.0, task="other"), set()),
  ],
)
def test_each_key_tells_apart_what_it_should(other, told_apart):
  differ = {
    name
    for name, key in alfworld.STATE_KEYS.items()
    if key(other) != key(_STEP)
  }
  assert differ == told_apart
