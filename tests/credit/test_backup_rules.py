import chex
import jax.numpy as jnp
import pytest

from graphgpo_jax.credit import backups
from graphgpo_jax.credit import graph as graph_lib
from tests.credit import hand_groups, random_groups, rules, transforms

NUM_ENTRIES = 48
NUM_NODES = 12


def test_no_gradient():
  group = hand_groups.one_success_of_three(costs=([2.0, 1.0], None, [2.0]))
  steps, _ = random_groups.lay_out(group, NUM_ENTRIES)

  def values_of(cost, discount):
    graph = graph_lib.build_graph(steps.replace(cost=cost), max_nodes=4)
    return (
      backups.expected_values(graph, discount=discount, use_costs=True),
      backups.expected_values(graph, discount=discount, method="compressed"),
      backups.power_mean_values(graph, discount=discount, use_costs=True),
      backups.decayed_max(graph, discount=discount),
    )

  rules.assert_no_gradient(values_of, jnp.asarray(steps.cost), 0.9)


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
  return random_groups.batch(range(transforms.NUM_DEVICES), NUM_ENTRIES)[:1]


@pytest.fixture(scope="module")
def expected():
  return transforms.reference(few, *eight())


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform, expected):
  rules.assert_same_under(transform, few, eight(), expected, atol=1e-5)


@pytest.mark.slow
class Variants(chex.TestCase):
  @transforms.variants
  def test_variants(self):
    rules.assert_same_as_jitted(self.variant, few, eight(), atol=1e-5)


def test_traced_once():
  transforms.assert_traced_once(few, eight())
