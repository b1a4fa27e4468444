import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.credit import distances, estimators, normalize
from graphgpo_jax.credit import graph as graph_lib
from tests import oracle
from tests.credit import chain_oracle, random_groups, transforms

NUM_ENTRIES = 48
NUM_NODES = 12
NUM_RANDOM = 100
CENTER = {"normalize": normalize.mean_only}
HALF = {"discount": 0.5}
CONFIGS = {
  "rewardflow": ("rewardflow", {}),
  "rewardflow, center": (
    "rewardflow",
    HALF | CENTER | {"success_reward": 4.0, "step_weight": 2.0},
  ),
  "graphhca": ("graphhca", {}),
  "graphhca, center": ("graphhca", HALF | CENTER | {"invalid_penalty": 0.0}),
  "graphhca, 2": ("graphhca", HALF | CENTER | {"power": 2.0, "floor": 0.1}),
  "graphhca, shortest": (
    "graphhca",
    HALF | CENTER | {"power": math.inf, "use_costs": True},
  ),
  "crbc": ("crbc", {}),
  "crbc, half": ("crbc", HALF | {"step_weight": 1.0}),
  "crbc, sample": (
    "crbc",
    {"fail_value": 0.0, "floor": 0.01, "sample_deviation": True},
  ),
  "crbc, no actions": ("crbc", HALF | {"fail_value": -0.5}),
  "graft": ("graft", {}),
  "graft, center": ("graft", HALF | CENTER | {"gae_lambda": 0.5}),
  "graft, own": ("graft", HALF | CENTER | {"gae_lambda": 0.0}),
  "graft, visits": (
    "graft",
    HALF
    | CENTER
    | {
      "visit_weighted_hops": True,
      "success_reward": 3.0,
      "fail_value": -1.0,
      "episode_weight": 0.5,
    },
  ),
}
CONFIGS = {
  name: (estimator, {"invalid_penalty": 0.25} | options)
  for name, (estimator, options) in CONFIGS.items()
}


def everything(steps, configs=tuple(CONFIGS)):
  found = {}
  for name in configs:
    estimator, options = CONFIGS[name]
    given = steps.replace(action=None) if name.endswith("actions") else steps
    found[name] = estimators.credit_group(
      given,
      estimators.ESTIMATORS[estimator],
      max_nodes=NUM_NODES,
      backup=distances.edge_distances,
      **options,
    )[0]
  return found


run_jitted = jax.jit(lambda batch: jax.lax.map(everything, batch))


def run(steps):
  return jax.tree.map(np.asarray, run_jitted(steps))


def lay_out(group, **options):
  """Steps of a group, and their actions: two, drawn for each rollout."""
  steps, places = random_groups.lay_out(group, NUM_ENTRIES, **options)
  action = np.full(NUM_ENTRIES, -7, np.int32)
  for place, chosen in zip(places, actions_of(group), strict=True):
    action[place] = chosen
  return steps.replace(action=action), places


def actions_of(group):
  return [
    np.random.default_rng([at, len(one["source"])]).integers(
      0, 2, len(one["source"])
    )
    for at, one in enumerate(group)
  ]


def hand_group():
  """States 1, 2, 3; one success in three rollouts.

  1 -> 2 -> SUCCESS; 1 -> 3 -> 3 and 1 -> 2, which both fail. Five steps, no
  action invalid.
  """
  return [
    random_groups.rollout([1, 2], [2, 0]),
    random_groups.rollout([1, 3], [3, 3]),
    random_groups.rollout([1], [2]),
  ]


def repeated_group():
  """1 -> 2 -> SUCCESS twice and once more from 4; one rollout fails at 1."""
  return [
    random_groups.rollout([1, 2], [2, 0]),
    random_groups.rollout([1, 2], [2, 0]),
    random_groups.rollout([4, 1, 2], [1, 2, 0]),
    random_groups.rollout([1], [3]),
  ]


SPECIAL = {
  "hand": hand_group(),
  "repeated": repeated_group(),
  "seven alike": [random_groups.rollout([1, 2, 3], [2, 3, 0])] * 7,
} | {
  name: group
  for name, group in random_groups.corner_groups().items()
  if group is not None
}


