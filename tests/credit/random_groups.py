"""Seeded random groups of rollouts, and the groups at the edge of sense.

A rollout is a dict of columns, one entry per step; a group is a list of
rollouts; `lay_out` turns a group into Steps, with padding where one wants it.
"""

import jax
import numpy as np

from graphgpo_jax.credit import graph as graph_lib

COST_KINDS = ("unit", "integer", "dyadic", "float")
COLUMNS = {
  "source": np.int32,
  "target": np.int32,
  "cost": np.float32,
  "reward": np.float32,
  "episode_return": np.float32,
  "success": bool,
  "last": bool,
  "action_valid": bool,
}


def random_costs(rng, kind, number):
  """Costs of at least 0; only those of kind "float" round when added."""
  if kind == "unit":
    return np.ones(number, np.float32)
  if kind == "integer":
    return rng.integers(0, 4, number).astype(np.float32)
  if kind == "dyadic":
    return (rng.integers(0, 17, number) / 8).astype(np.float32)
  costs = rng.uniform(0.0, 2.0, number)
  costs[rng.random(number) < 0.2] = 0.0
  return costs.astype(np.float32)


def rollout(source, target, *, cost=None, reward=None, invalid=()):
  """One rollout; it succeeded if its last target is the sink."""
  number = len(source)
  success = target[-1] == graph_lib.SUCCESS
  last = np.arange(number) == number - 1
  reward = np.where(last & success, 10.0, 0.0) if reward is None else reward
  columns = {
    "source": source,
    "target": target,
    "cost": np.ones(number) if cost is None else cost,
    "reward": reward,
    "episode_return": np.full(number, np.sum(reward)),
    "success": np.full(number, success),
    "last": last,
    "action_valid": ~np.isin(np.arange(number), invalid),
  }
  return {
    name: np.asarray(columns[name], kind) for name, kind in COLUMNS.items()
  }


def random_group(seed, *, kind=None, max_states=8, max_rollouts=6, max_steps=7):
  """A group with self-loops, parallel edges, cycles, and 0 to M successes."""
  rng = np.random.default_rng(seed)
  kind = COST_KINDS[seed % len(COST_KINDS)] if kind is None else kind
  num_states = int(rng.integers(1, max_states + 1))
  success_rate = rng.choice([0.0, 0.3, 0.6, 1.0])
  group = []
  for _ in range(int(rng.integers(1, max_rollouts + 1))):
    number = int(rng.integers(1, max_steps + 1))
    states = rng.integers(1, num_states + 1, number + 1)
    target = states[1:].copy()
    # Multiples of a quarter: returns at discount 1/2 are exact in float32.
    reward = rng.choice([0.0, 0.0, 0.25, 1.0, -0.5], number)
    if rng.random() < success_rate:
      target[-1] = graph_lib.SUCCESS
      reward[-1] += 10.0
    group.append(
      rollout(
        states[:-1],
        target,
        cost=random_costs(rng, kind, number),
        reward=reward,
        invalid=np.flatnonzero(rng.random(number) < 0.2),
      )
    )
  return group


def renumber(group, numbering):
  """Gives state k the id numbering[k]; the sink keeps its own."""
  numbering = np.asarray(numbering)
  return [
    one | {name: numbering[one[name]] for name in ("source", "target")}
    for one in group
  ]


def two_actions(group):
  """One of two actions for each step, an array for each rollout."""
  return [
    np.random.default_rng([at, len(one["source"])]).integers(
      0, 2, len(one["source"])
    )
    for at, one in enumerate(group)
  ]


