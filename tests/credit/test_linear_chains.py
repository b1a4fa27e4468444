import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.credit import chain_solvers, linear_chains

NUM_STATES, NUM_EDGES = 160, 400


def made_chain(**columns):
  return linear_chains.Chain(
    **{name: jnp.asarray(values) for name, values in columns.items()}
  )


def random_chain(seed, *, discount=0.98, branching=1.0, padding=True):
  """A chain, and its V in float64; each state goes on with `discount`.

  Args:
    seed: of the numbers.
    discount: what the weights out of a state add up to.
    branching: share of the states with several ways on; the others have one.
    padding: leave some edges and states out.
  """
  rng = np.random.default_rng(seed)
  source = rng.integers(0, NUM_STATES, NUM_EDGES)
  target = rng.integers(0, NUM_STATES, NUM_EDGES)
  way_on = rng.integers(0, NUM_STATES, NUM_STATES)
  one_way = rng.random(NUM_STATES) >= branching
  target = np.where(one_way[source], way_on[source], target)
  target = np.where(rng.random(NUM_EDGES) < 0.1, source, target)
  mask = rng.random(NUM_EDGES) < (0.9 if padding else 2.0)
  # The first few states end it.
  mask &= source >= 4
  count = np.bincount(source[mask], minlength=NUM_STATES)
  weight = np.where(mask, discount / np.maximum(count[source], 1), 0.0)
  constant = np.where(np.arange(NUM_STATES) < 4, 1.0, 0.0)
  constant += np.where(rng.random(NUM_STATES) < 0.1, rng.normal(), 0.0)
  matrix = np.eye(NUM_STATES)
  np.subtract.at(matrix, (source, target), weight)
  chain = made_chain(
    source=np.where(mask, source, NUM_STATES).astype(np.int32),
    target=np.where(mask, target, 0).astype(np.int32),
    weight=weight.astype(np.float32),
    constant=constant.astype(np.float32),
  )
  return chain, np.linalg.solve(matrix, constant)


SOLVERS = {
  "linear": linear_chains.linear_solution,
  "krylov": linear_chains.krylov_solution,
  # As many branch as each of these holds, and more than the last one does.
  "eliminate": functools.partial(
    chain_solvers.compressed_solution, sizes=(64,)
  ),
  "lu": functools.partial(chain_solvers.compressed_solution, sizes=(160,)),
  "compressed": chain_solvers.compressed_solution,
}
jitted = {name: jax.jit(function) for name, function in SOLVERS.items()}
# Error as a share of the greatest value: a residual of float32's rounding under
# a discount of 0.98. What BiCGStab stops at is the residual that it carries
# along, from which the true one drifts.
ERROR = dict.fromkeys(SOLVERS, 5e-5) | {
  "krylov": linear_chains.DRIFT * linear_chains.TOLERANCE / 0.02
}


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("branching", [0.0, 0.1, 0.3, 1.0])
def test_solvers_equal_numpy(name, branching):
  for seed in range(5):
    chain, expected = random_chain(seed, branching=branching)
    np.testing.assert_allclose(
      jitted[name](chain),
      expected,
      atol=ERROR[name] * max(1.0, np.abs(expected).max()),
    )


@pytest.mark.parametrize("method", ["linear", "compressed", "sweeps"])
def test_solve_bounds_its_error(method):
  """Error <= residual / (1 - discount), the residual a true one."""
  solve = jax.jit(functools.partial(chain_solvers.solve, method=method))
  for seed in range(5):
    chain, expected = random_chain(seed, discount=0.95, branching=0.5)
    found = solve(chain)
    value = np.asarray(found.value, np.float64)
    scale = np.abs(expected).max()
    chain = jax.tree.map(np.asarray, chain)
    again = chain.constant.astype(np.float64)
    inside = chain.source < NUM_STATES
    np.add.at(
      again,
      chain.source[inside],
      (chain.weight * value[chain.target])[inside],
    )
    residual = np.abs(again - value).max()
    assert residual < 1e-6 * scale
    np.testing.assert_allclose(found.residual, residual, atol=5e-7 * scale)
    assert np.abs(value - expected).max() < (
      (found.residual + 1e-6 * scale) / 0.05
    )


