"""Credit in plain Python: dicts, heapq and float64, one task at a time.

Written from the methods' definitions, not from the package: tests hold the
package against it. Clear rather than fast.
"""

import heapq
import math
import random
from collections import defaultdict

SUCCESS = ("success",)

ESTIMATOR_DEFAULTS = {
  "omega": 0.1,
  "success_reward": 10.0,
  "invalid_penalty": 0.1,
  "penalty_only_with_success": False,
  "add_step_cost": False,
  "normalize_distance": False,
  "scale_free": False,
  "unreachable_margin": 1.0,
  "distinct_edges": False,
  "per_rollout": False,
  "normalization": "mean_std",
  "epsilon": 1e-6,
  "ddof": 1,
  "step_weight": 1.0,
  "episode_weight": 1.0,
  "discount": 0.95,
}


def shortest_distances(edges, sink=SUCCESS):
  """Dijkstra on the reversed graph.

  Args:
    edges: (source, target, cost) triples of any hashable nodes.
    sink: the node to reach.

  Returns:
    dict of node to distance, for the nodes that reach `sink`.
  """
  into = defaultdict(list)
  for source, target, cost in edges:
    into[target].append((source, cost))
  best = {sink: 0.0}
  # The counter keeps heapq from comparing nodes.
  queue, counter = [(0.0, 0, sink)], 1
  while queue:
    distance, _, node = heapq.heappop(queue)
    if distance > best[node]:
      continue
    for source, cost in into[node]:
      through = distance + cost
      if through < best.get(source, math.inf):
        best[source] = through
        heapq.heappush(queue, (through, counter, source))
        counter += 1
  return best


def rollouts_of(steps):
  """Row numbers of each rollout, in order of t: {(task, trajectory): rows}."""
  rows = defaultdict(list)
  for row, key in enumerate(
    zip(steps["task"], steps["trajectory"], strict=True)
  ):
    rows[key].append(row)
  return {
    key: sorted(found, key=lambda row: steps["t"][row])
    for key, found in rows.items()
  }


def normalize(values, counted, *, kind, epsilon, ddof, single, shares=None):
  """(x - mean) / (std + epsilon), or x - mean, over the counted values.

  Args:
    values: list of float.
    counted: list of float, those the statistics are taken from.
    kind: "mean_std" or "mean".
    epsilon: float.
    ddof: 0 or 1.
    single: what becomes of a lone value: 0 if True, mean 0 and std 1 if not.
    shares: list of float, how much each counted value counts; 1 without it.

  Returns:
    list of float, as long as `values`.
  """
  if not counted:
    return [0.0] * len(values)
  shares = [1.0] * len(counted) if shares is None else shares
  number = sum(shares)
  if len(counted) == 1 and not single:
    scale = 1.0 + epsilon if kind == "mean_std" else 1.0
    return [value / scale for value in values]
  if max(counted) == min(counted):
    return [0.0] * len(values)
  weighted = list(zip(counted, shares, strict=True))
  mean = sum(value * share for value, share in weighted) / number
  if kind == "mean":
    return [value - mean for value in values]
  squares = sum(share * (value - mean) ** 2 for value, share in weighted)
  std = math.sqrt(squares / max(number - ddof, 1))
  return [(value - mean) / (std + epsilon) for value in values]


def assign_credit(steps, estimator="graphgpo", **options):
  """Credit columns of a table, for one of the four named estimators.

  Args:
    steps: complete columns, as the package takes them; observations hashable.
    estimator: "graphgpo", "gigpo", "grpo" or "rloo".
    **options: as the package's; the others keep their defaults.

  Returns:
    dict of column name to list of float, in the table's row order.
  """
  unknown = set(options) - set(ESTIMATOR_DEFAULTS)
  assert not unknown, unknown
  options = ESTIMATOR_DEFAULTS | options
  columns = _with_defaults(steps, options["success_reward"])
  credit = {
    name: [0.0] * len(steps["task"])
    for name in (
      "distance",
      "next_distance",
      "step_return",
      "step_advantage",
      "episode_advantage",
      "advantage",
    )
  }
  tasks = defaultdict(list)
  for key, rows in rollouts_of(columns).items():
    tasks[key[0]].append(rows)
  for rollouts in tasks.values():
    _credit_task(columns, rollouts, estimator, options, credit)
  return credit


def _with_defaults(steps, success_reward):
  columns = dict(steps)
  number = len(steps["task"])
  columns.setdefault("cost", [1.0] * number)
  columns.setdefault("action_valid", [True] * number)
  columns.setdefault(
    "episode_return",
    [success_reward if won else 0.0 for won in steps["success"]],
  )
  if "reward" not in columns:
    columns["reward"] = [0.0] * number
    for rows in rollouts_of(steps).values():
      columns["reward"][rows[-1]] = columns["episode_return"][rows[-1]]
  return columns


