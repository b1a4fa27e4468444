import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.credit import distances, estimators, normalize
from graphgpo_jax.credit import graph as graph_lib
from tests import oracle
from tests.credit import random_groups, transforms

NUM_ENTRIES = 48
NUM_NODES = 12
FIELDS = (
  "distance",
  "next_distance",
  "step_return",
  "step_advantage",
  "episode_advantage",
  "advantage",
)

# Half as discount and as omega: sums and powers the oracle can repeat exactly.
HALF = {"omega": 0.5}
CENTER = {"normalize": normalize.mean_only}
CONFIGS = {
  "default": ("graphgpo", {}),
  "half": ("graphgpo", HALF),
  "center": ("graphgpo", HALF | CENTER),
  "cost": ("graphgpo", HALF | CENTER | {"add_step_cost": True}),
  "relative": ("graphgpo", HALF | CENTER | {"normalize_distance": True}),
  "relative, cost": (
    "graphgpo",
    HALF | CENTER | {"normalize_distance": True, "add_step_cost": True},
  ),
  "scale free": ("graphgpo", HALF | CENTER | {"scale_free": True}),
  "scale free, cost": (
    "graphgpo",
    HALF | CENTER | {"scale_free": True, "add_step_cost": True},
  ),
  "edges": ("graphgpo", HALF | {"distinct_edges": True}),
  "rollouts": ("graphgpo", HALF | {"per_rollout": True}),
  "margin": ("graphgpo", HALF | {"unreachable_margin": 2.0}),
  "penalty": ("graphgpo", HALF | CENTER | {"invalid_penalty": 0.5}),
  "penalty, success": (
    "graphgpo",
    HALF | CENTER | {"invalid_penalty": 0.5, "penalty_only_with_success": True},
  ),
  "weights": (
    "graphgpo",
    HALF
    | CENTER
    | {"success_reward": 4.0, "step_weight": 2.0, "episode_weight": 0.5},
  ),
  "gigpo": ("gigpo", {"discount": 0.5, "invalid_penalty": 0.5}),
  "gigpo, center": ("gigpo", CENTER | {"discount": 0.5}),
  "gigpo, rollouts": (
    "gigpo",
    {"discount": 0.5, "per_rollout": True, "step_weight": 0.5},
  ),
  "grpo": ("grpo", {"invalid_penalty": 0.5}),
  "grpo, rollouts": ("grpo", CENTER | {"per_rollout": True}),
  "rloo": ("rloo", {"invalid_penalty": 0.5, "episode_weight": 2.0}),
}

# A penalty only where a configuration names one, whatever the defaults are.
CONFIGS = {
  name: (estimator, {"invalid_penalty": 0.0} | options)
  for name, (estimator, options) in CONFIGS.items()
}


def everything(steps):
  found = {
    name: estimators.credit_group(
      steps,
      estimators.ESTIMATORS[estimator],
      max_nodes=NUM_NODES,
      backup=distances.edge_distances,
      **options,
    )[0]
    for name, (estimator, options) in CONFIGS.items()
  }
  distance = distances.edge_distances(
    graph_lib.build_graph(steps, max_nodes=NUM_NODES)
  )
  here, there = estimators.step_distances(
    steps, distance, unreachable_margin=2.0
  )
  alone = estimators.episode_advantage(steps, jnp.zeros_like(steps.reward))
  return found, {"here": here, "there": there, "episode": alone}


run_jitted = jax.jit(lambda batch: jax.lax.map(everything, batch))


def run(steps):
  return jax.tree.map(np.asarray, run_jitted(steps))


def hand_group():
  """States 1, 2, 3; d(2) = 1, d(1) = 2, and 3 is unreachable: 2 + 1.

  1 -> 2 -> SUCCESS at costs 1, 1, return 10; 1 -> 3 -> 3 at costs 2, 1, the
  second action invalid, return 0; 1 -> 2 at cost 3, return 0.
  """
  return [
    random_groups.rollout([1, 2], [2, 0]),
    random_groups.rollout([1, 3], [3, 3], cost=[2.0, 1.0], invalid=[1]),
    random_groups.rollout([1], [2], cost=[3.0]),
  ]


