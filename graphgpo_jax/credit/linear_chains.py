"""Values of a Markov chain with sparse transitions, V = b + A V.

The chain is a list of weighted edges. Plain sweeps, V <- b + A V, come to its
values from any start, with an error that is known from how much the last sweep
changed; under a discount near 1 they need hundreds. Starts from which one is
often enough: `linear_solution`, the dense system of all N states by LU;
`krylov_solution`, BiCGStab, which needs nothing but sweeps; and those of
`chain_solvers`.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

# A sweep of float32 values moves them by about 1e-7 of the greatest for ever.
TOLERANCE = 5e-7
MAX_SWEEPS = 10_000
KRYLOV_ITERATIONS = 256
# How many times its tolerance a residual may come to by rounding alone.
DRIFT = 16.0
_PATIENCE = 32  # sweeps


@chex.dataclass(frozen=True)
class Chain:
  """Edges and constants of V(s) = b(s) + sum over edges of a_e V(target_e).

  The weights out of a state add up to at most 1.
  """

  source: chex.Array  # int32 [K]; N, past the end, where there is no edge
  target: chex.Array  # int32 [K], from 0 to N - 1
  weight: chex.Array  # float32 [K], at least 0; 0 where there is no edge
  constant: chex.Array  # float32 [N], b


@chex.dataclass(frozen=True)
class StateValues:
  """What each state is worth, and how nearly it is a fixed point."""

  value: chex.Array  # float32 [N]
  residual: chex.Array  # float32 [], max |V - backup(V)|, as computed
  sweeps: chex.Array  # int32 [], backups that were made


def backup(chain: Chain, value: chex.Array) -> chex.Array:
  """One sweep: b + A V.

  Args:
    chain: Chain of N states.
    value: float32 [N].

  Returns:
    float32 [N].
  """
  return chain.constant.at[chain.source].add(
    chain.weight * value[chain.target], mode="drop"
  )


def _itself(value):
  return value


def settle(
  sweep: Callable[[chex.Array], chex.Array],
  start: chex.Array,
  *,
  tolerance: chex.Numeric = TOLERANCE,
  max_sweeps: int = MAX_SWEEPS,
  worth: Callable[[chex.Array], chex.Array] = _itself,
) -> StateValues:
  """Plain sweeps until a sweep changes next to nothing.

  Where a sweep brings any two vectors of values closer by the factor
  `discount`, the error is at most residual / (1 - discount). It stops once the
  residual is at most `tolerance` times the greatest value, or once it has not
  fallen for 32 sweeps and is so small (16 times that) that only rounding can be
  the reason.

  Args:
    sweep: one backup of what is iterated, [N] to [N].
    start: float32 [N], finite.
    tolerance: residual to come under, as a share of the greatest value.
    max_sweeps: sweeps at most, at least 1.
    worth: values of what is iterated, such as `jnp.exp` of logarithms.

  Returns:
    StateValues; `value` is what was iterated, the residual that of its worth.
    No gradient flows through it.
  """

  def measured(before, after):
    old, new = worth(before), worth(after)
    return jnp.max(jnp.abs(new - old)), tolerance * jnp.max(jnp.abs(new))

  def moving(carry):
    _, _, residual, bound, least, idle, sweeps = carry
    stuck = (idle >= _PATIENCE) & (least <= DRIFT * bound)
    return (residual > bound) & ~stuck & (sweeps < max_sweeps)

  def again(carry):
    _, value, before, _, least, idle, sweeps = carry
    following = sweep(value)
    residual, bound = measured(value, following)
    least = jnp.minimum(least, before)
    idle = jnp.where(residual < least, 0, idle + 1)
    return value, following, residual, bound, least, idle, sweeps + 1

  # The first sweep stands outside, so that under `jax.shard_map` the carry is
  # a value of each device from the start.
  start = jax.lax.stop_gradient(start)
  first = sweep(start)
  residual, bound = measured(start, first)
  idle = (residual * 0.0).astype(jnp.int32)
  value, _, residual, _, _, _, sweeps = jax.lax.while_loop(
    moving,
    again,
    (start, first, residual, bound, residual, idle, jnp.int32(1)),
  )
  return jax.lax.stop_gradient(
    StateValues(value=value, residual=residual, sweeps=sweeps)
  )


def linear_solution(chain: Chain) -> chex.Array:
  """Solves (I - A) V = b, a dense system of all N states.

  Args:
    chain: Chain of N states; the system takes 4 N^2 bytes.

  Returns:
    float32 [N]; not finite where the system is singular.
  """
  num_states = chain.constant.shape[0]
  matrix = jnp.eye(num_states, dtype=jnp.float32)
  matrix = matrix.at[chain.source, chain.target].add(-chain.weight, mode="drop")
  return jnp.linalg.solve(matrix, chain.constant)


class _Krylov(NamedTuple):
  """An iterate of BiCGStab; `least` and `best` are those of all so far."""

  value: chex.Array  # float32 [N]
  residual: chex.Array  # float32 [N]
  direction: chex.Array  # float32 [N]
  product: chex.Array  # float32 [], of the residual with the first one
  best: chex.Array  # float32 [N]
  least: chex.Array  # float32 [], greatest entry of the best one's residual
  iteration: chex.Array  # int32 []


def krylov_solution(
  chain: Chain,
  *,
  tolerance: chex.Numeric = TOLERANCE,
  max_iterations: int = KRYLOV_ITERATIONS,
) -> chex.Array:
  """Solves (I - A) V = b by BiCGStab, two sweeps an iteration.

  Args:
    chain: Chain of N states.
    tolerance: residual to come under, as a share of the greatest value; the
      one that is carried along, which rounding leaves up to `DRIFT` times
      below the true one.
    max_iterations: iterations at most.

  Returns:
    float32 [N], of all iterates the one of least residual and b at worst: a
    breakdown costs no more than the iterations that it cuts off.

  Reference: H. A. van der Vorst, SIAM J. Sci. Stat. Comput. 13 (1992).
  """

  def apply(vector):
    return vector + chain.constant - backup(chain, vector)

  def size(vector):
    return jnp.max(jnp.abs(vector))

  def going(state):
    found = size(state.residual)
    # NaN, a breakdown, is not above anything.
    above = found > tolerance * size(state.value)
    return above & jnp.isfinite(found) & (state.iteration < max_iterations)

  start = chain.constant
  first = backup(chain, start) - start

  def turn(state):
    image = apply(state.direction)
    alpha = state.product / jnp.vdot(first, image)
    half = state.residual - alpha * image
    half_image = apply(half)
    omega = jnp.vdot(half_image, half) / jnp.vdot(half_image, half_image)
    value = state.value + alpha * state.direction + omega * half
    residual = half - omega * half_image
    product = jnp.vdot(first, residual)
    beta = product / state.product * (alpha / omega)
    found = size(residual)
    better = found < state.least
    return _Krylov(
      value=value,
      residual=residual,
      direction=residual + beta * (state.direction - omega * image),
      product=product,
      best=jnp.where(better, value, state.best),
      least=jnp.where(better, found, state.least),
      iteration=state.iteration + 1,
    )

  state = _Krylov(
    value=start,
    residual=first,
    direction=first,
    product=jnp.vdot(first, first),
    best=start,
    least=size(first),
    iteration=jnp.int32(0),
  )
  return jax.lax.while_loop(going, turn, state).best