def all_groups():
  groups = [
    random_groups.random_group(seed, kind=("unit", "integer")[seed % 2])
    for seed in range(NUM_RANDOM)
  ]
  return groups + list(SPECIAL.values())


@pytest.fixture(scope="module")
def groups():
  return all_groups()


@pytest.fixture(scope="module")
def found(groups):
  """All configurations on all groups: compiled once for the whole module."""
  return run(random_groups.stack([lay_out(group)[0] for group in groups]))


def special(found, name):
  at = NUM_RANDOM + list(SPECIAL).index(name)
  return jax.tree.map(lambda leaf: leaf[at], found)


class Group:
  """A group's columns and what the four rules need of it, in float64."""

  def __init__(self, group, *, actions=True):
    self.columns = random_groups.table(group)
    self.source = self.columns["observation"]
    self.target = self.columns["next_observation"]
    self.edges = chain_oracle.edges_of(group)
    self.ended = chain_oracle.edges_of(group, fail_sink=True)
    self.action = self.target
    if actions:
      self.action = np.concatenate(actions_of(group)).tolist()
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


@pytest.mark.parametrize("name", CONFIGS)
def test_equal_the_oracle(name, groups, found):
  estimator, options = CONFIGS[name]
  options = dict(options)
  step_weight, episode_weight = WEIGHTS[estimator]
  step_weight = options.pop("step_weight", step_weight)
  episode_weight = options.pop("episode_weight", episode_weight)
  kind = "mean" if options.pop("normalize", None) else "mean_std"
  penalty = options.pop("invalid_penalty")
  if estimator != "crbc":
    options |= {"penalty": penalty, "kind": kind}
  for at, group in enumerate(groups):
    oracle_group = Group(group, actions=not name.endswith("actions"))
    signal, part = ORACLES[estimator](oracle_group, **options)
    number = len(signal)
    credit = jax.tree.map(lambda leaf, at=at: leaf[at], found[name])
    message = f"group {at}"
    np.testing.assert_allclose(
      credit.step_return[:number], signal, atol=1e-4, err_msg=message
    )
    np.testing.assert_allclose(
      credit.step_advantage[:number],
      part,
      rtol=1e-3,
      atol=2e-3,
      err_msg=message,
    )
    episode = oracle.assign_credit(
      oracle_group.columns,
      "grpo",
      normalization=kind,
      invalid_penalty=penalty,
    )["episode_advantage"]
    np.testing.assert_allclose(
      credit.advantage[:number],
      step_weight * credit.step_advantage[:number]
      + episode_weight * np.array(episode),
      rtol=1e-3,
      atol=1e-3,
      err_msg=message,
    )
    for leaf in jax.tree.leaves(credit):
      assert not leaf[number:].any()


def test_rewardflow_by_hand(found):
  """discount 1/2 from 4: V(2) = 2, V(1) = 1, V(3) = 0."""
  credit = special(found, "hand")["rewardflow, center"]
  assert credit.step_return[:5].tolist() == [1, 2, -1, 0, 1]
  np.testing.assert_allclose(
    credit.step_advantage[:5], [2 / 3, 0, -4 / 3, 0, 2 / 3], rtol=1e-5
  )


def test_graphhca_by_hand(found):
  """Phi(2) = 1/2, Phi(3) = 0 and Phi(1) = 1/2 (1/2 + 0 + 1/2) / 3 = 1/6."""
  credit = special(found, "hand")["graphhca, center"]
  three, half, lost = math.log(3), math.log(2), math.log(0.06)
  np.testing.assert_allclose(
    credit.step_return[:5], [three, half, lost, 0, three], rtol=1e-5
  )
  mean = (2 * three + lost) / 3
  np.testing.assert_allclose(
    credit.step_advantage[:5],
    [three - mean, 0, lost - mean, 0, three - mean],
    rtol=1e-4,
  )
  # Power 2: Phi(1)^2 = 1/4 (1/4 + 0 + 1/4) / 3 = 1/24; the floor is 1/10.
  credit = special(found, "hand")["graphhca, 2"]
  near, far = math.log(12) / 2 - math.log(math.sqrt(2)), math.log(0.01 * 24) / 2
  np.testing.assert_allclose(
    credit.step_return[:5], [near, half, far, 0, near], rtol=1e-5
  )
  # The shortest way: Phi(1) = 1/4.
  credit = special(found, "hand")["graphhca, shortest"]
  np.testing.assert_allclose(
    credit.step_return[:5], [half, half, math.log(0.04), 0, half], rtol=1e-5
  )


