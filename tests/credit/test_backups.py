import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.credit import backups, distances
from graphgpo_jax.credit import graph as graph_lib
from tests.credit import chain_oracle, random_groups, transforms

NUM_ENTRIES = 48
NUM_NODES = 12
NUM_RANDOM = 100
REWARD = np.arange(NUM_NODES + 1, dtype=np.float32) / 8 - 0.5
METHODS = ("linear", "compressed", "sweeps")
# Of `expected_values`, and whether the graph has the sink FAIL.
EXPECTED = {
  "plain": (False, {"discount": 0.95}),
  "costs": (False, {"discount": 0.95, "use_costs": True}),
  "failure": (
    True,
    {"discount": 0.98, "success_value": 2.0, "fail_value": -1.0},
  ),
  "rewards": (
    True,
    {"discount": 0.9, "success_value": 0.0, "fail_value": 0.0},
  ),
}
POWERS = (1.0, 2.0, 10.0, 1e4, np.inf)


def everything(steps):
  plain = graph_lib.build_graph(steps, max_nodes=NUM_NODES)
  ended = backups.with_fail_sink(steps, max_nodes=NUM_NODES)
  found = {}
  for name, (fail_sink, options) in EXPECTED.items():
    extra = {"state_reward": jnp.array(REWARD)} if name == "rewards" else {}
    for method in METHODS:
      found[f"{name}, {method}"] = backups.expected_values(
        ended if fail_sink else plain, method=method, **options, **extra
      )
  for costs in (False, True):
    found[f"power, {costs}"] = jax.vmap(
      lambda power, costs=costs: backups.power_mean_values(
        plain, discount=0.95, power=power, use_costs=costs
      )
    )(jnp.array(POWERS))
    cost = plain.cost if costs else jnp.where(plain.mask, 1.0, jnp.inf)
    found[f"distance, {costs}"] = distances.edge_distances(
      plain.replace(cost=cost)
    )
  found["maximum"] = backups.decayed_max(
    plain, discount=0.5, success_value=10.0
  )
  found["rewarded maximum"] = backups.decayed_max(
    plain, discount=0.9, state_reward=jnp.abs(REWARD[:NUM_NODES])
  )
  return found


run_jitted = jax.jit(lambda batch: jax.lax.map(everything, batch))


def run(steps):
  return jax.tree.map(np.asarray, run_jitted(steps))


def all_groups():
  corners = [group for group in random_groups.corner_groups().values() if group]
  # Costs below 1 bring no two values closer by the discount: bounds hold less.
  return [
    random_groups.random_group(seed, kind=("unit", "integer")[seed % 2])
    for seed in range(NUM_RANDOM)
  ] + corners


@pytest.fixture(scope="module")
def groups():
  return all_groups()


@pytest.fixture(scope="module")
def found(groups):
  return run(
    random_groups.stack(
      [random_groups.lay_out(group, NUM_ENTRIES)[0] for group in groups]
    )
  )


def oracle_options(name):
  fail_sink, options = EXPECTED[name]
  options = dict(options)
  names = (
    ("success_value", "success"),
    ("fail_value", "fail"),
    ("use_costs", "costs"),
  )
  for old, new in names:
    if old in options:
      options[new] = options.pop(old)
  if name == "rewards":
    options["reward"] = dict(enumerate(REWARD.tolist()))
  return fail_sink, options


def as_dict(values):
  return dict(enumerate(values.astype(np.float64))) | {
    chain_oracle.FAIL: float(values[-1])
  }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", EXPECTED)
def test_expected_values_equal_the_linear_solution(name, method, groups, found):
  fail_sink, options = oracle_options(name)
  for at, group in enumerate(groups):
    values = as_dict(found[f"{name}, {method}"].value[at])
    edges = chain_oracle.edges_of(group, fail_sink=fail_sink)
    expected = chain_oracle.expected(edges, **options)
    for node in expected:
      if node != chain_oracle.FAIL or fail_sink:
        assert abs(values[node] - expected[node]) < 3e-5, (at, node)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", EXPECTED)
