"""Groups of a table on the device: packed arrays to credit, few compilations.

Groups of a like number of slots go together, in arrays [B, E] of few shapes:
E is one of few sizes, B * E one of `_TIERS`. A rollout takes a slot for each of
its states, so one more than it has steps; the target of a step is the next
slot's node.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from graphgpo_jax.credit import estimators
from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.tables import table_options

STEP, SUCCESS, LAST, VALID = 1, 2, 4, 8  # bits of a slot's flags
PADDING = np.uint64(2**64 - 1)  # word of a slot that holds no state

CREDIT_FIELDS = (
  "distance",
  "next_distance",
  "step_return",
  "step_advantage",
  "episode_advantage",
  "advantage",
)

# Compiling a size takes seconds, a slot too many a hundred nanoseconds.
_LEAST_SIZE = 256
# Slots of one call: a small batch does not pay for a large one's arrays, and
# a huge one is cut, so that the host prepares a part while another runs.
_TIERS = (2**12, 2**15)


def slot_class(num_slots: np.ndarray) -> np.ndarray:
  """E for groups of so many slots: a power of two, at least `_LEAST_SIZE`.

  Args:
    num_slots: int [G], steps plus rollouts of each group.

  Returns:
    int64 [G], at least `num_slots` + 1: each state and the sink have a node.
  """
  needed = np.maximum(num_slots + 1, _LEAST_SIZE)
  return 2 ** np.ceil(np.log2(needed)).astype(np.int64)


def batch_sizes(num_groups: int, size: int) -> list[int]:
  """Splits groups of E = `size` slots into calls: B of each, padded.

  Args:
    num_groups: groups of that class, at least 1.
    size: E.

  Returns:
    B of each call; they add up to at least `num_groups`.
  """
  batches = [max(tier // size, 1) for tier in _TIERS]
  whole, rest = divmod(num_groups, batches[-1])
  sizes = [batches[-1]] * whole
  if rest:
    sizes.append(next(batch for batch in batches if batch >= rest))
  return sizes


def node_ids(words: np.ndarray, late: np.ndarray) -> np.ndarray:
  """Numbers the distinct words of each row 1, 2, ... as they first appear.

  Not in the order of the words: solvers round by the order of the nodes, and
  the texts of a table are numbered so without words (see `text_nodes`).

  Args:
    words: uint64 [B, E]; padding holds the greatest word.
    late: bool [B, E], entries that count as standing behind all others.

  Returns:
    int32 [B, E]. Padding comes last, so it never shifts another's number.
  """
  size = words.shape[1]
  order = np.argsort(words, axis=1)
  ascending = np.take_along_axis(words, order, axis=1)
  starts = np.ones(words.shape, bool)
  np.not_equal(ascending[:, 1:], ascending[:, :-1], out=starts[:, 1:])
  heads = np.flatnonzero(starts)
  place = order + size * np.take_along_axis(late, order, axis=1)
  place[ascending == PADDING] = 2 * size
  first = np.minimum.reduceat(place.ravel(), heads)
  row = heads // size
  by_first = np.argsort(row * (2 * size + 1) + first)
  number = np.empty(len(heads), np.int32)
  number[by_first] = np.arange(len(heads)) + 1
  # Counted through all rows so far: less what stands in the rows before.
  number -= np.searchsorted(row, row).astype(np.int32)
  ids = np.empty(words.shape, np.int32)
  distinct = np.cumsum(starts.ravel()) - 1
  np.put_along_axis(ids, order, number[distinct].reshape(words.shape), axis=1)
  return ids


def credit_groups(
  nodes: np.ndarray,
  flags: np.ndarray,
  cost: np.ndarray,
  reward: np.ndarray,
  episode_return: np.ndarray,
  *,
  num_groups: int,
  options: table_options.Options,
  action: np.ndarray | None = None,
) -> dict[str, jax.Array]:
  """Credit of B groups of E slots, by one compiled function.

  Args:
    nodes: int32 [B, E], node of each slot's state.
    flags: uint8 [B, E], bits STEP, SUCCESS, LAST and VALID.
    cost: float32 [B, E], cost units.
    reward: float32 [B, E], reward units.
    episode_return: float32 [B, E], reward units.
    num_groups: the first so many of the B groups are computed.
    options: of the estimator.
    action: int32 [B, E], number of each step's action; None: not known, and
      nothing of it is sent.

  Returns:
    dict of Credit's fields, float32 [B, E], and of `states` and `reachable`,
    int32 [B]: distinct states, and those with a way to SUCCESS.
  """
  arrays = (nodes, flags, cost, reward, episode_return)
  return _credit_groups(
    arrays if action is None else (*arrays, action),
    np.int32(num_groups),
    np.fromiter(options.traced.values(), np.float32, len(options.traced)),
    estimator=options.estimator,
    normalization=options.normalization,
    static=options.static,
    traced=tuple(options.traced),
    # XLA runs one group after the other on a CPU: a loop lets each group's
    # search stop on its own and skips groups that are not there.
    one_by_one=jax.default_backend() == "cpu",
  )


@functools.partial(
  jax.jit,
  static_argnames=(
    "estimator",
    "normalization",
    "static",
    "traced",
    "one_by_one",
  ),
)
def _credit_groups(
  groups,
  num_groups,
  values,
  *,
  estimator,
  normalization,
  static,
  traced,
  one_by_one,
):
  keywords = table_options.estimator_keywords(
    estimator,
    normalization,
    dict(static) | {name: values[i] for i, name in enumerate(traced)},
  )
  one = functools.partial(_credit_group, estimator, keywords)
  if not one_by_one:
    return jax.vmap(one)(*groups)

  def pick(index):
    return [
      jax.lax.dynamic_index_in_dim(array, index, keepdims=False)
      for array in groups
    ]

  def body(index, results):
    return jax.tree.map(
      lambda result, group: jax.lax.dynamic_update_index_in_dim(
        result, group, index, 0
      ),
      results,
      one(*pick(index)),
    )

  empty = jax.tree.map(
    lambda shape: jnp.zeros((groups[0].shape[0], *shape.shape), shape.dtype),
    jax.eval_shape(lambda: one(*pick(0))),
  )
  return jax.lax.fori_loop(0, num_groups, body, empty)


def _credit_group(
  estimator: estimators.Estimator,
  keywords: Mapping[str, Any],
  nodes,
  flags,
  cost,
  reward,
  episode_return,
  action=None,
):
  """Credit of one group, [E] arrays."""
  mask = (flags & STEP) != 0
  success = (flags & SUCCESS) != 0
  last = (flags & LAST) != 0
  target = jnp.where(last & success, graph_lib.SUCCESS, jnp.roll(nodes, -1))
  steps = graph_lib.Steps(
    source=jnp.where(mask, nodes, graph_lib.NO_NODE),
    target=jnp.where(mask, target, graph_lib.NO_NODE),
    cost=cost,
    reward=reward,
    episode_return=episode_return,
    success=success,
    last=last,
    action_valid=(flags & VALID) != 0,
    mask=mask,
    action=action,
  )
  credit, graph, distance = estimators.credit_group(
    steps, estimator, max_nodes=nodes.shape[0], **keywords
  )
  reached = graph.node_mask & jnp.isfinite(distance)
  return {
    **{name: getattr(credit, name) for name in CREDIT_FIELDS},
    # The sink is a node but no state.
    "states": jnp.sum(graph.node_mask, dtype=jnp.int32) - 1,
    "reachable": jnp.sum(reached, dtype=jnp.int32) - 1,
  }