def test_crbc_by_hand(found):
  """FAIL is -1/2: V(2) = 1/2, V(3) = -1/4, V(1) = 1/2 (1/2 - 1/4 - 1/2) / 3.

  The steps 1 -> 2 of the first rollout and of the last, which fails there, are
  one action: its Q = 1/2 (1/2 - 1/2) / 2 = 0, that of 1 -> 3 is -1/8.
  """
  credit = special(found, "hand")["crbc, no actions"]
  np.testing.assert_allclose(
    credit.step_return[:5],
    [1 / 24, 0, -1 / 12, 0, 1 / 24],
    atol=1e-6,
  )
  # Their deviation, 0.059, is under the floor of 0.1.
  np.testing.assert_allclose(
    credit.step_advantage[:5], [5 / 12, 0, -5 / 6, 0, 5 / 12], rtol=1e-4
  )


def test_crbc_compares_actions():
  """One action led from 1 to 2 and to 3, another to 2: and one alone is 0."""
  group = [
    random_groups.rollout([1, 2], [2, 0]),
    random_groups.rollout([1, 2], [3, 0]),
    random_groups.rollout([1], [2]),
  ]
  steps, places = random_groups.lay_out(group, NUM_ENTRIES)
  action = np.zeros(NUM_ENTRIES, np.int32)
  action[places[2]] = 1

  @jax.jit
  def credit_of(action):
    return estimators.credit_group(
      steps.replace(action=action),
      estimators.crbc,
      max_nodes=NUM_NODES,
      discount=0.5,
      floor=1e-3,
    )[0]

  # V(2) = 1/2, V(3) = 0: the first action is worth 1/2 (1/2 + 0) / 2 = 1/8, the
  # second -1/2. Mean -1/12, deviations 5/24, 5/24, -5/12 over 0.2946.
  credit = credit_of(action)
  rows = np.concatenate(places)
  sigma = math.sqrt((2 * (5 / 24) ** 2 + (5 / 12) ** 2) / 3)
  np.testing.assert_allclose(
    credit.step_advantage[rows],
    np.array([5 / 24, 0, 5 / 24, 0, -5 / 12]) / sigma,
    rtol=1e-4,
  )
  assert not credit_of(np.zeros_like(action)).step_advantage.any()


def test_graft_by_hand(found):
  """discount 1/2: V(2) = 1/2, V(1) = 1/2 (3/2 + 0) / 4 = 3/16, V(4) = 3/32.

  TD errors 1/16 (1 -> 2), -3/16 (1 -> FAIL), 0 (2 and 4). Over distinct edges
  G(1) = (1/16 - 3/16) / 2 = -1/16, so 4 -> 1 gets 1/4 of that.
  """
  credit = special(found, "repeated")["graft, center"]
  rows = [1 / 16, 0, 1 / 16, 0, -1 / 64, 1 / 16, 0, -3 / 16]
  np.testing.assert_allclose(credit.step_return[:8], rows, atol=1e-6)
  np.testing.assert_allclose(
    credit.step_advantage[:8],
    [1 / 16, 0, 1 / 16, 0, 0, 1 / 16, 0, -3 / 16],
    atol=1e-6,
  )
  rows[4] = 0.0
  own = special(found, "repeated")["graft, own"]
  np.testing.assert_allclose(own.step_return[:8], rows, atol=1e-6)


@pytest.mark.parametrize("estimator", ["graphhca", "graft"])
def test_ties_by_rounding_earn_nothing(estimator):
  """1 leads to 2, 3, ..., 6, and they to 7, each as often as it is visited.

  (x + x + x) / 3 is not x in float32, but each is worth discount * V(7).
  """
  group = [random_groups.rollout([7], [8])] * 2
  for state, visits in ((2, 1), (3, 3), (4, 5), (5, 6), (6, 7)):
    one = random_groups.rollout([1, state, 7], [state, 7, 0])
    group += [one] * visits
  steps, _ = random_groups.lay_out(group, 128)
  credit, _, _ = jax.jit(
    functools.partial(
      estimators.credit_group,
      estimator=estimators.ESTIMATORS[estimator],
      max_nodes=NUM_NODES,
    )
  )(steps)
  at_one = steps.mask & (steps.source == 1)
  assert not credit.step_advantage[at_one].any()


