import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.credit import normalize
from tests import oracle
from tests.credit import rules, transforms

NUM_ENTRIES = 24
NUM_SEGMENTS = 5
KINDS = {
  "mean_std": (normalize.mean_std, {}),
  "mean_std, ddof=0": (normalize.mean_std, {"ddof": 0}),
  "mean_std, epsilon=.5": (normalize.mean_std, {"epsilon": 0.5}),
  "mean_std, single": (normalize.mean_std, {"center_singletons": False}),
  "fixed_floor": (normalize.fixed_floor, {}),
  "fixed_floor, ddof=1": (normalize.fixed_floor, {"ddof": 1, "floor": 2.0}),
  "fixed_floor, single": (
    normalize.fixed_floor,
    {"floor": 3.0, "center_singletons": False},
  ),
  "mean_only": (normalize.mean_only, {}),
  "mean_only, single": (normalize.mean_only, {"center_singletons": False}),
}


def everything(values, segment, mask, counted):
  found = {
    name: function(
      values, segment, mask, counted, num_segments=NUM_SEGMENTS, **options
    )
    for name, (function, options) in KINDS.items()
  }
  return found | {
    "leave_one_out": normalize.leave_one_out(values, mask, counted)
  }


run = jax.jit(jax.vmap(everything))


def arguments(number, seed=0):
  """Values, segments (some of none), masks, and what is counted of those."""
  rng = np.random.default_rng(seed)
  shape = (number, NUM_ENTRIES)
  values = rng.choice([-2.0, 0.0, 0.1, 1.0, 10.0], shape)
  values += rng.normal(size=shape) * rng.choice([0.0, 1.0], (number, 1))
  segment = rng.integers(-1, NUM_SEGMENTS + 1, shape)
  mask = rng.random(shape) < rng.choice([0.0, 0.3, 0.9], (number, 1))
  counted = mask & (rng.random(shape) < rng.choice([0.5, 1.0], (number, 1)))
  values = np.where(mask, values, rng.choice([np.nan, np.inf, 5.0], shape))
  return values.astype(np.float32), segment.astype(np.int32), mask, counted


def floor_oracle(values, rest, *, floor=0.1, ddof=0, center_singletons=True):
  if len(rest) == 1:
    return values * 0.0 if center_singletons else values / max(floor, 1.0)
  if len(rest) == 0 or rest.max() == rest.min():
    return values * 0.0
  return (values - rest.mean()) / max(rest.std(ddof=ddof), floor)


def segment_oracle(values, segment, mask, counted, name):
  function, options = KINDS[name]
  expected = np.zeros(len(values))
  for place in range(NUM_SEGMENTS):
    inside = mask & (segment == place)
    if function is normalize.fixed_floor:
      expected[inside] = floor_oracle(
        values[inside].astype(np.float64),
        values[inside & counted].astype(np.float64),
        **options,
      )
      continue
    expected[inside] = oracle.normalize(
      values[inside].tolist(),
      values[inside & counted].tolist(),
      kind="mean" if name.startswith("mean_only") else "mean_std",
      epsilon=options.get("epsilon", 1e-6),
      ddof=options.get("ddof", 1),
      single=options.get("center_singletons", True),
    )
  return expected


def leave_one_out_oracle(values, mask, counted):
  expected = np.zeros(len(values))
  rest = values[counted].astype(np.float64)
  for at in np.flatnonzero(mask):
    if len(rest) > 1:
      others = (rest.sum() - values[at]) / (len(rest) - 1)
      expected[at] = values[at] - others
  return expected


def test_equal_the_oracles():
  batch = arguments(300)
  found = jax.tree.map(np.asarray, run(*batch))
  for at, one in enumerate(zip(*batch, strict=True)):
    for name in KINDS:
      np.testing.assert_allclose(
        found[name][at],
        segment_oracle(*one, name),
        atol=2e-5,
        rtol=1e-5,
        err_msg=name,
      )


