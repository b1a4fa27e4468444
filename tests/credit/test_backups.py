import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.credit import backups, distances
from graphgpo_jax.credit import graph as graph_lib
from tests.credit import chain_oracle, random_groups, rules, transforms

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


run = transforms.over_groups(everything)


def lay_out(group, **options):
  return random_groups.lay_out(group, NUM_ENTRIES, **options)


@pytest.fixture(scope="module")
def groups():
  # Costs below 1 bring no two values closer by the discount: bounds hold less.
  return [
    random_groups.random_group(seed, kind=("unit", "integer")[seed % 2])
    for seed in range(NUM_RANDOM)
  ] + list(random_groups.corner_groups_with_steps().values())


@pytest.fixture(scope="module")
def found(groups):
  return run(random_groups.stack([lay_out(group)[0] for group in groups]))


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


def test_finite_everywhere_and_nothing_from_padding(groups, found):
  steps, _ = random_groups.batch(range(len(groups)), NUM_ENTRIES)
  steps, at = rules.with_corners(steps)
  after = run(steps)
  for key, leaf in jax.tree.leaves_with_path((found, after)):
    if "distance" not in str(key):
      assert np.all(np.isfinite(leaf)), key
  assert not after["plain, linear"].value[at, 1:].any()
  assert not after["power, False"].value[at, :, 1:].any()
  assert not after["maximum"][at, 1:].any()


def test_independent_of_layout_and_numbering(groups, found):
  steps, _, numberings = rules.relaid(groups, lay_out, num_nodes=NUM_NODES)
  after = run(steps)
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
