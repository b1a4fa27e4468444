"""What training carries from update to update, and how it starts."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from graphgpo_jax.training import guard


@chex.dataclass(frozen=True)
class TrainState:
  """Parameters, the optimiser's memory and the number of updates done."""

  params: Any  # tree of float32, the policy
  opt_state: Any  # optax state
  reference_params: Any  # tree like params, or None: what a KL term holds to
  step: chex.Array  # int32 [], updates done
  memory: Any = None  # PoolMemory of the tasks that are revisited, or None


def make_optimizer(
  *,
  learning_rate: float,
  max_grad_norm: float = 1.0,
  weight_decay: float = 0.0,
  warmup_steps: int = 0,
  decay_steps: int = 0,
  final_fraction: float = 0.1,
) -> optax.GradientTransformation:
  """AdamW with a global-norm clip, linear warm-up and linear decay.

  A gradient that is not finite is left out, see `guard.refuse_not_finite`.

  Args:
    learning_rate: positive.
    max_grad_norm: gradients are scaled down to this global norm.
    weight_decay: decoupled weight decay.
    warmup_steps: optimiser steps over which the rate rises from 0.
    decay_steps: optimiser steps, after those, over which it falls; 0 keeps it.
    final_fraction: of the rate that is left then, in [0, 1].

  Returns:
    The optax transformation.

  Raises:
    ValueError: an argument is out of range.
  """
  if not learning_rate > 0:
    raise ValueError(f"learning_rate must be positive, got {learning_rate}")
  if not max_grad_norm > 0:
    raise ValueError(f"max_grad_norm must be positive, got {max_grad_norm}")
  if warmup_steps < 0 or decay_steps < 0:
    raise ValueError(
      "warmup_steps and decay_steps must be at least 0, got "
      f"{warmup_steps} and {decay_steps}"
    )
  if not 0 <= final_fraction <= 1:
    raise ValueError(f"final_fraction must lie in [0, 1], got {final_fraction}")
  schedule: Any = learning_rate
  if decay_steps:
    schedule = optax.linear_schedule(
      learning_rate, final_fraction * learning_rate, decay_steps
    )
  if warmup_steps:
    rise = optax.linear_schedule(0.0, learning_rate, warmup_steps)
    after = schedule if callable(schedule) else lambda _: learning_rate
    schedule = optax.join_schedules([rise, after], [warmup_steps])
  return guard.refuse_not_finite(
    optax.chain(
      optax.clip_by_global_norm(max_grad_norm),
      optax.adamw(schedule, weight_decay=weight_decay),
    )
  )


def create_state(
  init_fn: Callable[[chex.PRNGKey], Any],
  optimizer: optax.GradientTransformation,
  key: chex.PRNGKey,
  *,
  with_reference: bool = False,
  memory: Any = None,
) -> TrainState:
  """State before the first update.

  Args:
    init_fn: draws the policy's parameters from a key.
    optimizer: optax transformation.
    key: PRNG key.
    with_reference: keep a copy of the initial parameters for a KL term.
    memory: of the tasks that training revisits; None where it revisits none.

  Returns:
    TrainState at step 0.
  """
  params = init_fn(key)
  reference = None
  if with_reference:
    # A copy: the state's buffers are donated to the update, and one buffer
    # cannot be given away twice.
    reference = jax.tree.map(lambda leaf: leaf.copy(), params)
  return TrainState(
    params=params,
    opt_state=optimizer.init(params),
    reference_params=reference,
    step=jnp.int32(0),
    memory=memory,
  )