def failed_group():
  """No success; one of two steps from the same state was invalid."""
  return [
    random_groups.rollout([1], [1], invalid=[0]),
    random_groups.rollout([1], [2]),
  ]


SPECIAL = {
  "hand": hand_group(),
  "failed": failed_group(),
  "seven alike": [random_groups.rollout([1, 2, 3], [2, 3, 0])] * 7,
} | {
  name: group
  for name, group in random_groups.corner_groups().items()
  if group is not None
}
NUM_RANDOM = 150


def all_groups():
  groups = [random_groups.random_group(seed) for seed in range(NUM_RANDOM)]
  return groups + list(SPECIAL.values())


@pytest.fixture(scope="module")
def groups():
  return all_groups()


@pytest.fixture(scope="module")
def found(groups):
  """All configurations on all groups: compiled once for the whole module."""
  return run(
    random_groups.stack(
      [random_groups.lay_out(group, NUM_ENTRIES)[0] for group in groups]
    )
  )


def special(found, name):
  """Results of one special group."""
  at = NUM_RANDOM + list(SPECIAL).index(name)
  return jax.tree.map(lambda leaf: leaf[at], found[0])


@pytest.mark.parametrize("name", CONFIGS)
def test_equal_the_oracle(name, groups, found):
  estimator, options = CONFIGS[name]
  options = dict(options)
  if options.pop("normalize", None) is not None:
    options["normalization"] = "mean"
  for at, group in enumerate(groups):
    columns = random_groups.table(group)
    expected = oracle.assign_credit(columns, estimator, **options)
    number = len(columns["t"])
    for field in FIELDS:
      actual = found[0][name][field][at]
      np.testing.assert_allclose(
        actual[:number],
        expected[field],
        rtol=1e-4,
        atol=1e-3,
        err_msg=f"group {at}, {field}",
      )
      assert not actual[number:].any(), f"group {at}, {field}: padding"


def test_step_distances_and_episode_advantage(groups, found):
  for at, group in enumerate(groups):
    columns = random_groups.table(group)
    expected = oracle.assign_credit(
      columns, unreachable_margin=2.0, invalid_penalty=0.0
    )
    number = len(columns["t"])
    for name, field in (
      ("here", "distance"),
      ("there", "next_distance"),
      ("episode", "episode_advantage"),
    ):
      np.testing.assert_allclose(
        found[1][name][at, :number], expected[field], rtol=1e-4, atol=1e-4
      )
      assert not found[1][name][at, number:].any()