def test_leave_one_out_equals_the_oracle():
  """A segment is a rollout: one value on all of its steps, counted once."""
  values, segment, mask, _ = arguments(200, seed=3)
  mask = mask & (segment >= 0)
  values = np.take_along_axis(values, np.maximum(segment, 0), axis=1)
  values = np.where(np.isfinite(values), values, 2.0)
  counted = np.zeros_like(mask)
  for row, (places, valid) in enumerate(zip(segment, mask, strict=True)):
    for place in np.unique(places[valid]):
      counted[row, np.flatnonzero(valid & (places == place))[-1]] = True
  found = np.asarray(run(values, segment, mask, counted)["leave_one_out"])
  for row, one in enumerate(zip(values, mask, counted, strict=True)):
    np.testing.assert_allclose(
      found[row], leave_one_out_oracle(*one), atol=2e-5, rtol=1e-5
    )


EQUAL = [
  0.1,
  1e-3,
  9.999999e-6,
  1e-30,
  1 / 3,
  -0.7,
  9.9,
  16777217.0,
  1e30,
  3e38,
  0.0,
]


def test_equal_values_are_exactly_zero():
  """Whatever their number: 0.1 seven times has a mean that is not 0.1."""
  values, counts = np.meshgrid(EQUAL, np.arange(2, NUM_ENTRIES + 1))
  values = np.repeat(values.reshape(-1, 1), NUM_ENTRIES, 1).astype(np.float32)
  mask = np.arange(NUM_ENTRIES) < counts.reshape(-1, 1)
  segment = np.zeros(values.shape, np.int32)
  for name, found in run(values, segment, mask, mask).items():
    assert not np.any(found), name


def test_single_entries_are_exactly_zero_or_themselves():
  values = np.repeat(np.array(EQUAL)[:, None], NUM_ENTRIES, 1)
  values = values.astype(np.float32)
  mask = np.broadcast_to(np.arange(NUM_ENTRIES) == 3, values.shape)
  segment = np.zeros(values.shape, np.int32)
  for name, found in run(values, segment, mask, mask).items():
    if name == "fixed_floor, single":
      np.testing.assert_allclose(
        found, np.where(mask, values / 3.0, 0.0), rtol=2e-6
      )
    elif name.endswith("single"):
      np.testing.assert_allclose(found, np.where(mask, values, 0.0), rtol=2e-6)
    else:
      assert not np.any(found), name


def test_small_case():
  """Segment 0: 1, 3, 8; segment 1: 5 alone, and 7 that is not counted."""
  args = (
    jnp.array([1.0, 5.0, 3.0, 8.0, 7.0, 4.0]),
    jnp.array([0, 1, 0, 0, 1, 0]),
    jnp.array([True, True, True, True, True, False]),
    jnp.array([True, True, True, True, False, False]),
  )
  exact = functools.partial(normalize.mean_std, num_segments=2, epsilon=0.0)
  mean_only = functools.partial(normalize.mean_only, num_segments=2)
  # Mean 4; squares 9 + 1 + 16 = 26, over 2 or over 3.
  for ddof, std in ((1, math.sqrt(13)), (0, math.sqrt(26 / 3))):
    np.testing.assert_allclose(
      exact(*args, ddof=ddof),
      [-3 / std, 0, -1 / std, 4 / std, 0, 0],
      rtol=1e-6,
    )
  np.testing.assert_allclose(
    exact(*args, center_singletons=False)[1], 5.0, rtol=1e-6
  )
  assert mean_only(*args).tolist() == [-3, 0, -1, 4, 0, 0]
  assert mean_only(*args, center_singletons=False)[1] == 5.0


def test_small_differences_stay_small_above_a_floor():
  """Deviations of 0.02 and 0.5 against a floor of 0.1."""
  values = jnp.array([1.02, 0.98, 1.5, 0.5])
  segment = jnp.array([0, 0, 1, 1])
  flags = jnp.ones(4, bool)
  found = normalize.fixed_floor(values, segment, flags, flags, num_segments=2)
  np.testing.assert_allclose(found, [0.2, -0.2, 1.0, -1.0], rtol=1e-4)
  found = normalize.fixed_floor(
    values, segment, flags, flags, num_segments=2, floor=0.001, ddof=1
  )
  half = math.sqrt(0.5)
  np.testing.assert_allclose(found, [half, -half, half, -half], rtol=1e-4)


