"""rewardflow, graphhca, crbc and graft in NumPy and float64, step by step.

Each of the four takes a Group and gives the signal of its steps and their
part among the steps of the same state.
"""

import math

import numpy as np

from graphgpo_jax.credit import graph as graph_lib
from tests import oracle
from tests.credit import chain_oracle, random_groups


class Group:
  """A group's columns and what the four rules need of it, in float64.

  `actions` are those of each rollout; None: an action is where it leads.
  """

  def __init__(self, group, actions=None):
    self.columns = random_groups.table(group)
    self.source = self.columns["observation"]
    self.target = self.columns["next_observation"]
    self.edges = chain_oracle.edges_of(group)
    self.ended = chain_oracle.edges_of(group, fail_sink=True)
    self.action = self.target
    if actions is not None:
      self.action = np.concatenate(actions).tolist()
    self.invalid = [not valid for valid in self.columns["action_valid"]]

  def of_state(self, values, *, kind="mean_std", resolution=0.0, **deviation):
    """Each step's value among those of its source."""
    result = np.zeros(len(values))
    for state in set(self.source):
      rows = [row for row, at in enumerate(self.source) if at == state]
      chosen = [values[row] for row in rows]
      if max(chosen) - min(chosen) <= resolution:
        continue
      result[rows] = oracle.normalize(
        chosen,
        chosen,
        kind=kind,
        single=True,
        **({"epsilon": 1e-6, "ddof": 1} | deviation),
      )
    return result

  def mean_of_pair(self, values):
    """Mean over the steps of the same source and action."""
    pairs = list(zip(self.source, self.action, strict=True))
    return [
      np.mean(
        [
          value
          for value, other in zip(values, pairs, strict=True)
          if other == pair
        ]
      )
      for pair in pairs
    ]


def rewardflow(group, *, discount=0.9, success_reward=10.0, penalty, kind):
  value = chain_oracle.decayed_max(
    group.edges, discount=discount, success=success_reward
  )
  signal = [
    value[target] - value[source] - penalty * bad
    for source, target, bad in zip(
      group.source, group.target, group.invalid, strict=True
    )
  ]
  return signal, group.of_state(signal, kind=kind, resolution=1e-9)


def graphhca(
  group,
  *,
  discount=0.95,
  power=1.0,
  floor=0.01,
  use_costs=False,
  penalty,
  kind,
):
  if math.isinf(power):
    edges = [
      (source, target, cost if use_costs else 1.0)
      for source, target, cost in group.edges
    ]
    best = oracle.shortest_distances(edges, sink=graph_lib.SUCCESS)
    value = {state: discount**length for state, length in best.items()}
  else:
    # V^p is the expectation under discount^p.
    bent = chain_oracle.expected(group.edges, discount=discount**power)
    value = {state: max(at, 0.0) ** (1 / power) for state, at in bent.items()}
  signal = [
    math.log(max(value.get(target, 0.0), floor))
    - math.log(max(value.get(source, 0.0), floor))
    - penalty * bad
    for source, target, bad in zip(
      group.source, group.target, group.invalid, strict=True
    )
  ]
  return signal, group.of_state(signal, kind=kind, resolution=1e-5)


def crbc(
  group, *, discount=0.98, fail_value=-1.0, floor=0.1, sample_deviation=False
):
  value = chain_oracle.expected(group.ended, discount=discount, fail=fail_value)
  followed = group.mean_of_pair(
    [discount * value[target] for _, target, _ in group.ended]
  )
  centered = group.of_state(followed, kind="mean")
  part = np.zeros(len(followed))
  for state in set(group.source):
    rows = [row for row, at in enumerate(group.source) if at == state]
    if len({group.action[row] for row in rows}) < 2:
      continue
    squares = np.sum(centered[rows] ** 2)
    sigma = np.sqrt(squares / (len(rows) - sample_deviation))
    part[rows] = centered[rows] / max(sigma, floor)
  signal = [
    after - value[source]
    for after, source in zip(followed, group.source, strict=True)
  ]
  return signal, part


def graft(
  group,
  *,
  discount=0.95,
  gae_lambda=0.95,
  success_reward=1.0,
  fail_value=0.0,
  visit_weighted_hops=False,
  penalty,
  kind,
):
  value = chain_oracle.expected(
    group.ended, discount=discount, success=success_reward, fail=fail_value
  )
  error = {
    (source, target): discount * value[target] - value[source]
    for source, target, _ in group.ended
  }
  ahead = dict.fromkeys(value, 0.0)
  if not visit_weighted_hops:
    distinct = [(source, target, 1.0) for source, target in error]
    reward = {
      state: np.mean([at for pair, at in error.items() if pair[0] == state])
      for state in set(group.source)
    }
    ahead = chain_oracle.expected(
      distinct, discount=discount * gae_lambda, success=0.0, reward=reward
    )
  signal = [
    error[source, target]
    + discount * gae_lambda * ahead.get(target, 0.0)
    - penalty * bad
    for (source, target, _), bad in zip(group.ended, group.invalid, strict=True)
  ]
  return signal, group.of_state(
    signal, kind=kind, resolution=1e-5 * success_reward
  )


ORACLES = {
  "rewardflow": rewardflow,
  "graphhca": graphhca,
  "crbc": crbc,
  "graft": graft,
}
WEIGHTS = {
  "rewardflow": (1.0, 1.0),
  "graphhca": (1.0, 1.0),
  "crbc": (5.0, 1.0),
  "graft": (1.0, 0.0),
}
