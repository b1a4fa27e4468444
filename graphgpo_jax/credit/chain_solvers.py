"""Solves a linear chain, V = b + A V, in far fewer turns than plain sweeps.

Most states of merged rollouts have one way on. Those are followed by doubling
to where the ways part, which leaves a system of the states that branch: a small
dense one, or one for BiCGStab where too many do. Either ends in float32's
rounding, or in a breakdown, so `solve` always goes on with plain sweeps, whose
residual is a true one.
"""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit import linear_chains

Chain = linear_chains.Chain

METHODS = ("auto", "linear", "compressed", "sweeps")
# Up to so many states "auto" solves the dense system of all of them.
LINEAR_NODE_LIMIT = 32
# Dense systems for the states that branch: the least that holds them.
CORE_SIZES = (24, 64, 128)
# Elimination stops at the states that there are; past this size LU is faster.
ELIMINATION_LIMIT = 64

# A pivot that float32 cannot tell from 0: a class of states that is never left,
# which there is not under a discount below 1.
_NO_PIVOT = 1e-6
# A way on that weighs less is none: a cycle that is never left.
_NEGLIGIBLE = 1e-12
_MAX_DOUBLINGS = 32


@chex.dataclass(frozen=True)
class _Compressed:
  """A chain whose every state leads straight to one that branches, or ends.

  V(s) = known(s) + weight(s) * V(pointer(s)), and pointer(s) branches wherever
  weight(s) > 0.
  """

  known: chex.Array  # float32 [N]
  weight: chex.Array  # float32 [N]
  pointer: chex.Array  # int32 [N]
  branches: chex.Array  # bool [N], two ways on at least
  core: Chain  # the states that branch; the others have no edge and b = 0


def _compress(chain: Chain) -> _Compressed:
  """Follows every state with one way on to where the ways part."""
  num_states = chain.constant.shape[0]
  moving = (chain.weight > 0.0) & (chain.source != chain.target)
  here = jnp.minimum(chain.source, num_states - 1)
  staying, leaving = jnp.unstack(
    jnp.zeros((num_states, 2), jnp.float32)
    .at[chain.source]
    .add(
      jnp.stack(
        [
          jnp.where(moving, 0.0, chain.weight),
          jnp.where(moving, chain.weight, 0.0),
        ],
        axis=1,
      ),
      mode="drop",
    ),
    axis=1,
  )
  # A step that stays in place only repeats what the others do.
  left = 1.0 - staying
  gain = jnp.where(left > _NO_PIVOT, 1.0 / left, 0.0)
  constant = chain.constant * gain
  bounds = jnp.full((num_states, 2), -num_states, jnp.int32)
  ends = jnp.stack([-chain.target, chain.target], axis=1)
  bounds = bounds.at[jnp.where(moving, chain.source, num_states)].max(
    ends, mode="drop"
  )
  lowest, highest = -bounds[:, 0], bounds[:, 1]
  branches = lowest < highest
  single = lowest == highest
  state = jnp.arange(num_states, dtype=jnp.int32)

  def unfinished(carry):
    _, weight, pointer, doublings = carry
    onward = (weight > _NEGLIGIBLE) & ~branches[pointer]
    return jnp.any(onward) & (doublings < _MAX_DOUBLINGS)

  def double(carry):
    known, weight, pointer, doublings = carry
    return (
      known + weight * known[pointer],
      weight * weight[pointer],
      pointer[pointer],
      doublings + 1,
    )

  known, weight, pointer, _ = jax.lax.while_loop(
    unfinished,
    double,
    (
      jnp.where(branches, 0.0, constant),
      jnp.where(single, leaving * gain, branches.astype(jnp.float32)),
      jnp.where(single, highest, state),
      jnp.int32(0),
    ),
  )
  weight = jnp.where(branches[pointer], weight, 0.0)
  parting = moving & branches[here]
  through = jnp.where(parting, chain.weight * gain[here], 0.0)
  core_source = jnp.where(parting, chain.source, num_states)
  core = Chain(
    source=core_source,
    target=pointer[chain.target],
    weight=through * weight[chain.target],
    constant=jnp.where(branches, constant, 0.0)
    .at[core_source]
    .add(through * known[chain.target], mode="drop"),
  )
  return _Compressed(
    known=known,
    weight=weight,
    pointer=pointer,
    branches=branches,
    core=core,
  )


def _eliminate(matrix: chex.Array, number: chex.Array) -> chex.Array:
  """Gauss-Jordan elimination of the first `number` unknowns.

  Without pivoting: the rows of I - A are diagonally dominant and stay so. What
  is off the diagonal is only ever added to, so that small values are found to
  as many digits as large ones; and a class of states that is never left, which
  makes the system singular, gets 0.

  Args:
    matrix: float32 [C, C + 1], I - A and b.
    number: int32 [].

  Returns:
    float32 [C], right up to `number`.
  """
  size = matrix.shape[0]
  row_number = jnp.arange(size, dtype=jnp.int32)

  def turn(at, matrix):
    pivot = matrix[at, at]
    row = matrix[at] * jnp.where(pivot > _NO_PIVOT, 1.0 / pivot, 0.0)
    rest = matrix - matrix[:, at][:, None] * row[None, :]
    return jnp.where((row_number == at)[:, None], row[None, :], rest)

  return jax.lax.fori_loop(0, number, turn, matrix)[:, size]