def test_expected_values_are_a_fixed_point(name, method, groups, found):
  """|V - backup(V)| in float64, and as it is reported."""
  fail_sink, options = oracle_options(name)
  kept = {
    key: value
    for key, value in options.items()
    if key in ("discount", "costs", "reward")
  }
  for at, group in enumerate(groups):
    values = as_dict(found[f"{name}, {method}"].value[at])
    edges = chain_oracle.edges_of(group, fail_sink=fail_sink)
    scale = max(1.0, np.max(np.abs(found[f"{name}, {method}"].value[at])))
    assert chain_oracle.residual(edges, values, **kept) < 1e-6 * scale, at
    assert found[f"{name}, {method}"].residual[at] < 1e-6 * scale


def test_methods_agree(found):
  for name in EXPECTED:
    for method in METHODS[1:]:
      np.testing.assert_allclose(
        found[f"{name}, {method}"].value,
        found[f"{name}, linear"].value,
        rtol=2e-5,
        atol=2e-5,
      )


@pytest.mark.parametrize("costs", [False, True])
@pytest.mark.parametrize("at_power", range(3))
def test_power_means_are_a_fixed_point(at_power, costs, groups, found):
  power = POWERS[at_power]
  for at, group in enumerate(groups):
    values = as_dict(found[f"power, {costs}"].value[at, at_power])
    edges = chain_oracle.edges_of(group)
    residual = chain_oracle.residual(
      edges, values, discount=0.95, power=power, costs=costs
    )
    assert residual < 1e-6, at
    assert found[f"power, {costs}"].residual[at, at_power] < 1e-6


@pytest.mark.parametrize("costs", [False, True])
def test_limits_of_the_power_mean(costs, found):
  """From the expectation to the shortest way, and never down between."""
  values = found[f"power, {costs}"].value
  name = "costs" if costs else "plain"
  np.testing.assert_allclose(
    values[:, 0], found[f"{name}, linear"].value, atol=3e-5
  )
  np.testing.assert_allclose(
    values[:, -1],
    np.float32(0.95) ** found[f"distance, {costs}"],
    rtol=1e-6,
  )
  assert np.all(np.diff(values, axis=1) >= -1e-6)
  # 10^4 is so near to inf that both agree to float32's fourth digit.
  np.testing.assert_allclose(values[:, -2], values[:, -1], rtol=2e-3)


@pytest.mark.parametrize(
  ("name", "discount", "success"),
  [("maximum", 0.5, 10.0), ("rewarded maximum", 0.9, 1.0)],
)
def test_decayed_max_equals_the_oracle(name, discount, success, groups, found):
  reward = None
  if name == "rewarded maximum":
    reward = dict(enumerate(np.abs(REWARD).tolist()))
  for at, group in enumerate(groups):
    expected = chain_oracle.decayed_max(
      chain_oracle.edges_of(group),
      discount=np.float64(np.float32(discount)),
      success=success,
      reward=reward,
    )
    nodes = {int(end) for one in group for end in one["source"]}
    nodes |= {int(end) for one in group for end in one["target"]}
    for node in nodes:
      np.testing.assert_allclose(
        found[name][at, node], expected[node], rtol=1e-6, err_msg=f"{at}"
      )


def hand_graph():
  """1 -> 2 -> SUCCESS; 1 -> 3, where it stays; 1 -> 2 once more, and ends."""
  steps, _ = random_groups.lay_out(
    [
      random_groups.rollout([1, 2], [2, 0], cost=[2.0, 1.0]),
      random_groups.rollout([1, 3], [3, 3]),
      random_groups.rollout([1], [2], cost=[2.0]),
    ],
    NUM_ENTRIES,
  )
  return steps, graph_lib.build_graph(steps, max_nodes=4)


power_mean_values = jax.jit(
  backups.power_mean_values, static_argnames=("method", "use_costs")
)


@functools.partial(jax.jit, static_argnames="method")
def hand_values(steps, method):
  graph = graph_lib.build_graph(steps, max_nodes=4)
  value_of = functools.partial(
    backups.expected_values, discount=0.5, method=method
  )
  ended = backups.with_fail_sink(steps, max_nodes=4)
  third_twice = jnp.where(jnp.arange(NUM_ENTRIES) == 2, 2.0, 1.0)
  return (
    value_of(graph).value,
    value_of(graph, use_costs=True).value,
    value_of(graph, edge_weight=third_twice).value,
    value_of(ended, fail_value=-1.0).value,
    value_of(graph, state_reward=jnp.array([9.0, 1.0, 0.0, 3.0])).value,
  )


