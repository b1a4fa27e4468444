"""What a state is worth: backups over the empirical chain of merged rollouts.

The chain goes from a state to where its steps led, each edge as often as it
was taken. Next to the shortest distance (`distances`) and the mean observed
return (`potentials`) there are: the expectation over the edges, the power mean
between expectation and shortest way, and a running maximum that decays.
"""

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit import chain_solvers, distances, linear_chains
from graphgpo_jax.credit import graph as graph_lib

StateGraph = graph_lib.StateGraph
StateValues = linear_chains.StateValues
Steps = graph_lib.Steps

# The least positive float32 there is before digits are lost.
_TINY = 2.0**-126


def with_fail_sink(steps: Steps, *, max_nodes: int) -> StateGraph:
  """Graph whose failed rollouts lead to a sink of their own, FAIL.

  The last step of a rollout without success leads to FAIL and not to the state
  that was seen after it.

  Args:
    steps: Steps of one group, [E].
    max_nodes: N, node limit without FAIL.

  Returns:
    StateGraph of N + 1 nodes, FAIL the last of them.

  Raises:
    ValueError: `max_nodes` is below 1.
  """
  failed = steps.last & ~steps.success
  beyond = graph_lib.NO_NODE
  target = jnp.where(steps.target < max_nodes, steps.target, beyond)
  return graph_lib.build_graph(
    steps.replace(  # type: ignore[attr-defined]
      source=jnp.where(steps.source < max_nodes, steps.source, beyond),
      target=jnp.where(failed, max_nodes, target),
    ),
    max_nodes=max_nodes + 1,
  )


def expected_values(
  graph: StateGraph,
  *,
  discount: chex.Numeric,
  success_value: chex.Numeric = 1.0,
  fail_value: chex.Numeric | None = None,
  state_reward: chex.Array | None = None,
  edge_reward: chex.Array | None = None,
  edge_weight: chex.Array | None = None,
  use_costs: bool = False,
  method: str = "auto",
  tolerance: chex.Numeric = linear_chains.TOLERANCE,
  max_sweeps: int = linear_chains.MAX_SWEEPS,
) -> StateValues:
  """Value of every state under the policy that the visits show.

  V(s) = r(s) + mean over the edges out of s of (r_e + discount * V(s'))

  SUCCESS is held at `success_value`, and FAIL, if there is one, at
  `fail_value`; a state that no edge leaves is worth r(s).

  The discount brings any two V closer by its factor a sweep, so the error of
  the result is at most residual / (1 - discount), costs below 1 aside; the
  sweeps stop at a residual of `tolerance` times the greatest value.

  Args:
    graph: StateGraph with N nodes and K edges.
    discount: value discount in [0, 1]. At 1 the states that are never left
      count as worth 0 where r is 0, and the bound says nothing.
    success_value: V(SUCCESS).
    fail_value: V(FAIL), for a graph `with_fail_sink`; None: FAIL is no sink of
      the graph.
    state_reward: float32 [N], r; 0 without it. Those of sinks do not count.
    edge_reward: float32 [K], r_e; 0 without it.
    edge_weight: float32 [K], at least 0, how much an edge counts in the mean;
      1 without it, which weighs by visits.
    use_costs: discount ** cost of the edge instead of discount.
    method: of `chain_solvers.approximate`: "linear" (`jnp.linalg.solve`),
      "compressed", "sweeps", or "auto": linear up to 32 nodes, compressed
      beyond.
    tolerance: residual to come under, as a share of the greatest value.
    max_sweeps: plain sweeps at most, at the end.

  Returns:
    StateValues, float32 [N] values in the unit of `success_value`. No gradient
    flows through them.

  Raises:
    ValueError: `method` is none of these.

  Reference: arXiv 2609.28963 (GRAFT), 2609.35082 (CRBC), 2609.35084
    (GraphHCA).
  """
  num_nodes = graph.node_mask.shape[0]
  constant = _rewards(graph, state_reward, success_value)
  free = graph.mask & (graph.source != graph_lib.SUCCESS)
  if fail_value is not None:
    fail = num_nodes - 1
    constant = constant.at[fail].set(fail_value)
    free &= graph.source != fail
  share = _shares(graph, free, edge_weight)
  factor = _discounts(graph, discount, use_costs)
  if edge_reward is not None:
    chex.assert_equal_shape([edge_reward, share])
    constant = constant.at[jnp.where(free, graph.source, num_nodes)].add(
      jax.lax.stop_gradient(jnp.where(free, share * edge_reward, 0.0)),
      mode="drop",
    )
  chain = linear_chains.Chain(
    source=jnp.where(free, graph.source, num_nodes),
    target=jnp.where(free, graph.target, 0),
    weight=jnp.where(free, share * factor, 0.0),
    constant=constant,
  )
  return chain_solvers.solve(
    chain, method=method, tolerance=tolerance, max_sweeps=max_sweeps
  )


