"""Training and evaluation tasks that can never meet, by construction.

A task's fingerprint alone decides its side, so the two sides are disjoint for
every seed and every machine, without a list of held-out tasks.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

# One task in eight is kept for evaluation.
EVALUATION_MODULUS = 8

Task = Any


def is_evaluation_side(task_fingerprint: chex.Array) -> chex.Array:
  """Tells whether a task belongs to the evaluation side.

  Args:
    task_fingerprint: uint32 [..., 2], fingerprint of the task's layout.

  Returns:
    bool [...], True where lane 0 is a multiple of EVALUATION_MODULUS.
  """
  return task_fingerprint[..., 0] % EVALUATION_MODULUS == 0


def sample_from_side(
  sample: Callable[[chex.PRNGKey], Task],
  fingerprint_of: Callable[[Task], chex.Array],
  key: chex.PRNGKey,
  *,
  evaluation: bool,
  accept: Callable[[Task], chex.Array] | None = None,
) -> Task:
  """Draws a task from one side of the split, by rejection.

  The result has exactly the distribution of `sample` given the side. Drawing
  from the training side takes 8/7 draws on average, from the evaluation side
  8; under `jax.vmap` all lanes redraw until the slowest one has its task.

  Args:
    sample: draws a task, a pytree of arrays, from a key.
    fingerprint_of: uint32 [2] of a task's layout; it must not depend on what
      is merely known about the task, such as a solution.
    key: PRNG key.
    evaluation: draw from the evaluation side, otherwise from the training side.
    accept: bool [] of a draw, False for one to be thrown away, such as a
      generator's failed attempt. Judging it in this loop saves a loop inside
      `sample`, whose rounds would multiply under `jax.vmap`.

  Returns:
    An accepted task of the wanted side.
  """

  def on_wrong_side(carry):
    return ~carry[2]

  def redraw(carry):
    key, _, _ = carry
    key, sample_key = jax.random.split(key)
    task = sample(sample_key)
    found = is_evaluation_side(fingerprint_of(task)) == evaluation
    if accept is not None:
      found &= accept(task)
    return key, task, found

  # An empty start, since a first draw outside the loop would be compiled a
  # second time.
  shapes = jax.eval_shape(sample, key)
  task = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
  start = (key, task, jnp.zeros((), bool))
  return jax.lax.while_loop(on_wrong_side, redraw, start)[1]
