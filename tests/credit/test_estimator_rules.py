import chex
import pytest

from graphgpo_jax.credit import distances, estimators, normalize
from tests.credit import hand_groups, random_groups, rules, transforms

NUM_ENTRIES = 48
NUM_NODES = 12
CENTER = {"normalize": normalize.mean_only, "invalid_penalty": 0.0}
# One configuration of each kind: enough to see a transform fail.
CONFIGS = {
  "graphgpo": CENTER
  | {"omega": 0.5, "scale_free": True, "add_step_cost": True},
  "gigpo": {"discount": 0.5, "invalid_penalty": 0.5},
  "rloo": {"invalid_penalty": 0.5, "episode_weight": 2.0},
}


def few(steps):
  return {
    name: estimators.credit_group(
      steps,
      estimators.ESTIMATORS[name],
      max_nodes=NUM_NODES,
      backup=distances.edge_distances,
      **options,
    )
    for name, options in CONFIGS.items()
  }


def test_no_gradient():
  group = hand_groups.one_success_at_costs()
  steps, _ = random_groups.lay_out(group, NUM_ENTRIES)

  def credit_of(cost, reward, episode_return):
    given = steps.replace(
      cost=cost, reward=reward, episode_return=episode_return
    )
    return [credit for credit, _, _ in few(given).values()]

  rules.assert_no_gradient(
    credit_of, steps.cost, steps.reward, steps.episode_return
  )


def eight():
  return random_groups.batch(range(transforms.NUM_DEVICES), NUM_ENTRIES)[:1]


@pytest.fixture(scope="module")
def expected():
  return transforms.reference(few, *eight())


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform, expected):
  rules.assert_same_under(
    transform, few, eight(), expected, rtol=1e-4, atol=1e-4
  )


@pytest.mark.slow
class Variants(chex.TestCase):
  @transforms.variants
  def test_variants(self):
    rules.assert_same_as_jitted(
      self.variant, few, eight(), rtol=1e-4, atol=1e-4
    )


def test_traced_once():
  transforms.assert_traced_once(few, eight())