def lay_out(group, num_entries, *, order=None, rng=None, actions=None):
  """Steps of a group, and the entry in which each of its steps stands.

  Args:
    group: list of rollouts.
    num_entries: E, at least the number of steps.
    order: order in which the rollouts stand.
    rng: spreads the padding before, between and behind the rollouts, and fills
      it with whatever must not matter; without it padding is all behind.
    actions: the actions of each rollout, for Steps that have any.

  Returns:
    Steps of NumPy arrays [E], and a list of one int array per rollout.
  """
  order = range(len(group)) if order is None else order
  spare = num_entries - sum(len(one["source"]) for one in group)
  assert spare >= 0, "num_entries is too small"
  gaps = np.zeros(len(group), int)
  if rng is not None:
    gaps = rng.multinomial(spare, np.full(len(group) + 1, 1 / (len(group) + 1)))
  columns = {
    name: np.zeros(num_entries, kind) for name, kind in COLUMNS.items()
  }
  columns["source"] -= 1
  columns["target"] -= 1
  if rng is not None:
    for name, kind in COLUMNS.items():
      if kind is bool:
        columns[name] = rng.random(num_entries) < 0.5
      elif kind is np.int32:
        columns[name] = rng.choice([-9, -1, 0, 2, 999], num_entries)
      else:
        columns[name] = rng.choice([np.nan, np.inf, -3.0], num_entries)
      columns[name] = columns[name].astype(kind)
  columns["mask"] = np.zeros(num_entries, bool)
  places, cursor = [None] * len(group), 0
  for position, index in enumerate(order):
    cursor += gaps[position]
    place = cursor + np.arange(len(group[index]["source"]))
    for name in COLUMNS:
      columns[name][place] = group[index][name]
    columns["mask"][place] = True
    places[index], cursor = place, place[-1] + 1
  if actions is not None:
    columns["action"] = np.full(num_entries, -7, np.int32)
    for place, chosen in zip(places, actions, strict=True):
      columns["action"][place] = chosen
  return graph_lib.Steps(**columns), places


def stack(trees):
  """Groups of one shape to a batch, with a leading axis [B]."""
  return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def batch(seeds, num_entries=48, **options):
  """Steps [B, E] of random groups, and the groups themselves."""
  groups = [random_group(seed, **options) for seed in seeds]
  return stack([lay_out(group, num_entries)[0] for group in groups]), groups


def table(group):
  """Columns of a group as the plain oracle takes them."""
  columns = {
    name: np.concatenate([one[name] for one in group]).tolist()
    for name in COLUMNS
  }
  lengths = [len(one["source"]) for one in group]
  columns["task"] = [0] * sum(lengths)
  columns["trajectory"] = np.repeat(np.arange(len(group)), lengths).tolist()
  columns["t"] = np.concatenate([np.arange(n) for n in lengths]).tolist()
  columns["observation"] = columns.pop("source")
  columns["next_observation"] = columns.pop("target")
  return columns


def corner_groups():
  """Groups at the edge of sense, by name; None is a group of no steps."""
  line = np.arange(1, 8)
  return {
    "no success": [rollout([1, 2, 3], [2, 3, 4]), rollout([1, 2], [2, 1])],
    "one rollout": [rollout([1, 2, 3], [2, 3, 0])],
    "one step": [rollout([1], [0])],
    "one step, no success": [rollout([1], [1])],
    "all states equal": [rollout([1] * 4, [1] * 4), rollout([1], [0])],
    "all states different": [
      rollout(line[:3], line[1:4]),
      rollout(line[4:6], [6, 0]),
    ],
    "T=1": [rollout([1], [0]), rollout([1], [2]), rollout([2], [0])],
    "no cost": [rollout([1, 2], [2, 0], cost=[0, 0])],
    "all succeed alike": [rollout([1, 2, 3], [2, 3, 0])] * 3,
    "nothing valid": None,
  }


def corner_groups_with_steps():
  return {name: group for name, group in corner_groups().items() if group}


def corner_steps(num_entries=12):
  """The corner groups as Steps [B, E], garbage in padding, and their names."""
  rng = np.random.default_rng(0)
  laid_out = []
  for group in corner_groups().values():
    steps, _ = lay_out(
      [rollout([1], [0])] if group is None else group, num_entries, rng=rng
    )
    if group is None:
      steps = steps.replace(mask=np.zeros_like(steps.mask))
    laid_out.append(steps)
  return stack(laid_out), list(corner_groups())