# name: (what, values of the five steps of the hand group)
HAND = {
  "half": (
    ("distance", [2, 1, 2, 3, 2]),
    ("next_distance", [1, 0, 3, 3, 1]),
    ("step_return", [5, 10, 1.25, 1.25, 5]),
    # Mean 3.75, squares 1.5625 + 6.25 + 1.5625 over 2.
    ("step_advantage", [0.5773503, 0, -1.1547005, 0, 0.5773503]),
    # 10, 10, 0, 0, 0: mean 4, squares 120 over 4.
    (
      "episode_advantage",
      [1.0954451, 1.0954451, -0.7302967, -0.7302967, -0.7302967],
    ),
  ),
  "center": (
    ("step_advantage", [1.25, 0, -2.5, 0, 1.25]),
    ("episode_advantage", [6, 6, -4, -4, -4]),
    ("advantage", [7.25, 6, -6.5, -4, -2.75]),
  ),
  # Exponents 2, 1, 5, 4, 4.
  "cost": (
    ("step_return", [2.5, 5, 0.3125, 0.625, 0.625]),
    ("step_advantage", [1.3541667, 0, -0.8333333, 0, -0.5208333]),
  ),
  # Exponents 0, 0, 3, 1, 2, with the step's cost or without.
  "relative": (
    ("step_return", [10, 10, 1.25, 5, 2.5]),
    ("step_advantage", [5.4166667, 0, -3.3333333, 0, -2.0833333]),
  ),
  "relative, cost": (
    ("step_return", [10, 10, 1.25, 5, 2.5]),
    ("step_advantage", [5.4166667, 0, -3.3333333, 0, -2.0833333]),
  ),
  # State 1: exponents 1, 3, 1 less 1.
  "scale free": (
    ("step_return", [5, 10, 1.25, 1.25, 5]),
    ("step_advantage", [2.5, 0, -5, 0, 2.5]),
  ),
  # State 1: exponents 2, 5, 4 less 2: 10, 1.25, 2.5.
  "scale free, cost": (
    ("step_return", [2.5, 5, 0.3125, 0.625, 0.625]),
    ("step_advantage", [5.4166667, 0, -3.3333333, 0, -2.0833333]),
  ),
  # Distinct edges of state 1: 5 and 1.25.
  "edges": (("step_advantage", [0.7071068, 0, -0.7071068, 0, 0.7071068]),),
  # Returns 10, 0, 0: mean 10/3, squares 200/3 over 2.
  "rollouts": (
    (
      "episode_advantage",
      [1.1547005, 1.1547005, -0.5773503, -0.5773503, -0.5773503],
    ),
  ),
  "margin": (
    ("distance", [2, 1, 2, 4, 2]),
    ("next_distance", [1, 0, 4, 4, 1]),
    ("step_return", [5, 10, 0.625, 0.625, 5]),
  ),
  # Scores 10, 10, 0, -.5, 0: mean 3.9.
  "penalty": (
    ("step_return", [5, 10, 1.25, 0.75, 5]),
    ("episode_advantage", [6.1, 6.1, -3.9, -4.4, -3.9]),
  ),
  "penalty, success": (
    ("step_return", [5, 10, 1.25, 0.75, 5]),
    ("episode_advantage", [6.1, 6.1, -3.9, -4.4, -3.9]),
  ),
  "weights": (
    ("step_return", [2, 4, 0.5, 0.5, 2]),
    ("step_advantage", [0.5, 0, -1, 0, 0.5]),
    ("advantage", [4, 3, -4, -2, -1]),
  ),
  "gigpo, center": (
    ("step_return", [5, 10, 0, 0, 0]),
    ("step_advantage", [3.3333333, 0, -1.6666667, 0, -1.6666667]),
    ("episode_advantage", [6, 6, -4, -4, -4]),
  ),
  "grpo, rollouts": (
    ("advantage", [6.6666667] * 2 + [-3.3333333] * 3),
    ("step_return", [0] * 5),
    ("step_advantage", [0] * 5),
  ),
  # The others' means: 0, 5, 5.
  "rloo": (
    ("episode_advantage", [10, 10, -5, -5.5, -5]),
    ("advantage", [20, 20, -10, -11, -10]),
  ),
}


@pytest.mark.parametrize("name", HAND)
def test_small_case(name, found):
  credit = special(found, "hand")[name]
  for field, values in HAND[name]:
    np.testing.assert_allclose(
      credit[field][:5], values, rtol=1e-5, atol=1e-6, err_msg=field
    )


def test_penalty_in_a_group_without_success(found):
  credit = special(found, "failed")
  # All distances are 1: returns 5 less the penalty.
  assert credit["penalty"].step_return[:2].tolist() == [4.5, 5.0]
  assert credit["penalty"].advantage[:2].tolist() == [-0.5, 0.5]
  assert credit["penalty, success"].step_return[:2].tolist() == [5.0, 5.0]
  assert not credit["penalty, success"].advantage.any()


def test_finite_everywhere(found):
  for leaf in jax.tree.leaves(found):
    assert np.all(np.isfinite(leaf))


def test_equal_steps_are_exactly_zero(found):
  for group in ("seven alike", "all succeed alike", "no success"):
    for name, credit in special(found, group).items():
      assert not credit.advantage.any(), (group, name)


def test_single_steps_are_exactly_zero(found):
  for group in ("one step", "one step, no success", "one rollout"):
    for name, credit in special(found, group).items():
      assert not credit.step_advantage.any(), (group, name)
  # The recipe: a task of one step in all has mean 0 and deviation 1.
  credit = special(found, "one step")
  np.testing.assert_allclose(
    credit["default"].episode_advantage[0], 10.0, rtol=1e-5
  )
  assert credit["rollouts"].episode_advantage[0] == 0.0
  assert credit["rloo"].episode_advantage[0] == 0.0