def _credit_task(columns, rollouts, estimator, options, credit):
  rows = [row for rollout in rollouts for row in rollout]
  source = {row: columns["observation"][row] for row in rows}
  target = {row: columns["next_observation"][row] for row in rows}
  lasts = [rollout[-1] for rollout in rollouts]
  for row in lasts:
    if columns["success"][row]:
      target[row] = SUCCESS
  cost = {row: float(columns["cost"][row]) for row in rows}
  best = shortest_distances([(source[r], target[r], cost[r]) for r in rows])
  beyond = max(best.values()) + options["unreachable_margin"]
  here = {row: best.get(source[row], beyond) for row in rows}
  there = {row: best.get(target[row], beyond) for row in rows}

  punished = not options["penalty_only_with_success"] or any(
    columns["success"][row] for row in rows
  )
  penalty = {
    row: options["invalid_penalty"]
    if punished and not columns["action_valid"][row]
    else 0.0
    for row in rows
  }
  returns = {row: float(columns["episode_return"][row]) for row in rows}
  statistics = {
    "kind": options["normalization"],
    "epsilon": options["epsilon"],
    "ddof": options["ddof"],
  }

  if estimator == "rloo":
    total, count = sum(returns[row] for row in lasts), len(lasts)
    episode = [
      (0.0 if count == 1 else returns[r] - (total - returns[r]) / (count - 1))
      - penalty[r]
      for r in rows
    ]
  elif options["per_rollout"]:
    episode = normalize(
      [returns[row] for row in rows],
      [returns[row] for row in lasts],
      single=True,
      **statistics,
    )
  else:
    scores = [returns[row] - penalty[row] for row in rows]
    episode = normalize(scores, scores, single=False, **statistics)

  signal, compared = dict.fromkeys(rows, 0.0), dict.fromkeys(rows, 0.0)
  if estimator == "graphgpo":
    signal, compared = _graph_signals(
      rows, source, here, there, cost, penalty, options
    )
  elif estimator == "gigpo":
    for rollout in rollouts:
      following = 0.0
      for row in reversed(rollout):
        following = columns["reward"][row] + options["discount"] * following
        signal[row] = following - penalty[row]
    compared = signal

  step = dict.fromkeys(rows, 0.0)
  if estimator in ("graphgpo", "gigpo"):
    same_state = defaultdict(list)
    for row in rows:
      same_state[source[row]].append(row)
    for group in same_state.values():
      shares = None
      if options["distinct_edges"]:
        ends = [target[row] for row in group]
        shares = [1 / ends.count(end) for end in ends]
      results = normalize(
        [compared[row] for row in group],
        [compared[row] for row in group],
        single=True,
        shares=shares,
        **statistics,
      )
      step.update(zip(group, results, strict=True))

  for row, episode_part in zip(rows, episode, strict=True):
    credit["distance"][row] = here[row]
    credit["next_distance"][row] = there[row]
    credit["step_return"][row] = signal[row]
    credit["step_advantage"][row] = step[row]
    credit["episode_advantage"][row] = episode_part
    credit["advantage"][row] = (
      options["step_weight"] * step[row]
      + options["episode_weight"] * episode_part
    )


def _graph_signals(rows, source, here, there, cost, penalty, options):
  omega, reward = options["omega"], options["success_reward"]
  own = dict.fromkeys(rows, 0.0)
  if options["add_step_cost"]:
    own = cost
  signal = {}
  for row in rows:
    exponent = there[row] + own[row]
    if options["normalize_distance"]:
      exponent = max(there[row] - here[row] + cost[row], 0.0)
    signal[row] = reward * omega**exponent - penalty[row]
  if not options["scale_free"]:
    return signal, signal
  nearest = defaultdict(lambda: math.inf)
  for row in rows:
    reach = there[row] + own[row]
    nearest[source[row]] = min(nearest[source[row]], reach)
  compared = {
    row: reward * omega ** (there[row] + own[row] - nearest[source[row]])
    - penalty[row]
    for row in rows
  }
  return signal, compared


def random_table(
  seed, *, tasks=3, rollouts=4, horizon=6, states=5, optional=True
):
  """A table of random walks, some of them successful.

  Costs and rewards are sums of few powers of two, so that float32 holds every
  distance exactly and ties stay ties.

  Args:
    seed: int.
    tasks: tasks.
    rollouts: rollouts at most per task.
    horizon: steps at most per rollout.
    states: states per task.
    optional: with the columns that may be left out.

  Returns:
    dict of column name to list, rows in order.
  """
  draw = random.Random(seed)
  names = ["task", "trajectory", "t", "observation", "next_observation"]
  names += ["success"]
  if optional:
    names += ["reward", "episode_return", "action_valid", "cost", "action"]
  table = {name: [] for name in names}
  for task in range(tasks):
    luck = draw.choice([0.0, 0.5, 1.0])
    for rollout in range(draw.randint(1, rollouts)):
      length = draw.randint(1, horizon)
      walk = [draw.randrange(states) for _ in range(length + 1)]
      won = draw.random() < luck
      for t in range(length):
        row = {
          "task": f"task {task}",
          "trajectory": rollout,
          "t": t,
          "observation": f"task {task}, state {walk[t]}",
          "next_observation": f"task {task}, state {walk[t + 1]}",
          "success": won,
          "reward": draw.choice([0.0, 0.0, 0.5]) + 4.0 * (t == length - 1),
          "episode_return": 8.0 if won else 0.0,
          "action_valid": draw.random() < 0.8,
          "cost": draw.choice([0.25, 0.5, 1.0, 2.0]),
          "action": draw.choice("abc"),
        }
        for name, column in table.items():
          column.append(row[name])
  return table


def reorder(table, order):
  """Rows of a table of lists in another order."""
  return {
    name: [column[row] for row in order] for name, column in table.items()
  }
