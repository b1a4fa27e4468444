"""The household in sentences."""

import jax
import numpy as np
import pytest

from graphgpo_jax.envs.household import Household, Task, rules, viewer
from graphgpo_jax.envs.household import vocabulary as words

PLACES = ("cabinet", "desk", "sink basin", "cabinet", "fridge")
NUM_POINTERS = len(PLACES) + 3
VERB = {verb: NUM_POINTERS + k for k, verb in enumerate(words.VERBS)}
FRIDGE, SINK, MUG = 4, 2, len(PLACES)

EPISODE = """\
You stand in the middle of a room with nothing in your hand.
The cabinet 1 is closed.
On the desk 1 is an apple 1.
There is nothing in the sink basin 1.
The cabinet 2 is closed.
The fridge 1 is closed.
Your task: put a clean mug in a cabinet.

> put nothing down
Nothing happens.

> go to fridge 1
You walk to the fridge 1. The fridge 1 is closed.

> open fridge 1
You open the fridge 1. In the fridge 1 are a mug 1 and a mug 2.

> take mug 2 from fridge 1
You take the mug 2 from the fridge 1.

> cool mug 2 with fridge 1
You cool the mug 2 with the fridge 1.

> close fridge 1
You close the fridge 1.

> go to sink basin 1
You walk to the sink basin 1. There is nothing in the sink basin 1.

> clean mug 2 with sink basin 1
You clean the mug 2 with the sink basin 1.

> go to desk 1
You walk to the desk 1. On the desk 1 is an apple 1.

> use lamp
You look at the mug 2 in the light of the lamp.

> go to cabinet 2
You walk to the cabinet 2. The cabinet 2 is closed.

> open cabinet 2
You open the cabinet 2. There is nothing in the cabinet 2.

> put mug 2 in cabinet 2
You put the mug 2 in the cabinet 2.

The task is done."""


def make_task(kind=words.CLEAN, thing="mug", place="cabinet"):
  return Task(
    task_type=np.int32(kind),
    goal_object=np.int32(words.OBJECT_TYPES.index(thing)),
    goal_receptacle=np.int32(words.RECEPTACLE_TYPES.index(place)),
    receptacle_types=np.array(
      [words.RECEPTACLE_TYPES.index(name) for name in PLACES], np.int32
    ),
    object_types=np.array(
      [words.OBJECT_TYPES.index(n) for n in ("mug", "apple", "mug")], np.int32
    ),
    locations=np.array([FRIDGE, 1, FRIDGE], np.int32),
  )


HIDDEN = Household(
  tier=3, num_receptacles=5, num_objects=3, horizon=13, hidden=True
)
advance = jax.jit(rules.advance)


def start(task):
  return HIDDEN.reset(jax.random.key(0), task)[0]


@pytest.mark.slow
def test_episode_reads_as_written():
  actions = [VERB["put"], FRIDGE, VERB["open"], MUG + 2, VERB["cool"]]
  actions += [VERB["close"], SINK, VERB["clean"], 1, VERB["use lamp"]]
  actions += [3, VERB["open"], VERB["put"], 0]
  text = viewer.render_episode(HIDDEN, make_task(), actions)
  assert text == EPISODE


def test_episode_ends_with_the_time():
  text = viewer.render_episode(HIDDEN, make_task(), 7 * [1, 0])
  assert text.endswith("On the desk 1 is an apple 1.\n\nTime is up.")


def test_contents_are_hidden_until_seen_and_remembered():
  state = start(make_task())
  mugs = "In the fridge 1 are a mug 1 and a mug 2."
  shut = "The fridge 1 is closed."
  text = viewer.render_observation(state, hidden=True)
  assert f"{shut}\n" in text and mugs not in text
  assert f"{shut} {mugs}\n" in viewer.render_observation(state)
  for action in (FRIDGE, VERB["open"]):
    state, _, _ = advance(state, action)
  text = viewer.render_observation(state, hidden=True)
  assert f"The fridge 1 is open. {mugs}\n" in text
  for action in (VERB["close"], SINK):
    state, _, _ = advance(state, action)
  text = viewer.render_observation(state, hidden=True)
  assert f"{shut} {mugs}\n" in text


def test_properties_are_told():
  state = start(make_task())
  plan = (FRIDGE, VERB["open"], MUG, VERB["cool"], SINK, VERB["clean"])
  for action in plan:
    state, _, _ = advance(state, action)
  text = viewer.render_observation(state)
  assert text.startswith(
    "You stand at the sink basin 1 with a clean cold mug 1 in your hand."
  )


@pytest.mark.parametrize(
  "kind, thing, place, goal",
  [
    (words.PICK, "apple", "desk", "put an apple on a desk"),
    (words.LOOK, "pen", "desk", "look at a pen under the lamp of a desk"),
    (words.CLEAN, "egg", "garbage can", "put a clean egg in a garbage can"),
    (words.HEAT, "egg", "fridge", "put a hot egg in a fridge"),
    (words.COOL, "apple", "shelf", "put a cold apple on a shelf"),
    (words.PICK_TWO, "knife", "drawer", "put two knives in a drawer"),
    (words.PICK_TWO, "tomato", "shelf", "put two tomatoes on a shelf"),
    (words.PICK_TWO, "mug", "cabinet", "put two mugs in a cabinet"),
  ],
)
def test_goal_is_a_sentence(kind, thing, place, goal):
  assert viewer.render_goal(make_task(kind, thing, place)) == goal


def test_every_action_has_a_command():
  state = start(make_task())
  commands = [
    viewer.render_action(state, action)
    for action in range(HIDDEN.spec.num_actions)
  ]
  assert len(set(commands)) == len(commands)