def _dense_solution(
  core: Chain, place: chex.Array, number: chex.Array, *, size: int
) -> chex.Array:
  """Solves for `number` states by a dense system of `size` unknowns.

  Args:
    core: Chain of N states.
    place: int32 [N], which unknown a state is; `size` where none.
    number: int32 [], unknowns that there are.
    size: static, of the system.

  Returns:
    float32 [N], 0 for states that are no unknown.
  """
  padded = jnp.append(place, size)
  matrix = jnp.eye(size, size + 1, dtype=jnp.float32)
  matrix = matrix.at[padded[core.source], padded[core.target]].add(
    -core.weight, mode="drop"
  )
  matrix = matrix.at[place, size].add(core.constant, mode="drop")
  if size <= ELIMINATION_LIMIT:
    value = _eliminate(matrix, number)
  else:
    value = jnp.linalg.solve(matrix[:, :size], matrix[:, size])
  return jnp.append(value, 0.0)[place]


def compressed_solution(
  chain: Chain,
  *,
  tolerance: chex.Numeric = linear_chains.TOLERANCE,
  sizes: tuple[int, ...] = CORE_SIZES,
) -> chex.Array:
  """Solves V = b + A V for the states that branch, then for the others.

  Args:
    chain: Chain of N states and K edges.
    tolerance: of `krylov_solution`.
    sizes: of the dense systems, rising; where more states branch than the
      last one holds, `krylov_solution` takes their system.

  Returns:
    float32 [N].
  """
  num_states = chain.constant.shape[0]
  small = _compress(chain)
  rank = jnp.cumsum(small.branches, dtype=jnp.int32)
  number = rank[-1]
  # A state branches over two edges at least.
  most = min(num_states, chain.source.shape[0] // 2)
  needed = 1 + sum(size < most for size in sizes)

  def dense(size):
    place = jnp.where(small.branches, rank - 1, size)
    return _dense_solution(small.core, place, number, size=size)

  def krylov():
    return linear_chains.krylov_solution(small.core, tolerance=tolerance)

  ways: list[Callable[[], chex.Array]] = [
    functools.partial(dense, size) for size in sizes[:needed]
  ]
  if most > sizes[-1]:
    ways.append(krylov)
  which = jnp.sum(number > jnp.array(sizes), dtype=jnp.int32)
  value = jax.lax.switch(which, ways)
  return small.known + small.weight * value[small.pointer]


def solve(
  chain: Chain,
  *,
  method: str = "auto",
  tolerance: chex.Numeric = linear_chains.TOLERANCE,
  max_sweeps: int = linear_chains.MAX_SWEEPS,
) -> linear_chains.StateValues:
  """Fixed point of V = b + A V, finished by plain sweeps.

  Args:
    chain: Chain of N states.
    method: what the sweeps start from: see `approximate`.
    tolerance: residual to come under, as a share of the greatest value.
    max_sweeps: plain sweeps at most.

  Returns:
    StateValues. No gradient flows through it.

  Raises:
    ValueError: `method` is none of these.
  """
  chain = jax.tree.map(jax.lax.stop_gradient, chain)
  return linear_chains.settle(
    functools.partial(linear_chains.backup, chain),
    approximate(chain, method=method, tolerance=tolerance),
    tolerance=tolerance,
    max_sweeps=max_sweeps,
  )


def approximate(
  chain: Chain,
  *,
  method: str = "auto",
  tolerance: chex.Numeric = linear_chains.TOLERANCE,
) -> chex.Array:
  """Fixed point of V = b + A V but for rounding, or for a breakdown.

  Args:
    chain: Chain of N states.
    method: "linear", "compressed", "sweeps" (b itself: nothing is solved), or
      "auto": linear up to `LINEAR_NODE_LIMIT` states, compressed beyond.
    tolerance: of `krylov_solution`.

  Returns:
    float32 [N], finite: b where the solver's values are not.

  Raises:
    ValueError: `method` is none of these.
  """
  if method not in METHODS:
    raise ValueError(
      f"method must be one of {', '.join(METHODS)}, got {method!r}"
    )
  if method == "auto":
    small = chain.constant.shape[0] <= LINEAR_NODE_LIMIT
    method = "linear" if small else "compressed"
  if method == "sweeps":
    return chain.constant
  if method == "linear":
    value = linear_chains.linear_solution(chain)
  else:
    value = compressed_solution(chain, tolerance=tolerance)
  return jnp.where(jnp.all(jnp.isfinite(value)), value, chain.constant)
