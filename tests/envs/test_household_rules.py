"""The household against a plain-Python oracle of its rules."""

import functools
import random

import jax
import numpy as np
import pytest

from graphgpo_jax.envs.household import Household, expert_actions
from graphgpo_jax.envs.household import vocabulary as words

SHUTTABLE = {"cabinet", "drawer", "safe", "fridge", "microwave"}
STATIONS = {
  "clean": (
    "sink basin",
    "apple egg potato tomato mug plate lettuce bowl pan knife spoon cloth",
  ),
  "heat": ("microwave", "apple egg potato tomato mug plate"),
  "cool": ("fridge", "apple egg potato tomato mug plate lettuce bowl pan"),
}
LANES = 32


class Oracle:
  """The rules once more, on names and dictionaries."""

  def __init__(self, task, hidden):
    self.kind = words.TASK_TYPES[task.task_type]
    self.goal_thing = words.OBJECT_TYPES[task.goal_object]
    self.goal_place = words.RECEPTACLE_TYPES[task.goal_receptacle]
    self.places = [words.RECEPTACLE_TYPES[t] for t in task.receptacle_types]
    self.things = [
      {
        "type": words.OBJECT_TYPES[t],
        "at": int(at),
        "clean": False,
        "heat": None,
        "seen": self.places[at] not in SHUTTABLE,
      }
      for t, at in zip(task.object_types, task.locations, strict=True)
    ]
    self.hidden = hidden
    self.agent = None
    self.opened = set()
    self.clock = 0

  @property
  def held(self):
    held = [thing for thing in self.things if thing["at"] == "hand"]
    assert len(held) <= 1
    return held[0] if held else None

  def place(self):
    return None if self.agent is None else self.places[self.agent]

  def reachable(self):
    if self.agent is None:
      return False
    return self.place() not in SHUTTABLE or self.agent in self.opened

  def ready(self, thing):
    return {
      "clean then place": thing["clean"],
      "heat then place": thing["heat"] == "hot",
      "cool then place": thing["heat"] == "cold",
    }.get(self.kind, True)

  def num_placed(self):
    return sum(
      thing["at"] != "hand"
      and thing["type"] == self.goal_thing
      and self.places[thing["at"]] == self.goal_place
      and self.ready(thing)
      for thing in self.things
    )

  def command(self, action):
    if action < len(self.places):
      return "go", action
    action -= len(self.places)
    if action < len(self.things):
      return "take", action
    return words.VERBS[action - len(self.things)], None

  def admissible(self, action):
    verb, index = self.command(action)
    held = self.held
    if verb == "go":
      return index != self.agent
    if verb == "take":
      here = self.things[index]["at"] == self.agent
      return here and self.reachable() and held is None
    if verb in ("open", "close"):
      is_open = self.agent in self.opened
      return self.place() in SHUTTABLE and is_open == (verb == "close")
    if held is None:
      return False
    if verb == "put":
      return self.reachable()
    if verb == "use lamp":
      return self.place() == "desk"
    station, types = STATIONS[verb]
    done = {
      "clean": held["clean"],
      "heat": held["heat"] == "hot",
      "cool": held["heat"] == "cold",
    }[verb]
    return self.place() == station and held["type"] in types and not done

  def step(self, action):
    """Returns whether the action was admissible, and whether it succeeded."""
    self.clock += 1
    if not self.admissible(action):
      return False, False
    verb, index = self.command(action)
    held, success = self.held, False
    if verb == "go":
      self.agent = index
    elif verb == "take":
      self.things[index]["at"] = "hand"
    elif verb == "open":
      self.opened.add(self.agent)
    elif verb == "close":
      self.opened.remove(self.agent)
    elif verb == "put":
      held["at"] = self.agent
      needed = 2 if self.kind == "pick two and place" else 1
      success = self.kind != "look in light" and self.num_placed() >= needed
    elif verb == "clean":
      held["clean"] = True
    elif verb == "heat":
      held["heat"] = "hot"
    elif verb == "cool":
      held["heat"] = "cold"
    else:
      is_look = self.kind == "look in light"
      success = is_look and held["type"] == self.goal_thing
    if self.reachable():
      for thing in self.things:
        thing["seen"] |= thing["at"] == self.agent
    return True, success

  def facts(self):
    """What decides the future, as one hashable value."""
    things = [tuple(thing[k] for k in STATE) for thing in self.things]
    return self.agent, frozenset(self.opened), tuple(things)

  def tokens(self):
    """Tokens as lists, and the mask, from the meaning of each feature."""

    def door(slot):
      if slot in (None, "hand"):
        return 0
      if self.places[slot] not in SHUTTABLE:
        return 1
      return 3 if slot in self.opened else 2

    def yes(condition):
      return 2 if condition else 1

    held = self.held
    hand = 1
    if held is not None:
      is_goal = held["type"] == self.goal_thing
      hand = 2 + is_goal + (is_goal and self.ready(held))
    asked = {
      "clean then place": 2,
      "heat then place": 3,
      "cool then place": 5,
    }.get(self.kind, 1)
    rows = [
      [
        1,
        1 + words.RECEPTACLE_TYPES.index(self.goal_place),
        1 + words.OBJECT_TYPES.index(self.goal_thing),
        1 + words.TASK_TYPES.index(self.kind),
        0,
        door(self.agent),
        0,
        hand,
        0,
        asked,
        0 if self.agent is None else 1 + self.agent,
        3 + min(1, self.num_placed()),
      ]
    ]
    for slot, place in enumerate(self.places):
      type_id = 1 + words.RECEPTACLE_TYPES.index(place)
      is_goal, is_here = place == self.goal_place, slot == self.agent
      rows.append(
        [2, type_id, 0, 0, yes(is_goal), door(slot), yes(is_here)]
        + [hand, 0, 0, 1 + slot, 0]
      )
    for thing in self.things:
      at = thing["at"]
      in_hand = at == "hand"
      heat = {None: 0, "hot": 1, "cold": 2}[thing["heat"]]
      rows.append(
        [
          3,
          0,
          1 + words.OBJECT_TYPES.index(thing["type"]),
          0,
          yes(thing["type"] == self.goal_thing),
          door(at),
          yes(at == self.agent),
          hand,
          yes(in_hand),
          1 + thing["clean"] + 2 * heat,
          len(self.places) + 1 if in_hand else 1 + at,
          yes(not in_hand and self.places[at] == self.goal_place),
        ]
      )
    mask = [True] * (1 + len(self.places))
    mask += [thing["seen"] or not self.hidden for thing in self.things]
    rows = [
      row if valid else [0] * len(row)
      for row, valid in zip(rows, mask, strict=True)
    ]
    return rows, mask