@pytest.mark.parametrize("method", METHODS)
def test_expected_values_by_hand(method):
  steps, _ = hand_graph()
  plain, costs, weighted, ended, rewarded = hand_values(steps, method)
  # V(2) = 1/2; V(3) = 1/2 V(3); V(1) = 1/2 (1/2 + 0 + 1/2) / 3.
  np.testing.assert_allclose(plain, [1, 1 / 6, 1 / 2, 0], atol=1e-6)
  # The edges 1 -> 2 at 1/4: V(1) = (1/8 + 0 + 1/8) / 3.
  np.testing.assert_allclose(costs, [1, 1 / 12, 1 / 2, 0], atol=1e-6)
  # The step 1 -> 3 counts twice: V(1) = 1/2 (1/2 + 0 + 0 + 1/2) / 4.
  np.testing.assert_allclose(weighted, [1, 1 / 8, 1 / 2, 0], atol=1e-6)
  # Third rollout 1 -> FAIL, second 3 -> FAIL: V(3) = -1/2 and
  # V(1) = 1/2 (1/2 - 1/2 - 1) / 3.
  np.testing.assert_allclose(ended, [1, -1 / 6, 1 / 2, -1 / 2, -1], atol=1e-6)
  # V(3) = 3 + 1/2 V(3) = 6; V(1) = 1 + 1/2 (1/2 + 6 + 1/2) / 3.
  np.testing.assert_allclose(rewarded, [1, 13 / 6, 1 / 2, 6], atol=1e-5)


def test_power_means_and_maximum_by_hand():
  _, graph = hand_graph()
  for power, value in (
    (1.0, 1 / 6),
    (2.0, 0.5 * np.sqrt(1 / 6)),
    (np.inf, 0.25),
  ):
    found = power_mean_values(graph, discount=0.5, power=power)
    np.testing.assert_allclose(found.value, [1, value, 1 / 2, 0], rtol=1e-6)
  costly = power_mean_values(graph, discount=0.5, power=np.inf, use_costs=True)
  np.testing.assert_allclose(costly.value, [1, 1 / 8, 1 / 2, 0], rtol=1e-6)
  found = backups.decayed_max(
    graph, discount=0.5, state_reward=jnp.array([0.0, 0.0, 0.0, 3.0])
  )
  assert found.tolist() == [1.0, 1.5, 0.5, 3.0]


def test_large_powers_neither_under_nor_overflow():
  """V(1) = .5^100; (V^50) would be 2^-5000."""
  length = 100
  line = np.arange(1, length + 1)
  steps, _ = random_groups.lay_out(
    [
      random_groups.rollout(line, np.append(line[1:], 0)),
      random_groups.rollout(line[:-1], line[1:]),
      random_groups.rollout(line[:1], line[:1]),
    ],
    256,
  )
  graph = graph_lib.build_graph(steps, max_nodes=128)
  for power in (1.0, 50.0, 1e6, np.inf):
    found = power_mean_values(graph, discount=0.5, power=power)
    level = np.log2(np.asarray(found.value)[1 : length + 1])
    # At 1 a third of the steps stays where it is.
    stays = 0.0 if np.isinf(power) else np.log2(2 / 3) / power
    np.testing.assert_allclose(level[1:], -(length + 1.0 - line[1:]), rtol=1e-5)
    assert -length + stays - 1e-3 < level[0] < -length + 1e-3


def test_with_fail_sink():
  steps, _ = hand_graph()
  ended = backups.with_fail_sink(steps, max_nodes=4)
  assert ended.source[:5].tolist() == [1, 2, 1, 3, 1]
  assert ended.target[:5].tolist() == [2, 0, 3, 4, 4]
  assert ended.node_mask.tolist() == [True] * 5
  # Past the limit of nodes: FAIL has no double there.
  ended = backups.with_fail_sink(steps, max_nodes=3)
  assert ended.mask[:5].tolist() == [True, True, False, False, True]
  assert ended.target[4] == 3


@pytest.mark.parametrize("method", METHODS)
def test_a_chain_that_is_never_left_is_worth_nothing_without_discount(method):
  """Discount 1: 1 and 2 lead to each other and to themselves, 3 succeeds."""
  steps, _ = random_groups.lay_out(
    [
      random_groups.rollout([1, 2, 1, 1, 2, 2], [2, 1, 1, 2, 2, 1]),
      random_groups.rollout([3, 3, 3], [3, 3, 0]),
    ],
    NUM_ENTRIES,
  )
  graph = graph_lib.build_graph(steps, max_nodes=4)
  found = backups.expected_values(graph, discount=1.0, method=method)
  np.testing.assert_allclose(found.value, [1, 0, 0, 1], atol=2e-5)