def test_nothing_valid_and_garbage_in_padding(groups, found):
  corners, names = random_groups.corner_steps(NUM_ENTRIES)
  number = len(groups) - len(names)
  filler = random_groups.batch(range(number), NUM_ENTRIES)[0]
  steps = jax.tree.map(lambda *x: np.concatenate(x), filler, corners)
  after = run(steps)
  for leaf in jax.tree.leaves(after):
    assert np.all(np.isfinite(leaf))
    assert not leaf[~steps.mask].any()
  at = number + names.index("nothing valid")
  for leaf in jax.tree.leaves(after):
    assert not leaf[at].any()


def relaid(groups, rng):
  """The groups with other node ids, rollout orders and padding."""
  laid_out = []
  for group in groups:
    numbering = np.append(0, 1 + rng.permutation(NUM_NODES - 1))
    laid_out.append(
      random_groups.lay_out(
        random_groups.renumber(group, numbering),
        NUM_ENTRIES,
        order=rng.permutation(len(group)),
        rng=rng,
      )
    )
  return laid_out


def test_independent_of_layout_and_numbering(groups, found):
  laid_out = relaid(groups, np.random.default_rng(0))
  after = run(random_groups.stack([steps for steps, _ in laid_out]))
  for at, (steps, places) in enumerate(laid_out):
    place = np.concatenate(places)
    for name in CONFIGS:
      for field in FIELDS:
        np.testing.assert_allclose(
          after[0][name][field][at, place],
          found[0][name][field][at, : len(place)],
          rtol=1e-4,
          atol=1e-4,
          err_msg=f"group {at}, {name}, {field}",
        )
        assert not after[0][name][field][at, ~steps.mask].any()


@functools.partial(jax.jit, static_argnames=("estimator", "options"))
def jitted_credit(steps, estimator, options):
  return estimators.credit_group(
    steps,
    estimator,
    max_nodes=NUM_NODES,
    backup=distances.edge_distances,
    **dict(options),
  )[0]


def credit_of(group, estimator, order=None, **options):
  """Credit of a group, in the order its rollouts have in `group`."""
  steps, places = random_groups.lay_out(group, NUM_ENTRIES, order=order)
  credit = jitted_credit(steps, estimator, tuple(options.items()))
  place = np.concatenate(places)
  return jax.tree.map(lambda leaf: np.asarray(leaf)[place], credit)


@pytest.mark.parametrize("discount", [0.95, 0.9])
def test_equal_rollouts_earn_nothing_whatever_their_length(discount):
  """Six times the same seven steps: every comparison is among equals."""
  states = np.arange(1, 8)
  group = [random_groups.rollout(states, np.append(states[1:], 0))] * 6
  credit = credit_of(group, estimators.gigpo, discount=discount)
  assert not credit.step_advantage.any(), np.abs(credit.step_advantage).max()


@pytest.mark.parametrize("estimator", ["graphgpo", "gigpo"])
def test_distinct_edges_do_not_depend_on_the_order_of_rollouts(estimator):
  """Parallel edges of unequal worth: which one stands for the edge?"""
  group = [
    random_groups.rollout([1, 2], [2, 0]),
    random_groups.rollout([1, 2], [2, 2], invalid=[0]),
    random_groups.rollout([1], [3]),
  ]
  options = {"distinct_edges": True, "invalid_penalty": 0.5}
  function = estimators.ESTIMATORS[estimator]
  first = credit_of(group, function, **options)
  second = credit_of(group, function, order=[1, 0, 2], **options)
  np.testing.assert_allclose(
    second.step_advantage, first.step_advantage, atol=1e-4
  )


def test_dear_steps_stay_finite():
  """omega ** (d' - d + 1) with a cost of 50 would be no float32: 10 ** 49."""
  group = [
    random_groups.rollout([1], [0], cost=[50.0]),
    random_groups.rollout([1], [2]),
  ]
  credit = credit_of(group, estimators.graphgpo, normalize_distance=True)
  for leaf in jax.tree.leaves(credit):
    assert np.all(np.isfinite(leaf))