@pytest.mark.slow
def test_solvers_save_sweeps():
  chain, _ = random_chain(0, branching=0.5)
  plain = chain_solvers.solve(chain, method="sweeps")
  for method in ("linear", "compressed"):
    assert chain_solvers.solve(chain, method=method).sweeps <= 5
  assert plain.sweeps > 50


def test_small_values_keep_their_digits():
  """Elimination finds 1e-12 to as many digits as 1."""
  length = 30
  source = np.repeat(np.arange(1, length), 2)
  target = source - 1
  # Half of the steps fall back to the start of the line, from which nothing
  # but the line leads on.
  target[::2] = length - 1
  chain = made_chain(
    source=source.astype(np.int32),
    target=target.astype(np.int32),
    weight=np.full(len(source), 0.3, np.float32),
    constant=np.eye(length, dtype=np.float32)[0],
  )
  matrix = np.eye(length)
  np.subtract.at(matrix, (source, target), 0.3)
  expected = np.linalg.solve(matrix, np.eye(length)[0])
  assert expected.min() < 1e-12
  np.testing.assert_allclose(
    chain_solvers.compressed_solution(chain), expected, rtol=1e-5
  )


@pytest.mark.slow
def test_krylov_survives_breakdowns():
  """Nothing to do, and a residual at right angles to its image."""
  one = np.zeros(1, np.int32)
  nothing = made_chain(
    source=one + 2,
    target=one,
    weight=np.zeros(1, np.float32),
    constant=np.zeros(2, np.float32),
  )
  assert not linear_chains.krylov_solution(nothing).any()
  # A cycle of weight 1: no solution at all.
  cycle = made_chain(
    source=np.arange(2, dtype=np.int32),
    target=np.array([1, 0], np.int32),
    weight=np.ones(2, np.float32),
    constant=np.array([1.0, -1.0], np.float32),
  )
  assert np.all(np.isfinite(linear_chains.krylov_solution(cycle)))
  for method in ("linear", "compressed"):
    found = chain_solvers.solve(cycle, method=method, max_sweeps=3)
    assert np.all(np.isfinite(found.value))
    assert found.sweeps <= 3


def test_settle_stops():
  half = functools.partial(
    linear_chains.settle, lambda value: 1.0 + 0.5 * value, jnp.zeros(3)
  )
  # 0, 1, 3/2, 7/4: what the third sweep started from.
  found = half(max_sweeps=3)
  assert found.value.tolist() == [1.5] * 3
  assert (found.residual, found.sweeps) == (0.25, 3)
  # The sweep that moves 2 - 2^-k by 2^-k-1 <= 2^-6 * 2.
  found = half(tolerance=2.0**-6)
  assert found.residual <= 2.0**-5 < 2.0**-4
  assert found.sweeps == 7
  # No sweep ever moves less than this: only rounding is left to blame.
  restless = linear_chains.settle(
    lambda value: jnp.where(value > 1.0, 1.0, 1.0 + 4e-6),
    jnp.ones(3),
    tolerance=5e-7,
  )
  assert restless.sweeps < 100
  # But what is far above rounding goes on.
  loud = linear_chains.settle(
    lambda value: jnp.where(value > 1.0, 1.0, 1.5), jnp.ones(3), max_sweeps=500
  )
  assert loud.sweeps == 500


def test_settle_measures_the_worth():
  found = linear_chains.settle(
    lambda level: 0.5 * level, jnp.ones(2), max_sweeps=2, worth=jnp.exp
  )
  assert found.value.tolist() == [0.5, 0.5]
  np.testing.assert_allclose(
    found.residual, np.exp(0.5) - np.exp(0.25), rtol=1e-6
  )