def power_mean_values(
  graph: StateGraph,
  *,
  discount: chex.Numeric,
  power: chex.Numeric = 1.0,
  use_costs: bool = False,
  method: str = "auto",
  tolerance: chex.Numeric = linear_chains.TOLERANCE,
  max_sweeps: int = linear_chains.MAX_SWEEPS,
) -> StateValues:
  """Value between the expectation and that of the shortest way.

  V(s) = discount * (mean over the edges out of s of V(s')^p)^(1/p)

  with V(SUCCESS) = 1. p = 1 is the expectation, p = inf the best edge alone:
  V = discount ** shortest distance.

  The logarithm of V is swept, for V^p is no float32 where p is large. V^p is
  the fixed point of a linear chain, and so is (V / discount^distance)^p, from 0
  to 1, whose solution the sweeps start from.

  A mean of power p >= 1 brings no two V further apart, so the error is at most
  residual / (1 - discount) as in `expected_values`.

  Args:
    graph: StateGraph with N nodes.
    discount: value discount in (0, 1].
    power: p, at least 1; may be inf.
    use_costs: discount ** cost of the edge instead of discount.
    method: see `expected_values`.
    tolerance: residual to come under, as a share of the greatest value.
    max_sweeps: sweeps of the logarithm at most.

  Returns:
    StateValues, float32 [N] values from 0 to 1; 0 where SUCCESS cannot be
    reached. No gradient flows through them.

  Raises:
    ValueError: `method` is none of these.

  Reference: arXiv 2609.35084 (GraphHCA).
  """
  num_nodes = graph.node_mask.shape[0]
  cost = graph.cost if use_costs else jnp.ones_like(graph.cost)
  cost = jax.lax.stop_gradient(jnp.where(graph.mask, cost, jnp.inf))
  priced = graph.replace(cost=cost)  # type: ignore[attr-defined]
  distance = distances.shortest_distances(priced)
  reached = jnp.isfinite(distance)
  log_discount = jnp.log(jnp.maximum(jnp.float32(discount), _TINY))
  farthest = jnp.where(reached, distance, 0.0) * log_discount

  source = jnp.where(graph.mask, graph.source, 0)
  target = jnp.where(graph.mask, graph.target, 0)
  # Steps to where nothing leads on to SUCCESS count in the number alone.
  free = graph.mask & (graph.source != graph_lib.SUCCESS)
  share = _shares(graph, free, None)
  free &= reached[target]
  place = jnp.where(free, source, num_nodes)
  gain = jnp.where(free, cost, 0.0) * log_discount
  # Not a bit above 0 on a shortest way, where it is a sum of the same numbers.
  worse = jnp.where(free, (cost + distance[target]) - distance[source], 0.0)
  worse = worse * log_discount
  chain = linear_chains.Chain(
    source=place,
    target=jnp.where(free, target, 0),
    weight=jnp.where(free, share * jnp.exp(_times(power, worse)), 0.0),
    constant=jnp.zeros((num_nodes,), jnp.float32)
    .at[graph_lib.SUCCESS]
    .set(1.0),
  )
  chain = jax.tree.map(jax.lax.stop_gradient, chain)
  ratio = chain_solvers.approximate(chain, method=method, tolerance=tolerance)
  ratio = jnp.clip(ratio, _TINY, 1.0)

  def sweep(level):
    through = jnp.where(free, level[target] + gain, -jnp.inf)
    best = jax.ops.segment_max(through, place, num_nodes)
    best = jnp.where(jnp.isfinite(best), best, 0.0)
    rest = _times(power, jnp.where(free, through - best[source], 0.0))
    mass = jax.ops.segment_sum(
      jnp.where(free, share * jnp.exp(rest), 0.0), place, num_nodes
    )
    return best + jnp.log(jnp.where(mass > 0.0, mass, 1.0)) / power

  def worth(level):
    return jnp.where(reached, jnp.exp(level), 0.0)

  found = linear_chains.settle(
    sweep,
    farthest + jnp.log(ratio) / power,
    tolerance=tolerance,
    max_sweeps=max_sweeps,
    worth=worth,
  )
  return linear_chains.StateValues(
    value=worth(found.value), residual=found.residual, sweeps=found.sweeps
  )