@pytest.mark.parametrize("limits", [{"max_edges": 4}, {"max_nodes": 3}])
def test_limits_are_reported_and_leave_everything_finite(limits):
  steps, _ = random_groups.lay_out(hand_group(), NUM_ENTRIES)
  credit, graph, distance = jax.jit(
    lambda steps: estimators.credit_group(
      steps,
      estimators.graphgpo,
      backup=distances.edge_distances,
      scale_free=True,
      **({"max_nodes": NUM_NODES} | limits),
    )
  )(steps)
  assert graph.overflow > 0
  assert graph.overflow + graph.mask.sum() == steps.mask.sum()
  assert distance.shape == graph.node_mask.shape
  for leaf in jax.tree.leaves(credit):
    assert np.all(np.isfinite(leaf))


def test_a_state_without_an_id_is_compared_with_nothing():
  """Node 3 is past the limit: unreachable, and no state of its own."""
  steps, _ = random_groups.lay_out(
    [
      random_groups.rollout([1, 3], [3, 0]),
      random_groups.rollout([1, 3], [0, 3]),
    ],
    NUM_ENTRIES,
  )
  credit, graph, _ = estimators.credit_group(
    steps, max_nodes=3, normalize=normalize.mean_only, omega=0.5
  )
  assert graph.overflow == 3
  assert credit.distance[:4].tolist() == [1, 2, 1, 2]
  assert credit.next_distance[:4].tolist() == [2, 0, 0, 2]
  assert credit.step_advantage[:4].tolist() == [-3.75, 0, 3.75, 0]


def test_credit_group_takes_any_backup():
  """The estimator sees the distances that the backup gives."""
  steps, _ = random_groups.lay_out(hand_group(), NUM_ENTRIES)
  credit, graph, distance = estimators.credit_group(
    steps,
    max_nodes=4,
    backup=lambda graph: jnp.arange(4.0) * graph.node_mask,
  )
  assert distance.tolist() == [0, 1, 2, 3]
  assert credit.distance[:5].tolist() == [1, 2, 1, 3, 1]
  assert graph.num_nodes == 4


def test_estimators_have_their_names():
  for name, function in estimators.ESTIMATORS.items():
    assert function.__name__ == name
    assert getattr(estimators, name) is function
  assert set(estimators.ESTIMATORS) >= estimators.READS_ACTIONS


def few(steps):
  """One configuration of each estimator: enough to see a transform fail."""
  return {
    name: estimators.credit_group(
      steps,
      estimators.ESTIMATORS[CONFIGS[name][0]],
      max_nodes=NUM_NODES,
      backup=distances.edge_distances,
      **CONFIGS[name][1],
    )
    for name in ("scale free, cost", "gigpo", "rloo")
  }


def test_no_gradient():
  steps, _ = random_groups.lay_out(hand_group(), NUM_ENTRIES)

  def total(cost, reward, episode_return):
    found = few(
      steps.replace(cost=cost, reward=reward, episode_return=episode_return)
    )
    return sum(
      jnp.sum(leaf)
      for credit, _, _ in found.values()
      for leaf in jax.tree.leaves(credit)
    )

  gradients = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(
    steps.cost, steps.reward, steps.episode_return
  )
  for gradient in gradients:
    assert not gradient.any()


def eight():
  return random_groups.batch(range(8), NUM_ENTRIES)[0]


@pytest.fixture(scope="module")
def expected():
  return transforms.reference(few, eight())


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform, expected):
  run = transforms.TRANSFORMS[transform](few)
  transforms.assert_same(run(eight()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
class Variants(chex.TestCase):
  @transforms.variants
  def test_variants(self):
    one = jax.tree.map(lambda leaf: leaf[0], eight())
    transforms.assert_same(
      self.variant(few)(one), jax.jit(few)(one), rtol=1e-4, atol=1e-4
    )


def test_traced_once():
  transforms.assert_traced_once(few, (eight(),))