def test_equal_steps_are_exactly_zero(found):
  for group in ("seven alike", "all succeed alike"):
    for name, credit in special(found, group).items():
      assert not credit.advantage.any(), (group, name)


def test_groups_without_success_have_no_progress(found):
  for name, credit in special(found, "no success").items():
    if not name.startswith(("crbc", "graft, visits")):
      assert not credit.advantage.any(), name


def test_finite_everywhere_and_nothing_from_padding(groups, found):
  corners, names = random_groups.corner_steps(NUM_ENTRIES)
  number = len(groups) - len(names)
  filler = random_groups.stack([lay_out(group)[0] for group in groups[:number]])
  steps = corners.replace(action=np.zeros_like(corners.source))
  after = run(jax.tree.map(lambda *x: np.concatenate(x), filler, steps))
  for leaf in jax.tree.leaves((found, after)):
    assert np.all(np.isfinite(leaf))
  for leaf in jax.tree.leaves(after):
    assert not leaf[number:][~steps.mask].any()
  at = number + names.index("nothing valid")
  for leaf in jax.tree.leaves(after):
    assert not leaf[at].any()


def test_independent_of_layout_and_numbering(groups, found):
  rng = np.random.default_rng(0)
  laid_out = []
  for group in groups:
    numbering = np.append(0, 1 + rng.permutation(NUM_NODES - 1))
    laid_out.append(
      lay_out(
        random_groups.renumber(group, numbering),
        order=rng.permutation(len(group)),
        rng=rng,
      )
    )
  after = run(random_groups.stack([steps for steps, _ in laid_out]))
  for at, (steps, places) in enumerate(laid_out):
    place = np.concatenate(places)
    for name in CONFIGS:
      for before, later in zip(
        jax.tree.leaves(found[name]), jax.tree.leaves(after[name]), strict=True
      ):
        np.testing.assert_allclose(
          later[at, place],
          before[at, : len(place)],
          rtol=2e-3,
          atol=2e-3,
          err_msg=f"group {at}, {name}",
        )
        assert not later[at, ~steps.mask].any()


FEW = ("graphhca", "crbc", "graft")


def few(steps):
  return everything(steps, configs=FEW)


def test_limits_leave_everything_finite():
  steps, _ = lay_out(repeated_group())

  @jax.jit
  def limited(steps):
    return [
      estimators.credit_group(
        steps, estimators.ESTIMATORS[name], max_nodes=3, max_edges=4
      )
      for name in ("rewardflow", *FEW)
    ]

  for credit, graph, _ in limited(steps):
    assert graph.overflow > 0
    for leaf in jax.tree.leaves(credit):
      assert np.all(np.isfinite(leaf))


def test_no_gradient():
  steps, _ = lay_out(hand_group())

  def total(cost, reward, episode_return, discount):
    found = [
      estimators.credit_group(
        steps.replace(cost=cost, reward=reward, episode_return=episode_return),
        estimators.ESTIMATORS[name],
        max_nodes=NUM_NODES,
        discount=discount,
      )[0]
      for name in FEW
    ]
    return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(found))

  gradients = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3)))(
    steps.cost, steps.reward, steps.episode_return, 0.9
  )
  assert not any(gradient.any() for gradient in gradients)


def eight():
  return random_groups.stack(
    [lay_out(random_groups.random_group(seed))[0] for seed in range(8)]
  )


@pytest.fixture(scope="module")
def expected():
  return transforms.reference(few, eight())


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform, expected):
  run = transforms.TRANSFORMS[transform](few)
  transforms.assert_same(run(eight()), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
class Variants(chex.TestCase):
  @transforms.variants
  def test_variants(self):
    one = jax.tree.map(lambda leaf: leaf[0], eight())
    transforms.assert_same(
      self.variant(few)(one), jax.jit(few)(one), rtol=1e-3, atol=1e-3
    )


def test_traced_once():
  transforms.assert_traced_once(few, (eight(),))