def decayed_max(
  graph: StateGraph,
  *,
  discount: chex.Numeric,
  success_value: chex.Numeric = 1.0,
  state_reward: chex.Array | None = None,
) -> chex.Array:
  """Greatest reward within reach, less by the discount at every step to it.

  V(s) = max(r(s), discount * max over the edges out of s of V(s'))

  Steps that stay where they are do not count.

  Args:
    graph: StateGraph with N nodes.
    discount: in [0, 1].
    success_value: r(SUCCESS).
    state_reward: float32 [N], r of the other states, at least 0; 0 without it.

  Returns:
    float32 [N], in the unit of `success_value`; exact, no sweep would change
    it. No gradient flows through it.

  Reference: arXiv 2603.18859 (RewardFlow).
  """
  num_nodes = graph.node_mask.shape[0]
  reward = _rewards(graph, state_reward, success_value)
  moves = graph.mask & (graph.source != graph.target)
  source = jnp.where(moves, graph.source, num_nodes)
  target = jnp.where(moves, graph.target, 0)

  def sweep(value):
    return value.at[source].max(discount * value[target], mode="drop")

  def rising(carry):
    _, changed, sweeps = carry
    # A greatest reward comes along a way of fewer edges than there are nodes.
    return changed & (sweeps < num_nodes)

  def again(carry):
    value, _, sweeps = carry
    higher = sweep(value)
    return higher, jnp.any(higher > value), sweeps + 1

  first = sweep(reward)
  value, _, _ = jax.lax.while_loop(
    rising, again, (first, jnp.any(first > reward), jnp.int32(1))
  )
  return jax.lax.stop_gradient(value)


def _rewards(graph, state_reward, success_value):
  """What each state is worth by itself, float32 [N]."""
  reward = jnp.zeros(graph.node_mask.shape, jnp.float32)
  if state_reward is not None:
    chex.assert_equal_shape([state_reward, reward])
    reward = jnp.where(graph.node_mask, state_reward, reward)
  reward = reward.at[graph_lib.SUCCESS].set(success_value)
  return jax.lax.stop_gradient(reward)


def _shares(graph, counted, weight):
  """Share of each edge among those out of its source, float32 [K]."""
  num_nodes = graph.node_mask.shape[0]
  weight = jnp.ones_like(graph.cost) if weight is None else weight
  weight = jnp.where(counted, weight, 0.0)
  number = jax.ops.segment_sum(
    weight, jnp.where(counted, graph.source, num_nodes), num_nodes
  )
  number = number[jnp.where(counted, graph.source, 0)]
  return jnp.where(weight > 0.0, weight / number, 0.0)


def _discounts(graph, discount, use_costs):
  """Factor of each edge, float32 [K] or []."""
  if not use_costs:
    return jnp.float32(discount)
  cost = jnp.where(graph.mask, graph.cost, 0.0)
  return jnp.power(jnp.float32(discount), cost)


def _times(power, exponent):
  """Power times an exponent of at most 0, which 0 stays for power inf, too."""
  below = exponent < 0.0
  return jnp.where(below, power * jnp.where(below, exponent, -1.0), 0.0)