def test_epsilon_swallows_what_is_smaller():
  values = jnp.array([0.0, 2e-6])
  flags = jnp.ones(2, bool)
  found = normalize.mean_std(
    values, jnp.zeros(2, int), flags, flags, num_segments=1, ddof=0
  )
  # Deviation 1e-6, standard deviation 1e-6, epsilon 1e-6.
  np.testing.assert_allclose(found, [-0.5, 0.5], rtol=1e-5)


def test_leave_one_out_small_case():
  """Returns 10, 0, 2, on rollouts of two, one and one steps."""
  values = jnp.array([10.0, 10.0, 0.0, 2.0, 99.0])
  mask = jnp.array([True, True, True, True, False])
  counted = jnp.array([False, True, True, True, False])
  np.testing.assert_allclose(
    normalize.leave_one_out(values, mask, counted),
    [9.0, 9.0, -6.0, -3.0, 0.0],
    rtol=1e-6,
  )


def test_independent_of_order_numbering_and_padding():
  values, segment, mask, counted = arguments(100, seed=1)
  rng = np.random.default_rng(2)
  order = np.argsort(rng.random(values.shape), axis=1)
  numbering = rng.permutation(NUM_SEGMENTS)
  inside = (segment >= 0) & (segment < NUM_SEGMENTS)
  renumbered = np.where(inside, numbering[segment % NUM_SEGMENTS], -1)
  garbage = np.where(mask, values, -7.0).astype(np.float32)
  moved = [
    np.take_along_axis(leaf, order, 1)
    for leaf in (garbage, renumbered.astype(np.int32), mask, counted)
  ]
  before, after = run(values, segment, mask, counted), run(*moved)
  for name in before:
    np.testing.assert_allclose(
      after[name],
      np.take_along_axis(np.asarray(before[name]), order, 1),
      atol=1e-5,
      rtol=1e-5,
      err_msg=name,
    )


def test_finite_for_nothing_and_for_large_values():
  values = np.zeros((2, NUM_ENTRIES), np.float32)
  values[1] = np.where(np.arange(NUM_ENTRIES) % 2, 1e15, -1e15)
  segment = np.zeros(values.shape, np.int32)
  mask = np.array([[False], [True]]) & np.ones(values.shape, bool)
  for name, found in run(values, segment, mask, mask).items():
    assert np.all(np.isfinite(found)), name
    assert not np.any(found[0]), name


def test_no_gradient():
  values, segment, mask, counted = (leaf[3] for leaf in arguments(8))
  values = jnp.where(mask, values, 0.0)

  def total(values):
    found = everything(values, segment, mask, counted)
    return sum(jnp.sum(leaf) for leaf in found.values())

  assert not jax.jit(jax.grad(total))(values).any()


def test_refuse_masks_that_are_not_bool():
  values, flags = jnp.zeros(3), jnp.ones(3, bool)
  segment = jnp.zeros(3, int)
  for function in (normalize.mean_std, normalize.mean_only):
    with pytest.raises(AssertionError):
      function(values, segment, flags.astype(int), flags, num_segments=1)
    with pytest.raises(AssertionError):
      function(values, segment[:2], flags, flags, num_segments=1)


@pytest.fixture(scope="module")
def expected():
  return transforms.reference(everything, *arguments(8))


@pytest.mark.parametrize("transform", transforms.TRANSFORMS)
def test_same_under(transform, expected):
  rules.assert_same_under(
    transform, everything, arguments(8), expected, atol=1e-5, rtol=1e-5
  )


@pytest.mark.slow
class Variants(chex.TestCase):
  @transforms.variants
  def test_variants(self):
    one = [leaf[1] for leaf in arguments(8)]
    transforms.assert_same(
      self.variant(everything)(*one),
      jax.jit(everything)(*one),
      atol=1e-5,
      rtol=1e-5,
    )


def test_traced_once():
  transforms.assert_traced_once(everything, arguments(3))
