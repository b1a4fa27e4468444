"""Backups over the empirical chain in NumPy and float64, edge by edge."""

import numpy as np

from graphgpo_jax.credit import graph as graph_lib

FAIL = "fail"


def edges_of(group, *, fail_sink=False):
  """(source, target, cost) of every step of a group, in its order."""
  edges = []
  for one in group:
    for at, (source, target) in enumerate(
      zip(one["source"].tolist(), one["target"].tolist(), strict=True)
    ):
      ends = fail_sink and one["last"][at] and not one["success"][at]
      edges.append((source, FAIL if ends else target, float(one["cost"][at])))
  return edges


def _means(edges, value, *, discount, costs, weights):
  """For each source: weighted mean of discount^cost * value of the target."""
  total, number = {}, {}
  for (source, target, cost), weight in zip(edges, weights, strict=True):
    through = discount ** (cost if costs else 1.0) * value(target)
    total[source] = total.get(source, 0.0) + weight * through
    number[source] = number.get(source, 0.0) + weight
  return {
    source: total[source] / number[source] for source in total if number[source]
  }


def expected(
  edges,
  *,
  discount,
  success=1.0,
  fail=0.0,
  reward=None,
  costs=False,
  weights=None,
):
  """Values of the expectation backup by `numpy.linalg.solve`: dict."""
  weights = [1.0] * len(edges) if weights is None else weights
  states = {end for edge in edges for end in edge[:2]}
  states = sorted(states - {graph_lib.SUCCESS, FAIL})
  sinks = {graph_lib.SUCCESS: success, FAIL: fail}
  constant = np.array([(reward or {}).get(state, 0.0) for state in states])
  columns = []
  for unit in [None, *states]:

    def value(node, unit=unit):
      return float(node == unit) if unit else sinks.get(node, 0.0)

    mean = _means(edges, value, discount=discount, costs=costs, weights=weights)
    columns.append([mean.get(state, 0.0) for state in states])
  if not states:
    return sinks
  matrix = np.eye(len(states)) - np.array(columns[1:]).T
  found = np.linalg.solve(matrix, constant + np.array(columns[0]))
  return dict(zip(states, found.tolist(), strict=True)) | sinks


def residual(edges, values, *, discount, power=1.0, costs=False, reward=None):
  """Greatest |V - backup(V)| over the states that steps leave, in float64."""
  assert power == 1.0 or reward is None
  bent = _means(
    edges,
    lambda node: values[node] ** power,
    discount=discount**power,
    costs=costs,
    weights=[1.0] * len(edges),
  )
  return max(
    abs((reward or {}).get(state, 0.0) + mean ** (1.0 / power) - values[state])
    for state, mean in bent.items()
  )


def decayed_max(edges, *, discount, success, reward=None):
  """Values of the decayed maximum, by as many sweeps as it takes: dict."""
  value = {end: 0.0 for edge in edges for end in edge[:2]} | (reward or {})
  value[graph_lib.SUCCESS] = success
  changed = True
  while changed:
    changed = False
    for source, target, _ in edges:
      if source != target and discount * value[target] > value[source]:
        value[source] = discount * value[target]
        changed = True
  return value