def test_finite_everywhere_and_nothing_from_padding(groups, found):
  corners, names = random_groups.corner_steps(NUM_ENTRIES)
  number = len(groups) - len(names)
  filler = random_groups.batch(range(number), NUM_ENTRIES)[0]
  after = run(jax.tree.map(lambda *x: np.concatenate(x), filler, corners))
  for key, leaf in jax.tree.leaves_with_path((found, after)):
    if "distance" not in str(key):
      assert np.all(np.isfinite(leaf)), key
  at = number + names.index("nothing valid")
  assert not after["plain, linear"].value[at, 1:].any()
  assert not after["power, False"].value[at, :, 1:].any()
  assert not after["maximum"][at, 1:].any()


def test_independent_of_layout_and_numbering(groups, found):
  rng = np.random.default_rng(0)
  numberings, laid_out = [], []
  for group in groups:
    numberings.append(np.append(0, 1 + rng.permutation(NUM_NODES - 1)))
    laid_out.append(
      random_groups.lay_out(
        random_groups.renumber(group, numberings[-1]),
        NUM_ENTRIES,
        order=rng.permutation(len(group)),
        rng=rng,
      )[0]
    )
  after = run(random_groups.stack(laid_out))
  for at, numbering in enumerate(numberings):
    for name in after:
      # Rewards belong to the numbers.
      if name.startswith(("plain", "costs", "failure")):
        np.testing.assert_allclose(
          after[name].value[at, numbering],
          found[name].value[at, :NUM_NODES],
          atol=2e-5,
        )
    for costs in (False, True):
      np.testing.assert_allclose(
        after[f"power, {costs}"].value[at][:, numbering],
        found[f"power, {costs}"].value[at],
        atol=2e-5,
      )
    assert np.array_equal(after["maximum"][at, numbering], found["maximum"][at])


def test_unknown_methods_are_refused():
  _, graph = hand_graph()
  with pytest.raises(ValueError, match="linear, compressed, sweeps, got 'lu'"):
    backups.expected_values(graph, discount=0.5, method="lu")


def test_no_gradient():
  steps, _ = hand_graph()

  def total(cost, discount):
    graph = graph_lib.build_graph(steps.replace(cost=cost), max_nodes=4)
    found = (
      backups.expected_values(graph, discount=discount, use_costs=True),
      backups.expected_values(graph, discount=discount, method="compressed"),
      backups.power_mean_values(graph, discount=discount, use_costs=True),
      backups.decayed_max(graph, discount=discount),
    )
    return sum(
      jnp.sum(leaf)
      for leaf in jax.tree.leaves(found)
      if jnp.issubdtype(leaf.dtype, jnp.floating)
    )

  gradients = jax.jit(jax.grad(total, argnums=(0, 1)))(
    jnp.asarray(steps.cost), 0.9
  )
  assert not any(gradient.any() for gradient in gradients)


def few(steps):
  """One of each kind: enough to see a transform fail."""
  graph = graph_lib.build_graph(steps, max_nodes=NUM_NODES)
  ended = backups.with_fail_sink(steps, max_nodes=NUM_NODES)
  return (
    backups.expected_values(graph, discount=0.95).value,
    backups.expected_values(
      ended, discount=0.95, fail_value=-1.0, method="compressed"
    ).value,
    backups.power_mean_values(graph, discount=0.95, power=3.0).value,
    backups.decayed_max(graph, discount=0.9),
  )


def eight():
  return random_groups.batch(range(8), NUM_ENTRIES)[0]


@pytest.fixture(scope="module")
def expected():
  return transforms.reference(few, eight())


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform, expected):
  run = transforms.TRANSFORMS[transform](few)
  transforms.assert_same(run(eight()), expected, atol=1e-5)


@pytest.mark.slow
class Variants(chex.TestCase):
  @transforms.variants
  def test_variants(self):
    one = jax.tree.map(lambda leaf: leaf[0], eight())
    transforms.assert_same(self.variant(few)(one), jax.jit(few)(one), atol=1e-5)


def test_traced_once():
  transforms.assert_traced_once(few, (eight(),))
