"""Steps that were reached through the same states: their last k are equal."""

import chex
import jax.numpy as jnp

from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import segments as segments_lib


def history_segments(
  steps: graph_lib.Steps, *, history_length: int, max_nodes: int
) -> chex.Array:
  """Numbers the distinct last k states of the steps, for k = 1 .. h + 1.

  The last k states of step t are s_{t-k+1}, ..., s_t, all of its own rollout.
  A step that has fewer behind it has no segment for that k, so its rollout's
  start is no state of its own.

  Args:
    steps: Steps of one group, [E].
    history_length: h, states before the step's own that are looked at, static
      and at least 0.
    max_nodes: N; a step whose source, or one of whose earlier states, has no
      node below it has no segment.

  Returns:
    int32 [h + 1, E], row k - 1 for the last k states: the source below N for
    k = 1, from 0 to E - 1 for others; NO_NODE in padding and where there is no
    segment.

  Raises:
    ValueError: `history_length` is below 0.

  Reference: arXiv 2602.22817 (HGPO).
  """
  if history_length < 0:
    raise ValueError(f"history_length must be at least 0, got {history_length}")
  chex.assert_rank([steps.source, steps.last, steps.mask], 1)
  chex.assert_equal_shape([steps.source, steps.last, steps.mask])
  known = graph_lib.known_sources(steps, max_nodes=max_nodes)
  follows = steps.mask & _before(steps.mask & ~steps.last)
  state, has_state = steps.source, known
  states, reaches = [state], [known]
  for _ in range(history_length):
    state, has_state = _before(state), follows & _before(has_state)
    states.append(state)
    reaches.append(reaches[-1] & has_state)
  # Where a history ends stands 0: these steps lose their segment below, and
  # share it with none that keeps it.
  keys = [
    jnp.where(reach, state + 1, 0)
    for state, reach in zip(states[1:], reaches[1:], strict=True)
  ]
  found = segments_lib.prefix_segments(
    [steps.source, *keys],
    known,
    sizes=[max_nodes] + [max_nodes + 1] * len(keys),
  )
  return jnp.where(jnp.stack(reaches), found, graph_lib.NO_NODE)


def _before(values: chex.Array) -> chex.Array:
  """What the entry before holds; 0 or False at the first."""
  return jnp.concatenate([jnp.zeros_like(values[:1]), values[:-1]])