STATE = ("type", "at", "clean", "heat")


@functools.cache
def world(tier):
  """Environment, tasks, and compiled functions of one tier."""
  environment = Household(tier=tier)
  keys = jax.random.split(jax.random.key(tier), LANES)
  tasks = jax.jit(jax.vmap(environment.sample_task))(keys)

  def start(key, task):
    state, observation = environment.reset(key, task)
    return state, observation, environment.state_key(state)

  def step(state, action):
    results = environment.step(state, action)
    return results, environment.state_key(results[0])

  reset = jax.jit(jax.vmap(start))(keys, tasks)
  return environment, jax.device_get(tasks), reset, jax.jit(jax.vmap(step))


def choose(oracle, plan, chance, num_actions):
  """Follows the plan amid noise that changes nothing, then wanders."""
  action = chance.randrange(num_actions)
  if plan:
    if not oracle.admissible(action) and chance.random() < 0.2:
      return action
    return plan.pop(0)
  options = [a for a in range(num_actions) if oracle.admissible(a)]
  if chance.random() < 0.2:
    return action
  # Verbs are drawn as often as all pointers together, to get around.
  verbs = [a for a in options if a >= num_actions - words.NUM_VERBS]
  takes = [a for a in options if a not in verbs and a >= len(oracle.places)]
  return chance.choice(chance.choice([o for o in (verbs, takes, options) if o]))


@pytest.mark.parametrize(
  "tier",
  [
    # Between them shown and hidden contents, and all types of tasks.
    tier if tier in (1, 6) else pytest.param(tier, marks=pytest.mark.slow)
    for tier in range(1, 7)
  ],
)
def test_equals_the_oracle(tier):
  environment, tasks, (state, observation, key), step = world(tier)
  chance = random.Random(tier)
  num_actions = environment.spec.num_actions
  oracles, plans = [], []
  for lane in range(LANES):
    task = jax.tree.map(lambda leaf, lane=lane: leaf[lane], tasks)
    oracles.append(Oracle(task, environment.hidden))
    plan = expert_actions(task)
    plans.append(plan[: chance.choice([0, len(plan), len(plan) - 1])])
  seen = [{} for _ in range(LANES)]
  successes = 0
  sizes = np.array(environment.spec.feature_sizes)
  for clock in range(environment.spec.horizon + 1):
    got = jax.device_get((observation, key))
    for lane, oracle in enumerate(oracles):
      rows, mask = oracle.tokens()
      np.testing.assert_array_equal(got[0].tokens[lane], rows)
      np.testing.assert_array_equal(got[0].token_mask[lane], mask)
      admissible = [oracle.admissible(a) for a in range(num_actions)]
      np.testing.assert_array_equal(got[0].action_mask[lane], admissible)
      assert any(admissible)
      # Facts and keys name each other.
      name = tuple(got[1][lane].tolist())
      assert seen[lane].setdefault(oracle.facts(), name) == name
    assert (got[0].tokens >= 0).all() and (got[0].tokens < sizes).all()
    actions = [
      choose(oracle, plan, chance, num_actions)
      for oracle, plan in zip(oracles, plans, strict=True)
    ]
    results, key = step(state, np.array(actions, np.int32))
    state, observation, reward, terminated, truncated, info = results
    expected = [o.step(a) for o, a in zip(oracles, actions, strict=True)]
    valid, success = np.array(expected).T
    np.testing.assert_array_equal(info.action_valid, valid)
    np.testing.assert_array_equal(info.success, success)
    np.testing.assert_array_equal(terminated, success)
    np.testing.assert_array_equal(reward, success.astype(np.float32))
    late = clock + 1 >= environment.spec.horizon
    np.testing.assert_array_equal(truncated, late & ~success)
    successes += success.sum()
  assert successes > LANES // 4
  for names in seen:
    assert len(set(names.values())) == len(names)


def test_state_key_forgets_the_clock_and_what_was_seen():
  environment, _, (state, _, key), _ = world(6)
  aged = state.replace(clock=state.clock + 5, seen=~state.seen)
  np.testing.assert_array_equal(jax.vmap(environment.state_key)(aged), key)


def test_inadmissible_action_moves_only_the_clock():
  environment, _, (state, observation, _), step = world(6)
  inadmissible = np.argmin(np.asarray(observation.action_mask), axis=-1)
  (after, *_, info), _ = step(state, inadmissible.astype(np.int32))
  assert not info.action_valid.any()
  same = after.replace(clock=state.clock)
  jax.tree.map(np.testing.assert_array_equal, same, state)
  np.testing.assert_array_equal(after.clock, state.clock + 1)


def test_search_finds_nothing_shorter_than_the_expert():
  environment, tasks, _, _ = world(6)
  for lane in range(10):
    task = jax.tree.map(lambda leaf, lane=lane: leaf[lane], tasks)
    oracle = Oracle(task, hidden=False)
    relevant = [
      a
      for a in range(environment.spec.num_actions)
      if oracle.command(a)[0] not in ("take", "close")
      or (
        oracle.command(a)[0] == "take"
        and oracle.things[oracle.command(a)[1]]["type"] == oracle.goal_thing
      )
    ]
    assert shortest(oracle, relevant) == len(expert_actions(task))


def shortest(oracle, actions):
  """Length of a shortest solution that uses only these actions."""

  def restore(facts):
    oracle.agent, opened, things = facts
    oracle.opened = set(opened)
    for thing, values in zip(oracle.things, things, strict=True):
      thing.update(zip(STATE, values, strict=True))

  frontier, reached, depth = [oracle.facts()], {oracle.facts()}, 0
  while frontier:
    depth += 1
    following = []
    for facts in frontier:
      restore(facts)
      for action in [a for a in actions if oracle.admissible(a)]:
        restore(facts)
        _, success = oracle.step(action)
        if success:
          return depth
        now = oracle.facts()
        if now not in reached:
          reached.add(now)
          following.append(now)
    frontier = following
  raise AssertionError("unsolvable")
