"""Imitating an expert: a warm start for policies that choose commands."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from graphgpo_jax import losses
from graphgpo_jax.policy.acting import reading
from graphgpo_jax.rollouts.host import expert


class Lessons(NamedTuple):
  """Lessons as arrays.

  Attributes:
    observation: TextObservation, leaves [n, ...].
    action: int32 [n], the expert's command.
    num_left_out: lessons whose command is not among those that are read.
  """

  observation: reading.TextObservation
  action: np.ndarray
  num_left_out: int


def read_lessons(
  lessons: Iterable[expert.Lesson], spec: reading.ReadingSpec
) -> Lessons:
  """Reads lessons as the policy would.

  Raises:
    ValueError: none can be imitated.
  """
  found, actions, left_out = [], [], 0
  for lesson in lessons:
    read = reading.read(lesson.context, spec)
    if lesson.command in read.commands:
      found.append(read.observation)
      actions.append(read.commands.index(lesson.command))
    else:
      left_out += 1
  if not found:
    raise ValueError(
      f"none of {left_out} lessons has the expert's command among the first "
      f"max_commands={spec.max_commands} admissible ones"
    )
  return Lessons(
    jax.tree.map(lambda *leaves: np.stack(leaves), *found),
    np.asarray(actions, np.int32),
    left_out,
  )


def make_imitate(
  apply_fn: Callable[[Any, reading.TextObservation], chex.Array],
  optimizer: optax.GradientTransformation,
) -> Callable[..., tuple[Any, Any, dict[str, chex.Array]]]:
  """Builds one optimiser step on a batch of lessons, compiled.

  Args:
    apply_fn: `(params, observation) -> logits`.
    optimizer: optax transformation.

  Returns:
    `imitate(params, opt_state, observation, action) -> (params, opt_state,
    metrics)`, which lowers -log p(expert's command), the mean over the batch;
    metrics are `imitation/loss` in nats and `imitation/agreement`, the share of
    lessons whose most probable command is the expert's, before the step.
  """

  def loss(params, observation, action):
    logits = apply_fn(params, observation)
    agreement = jnp.mean(jnp.argmax(logits, axis=-1) == action)
    return -jnp.mean(losses.log_prob(logits, action)), agreement

  @jax.jit
  def imitate(params, opt_state, observation, action):
    (value, agreement), gradients = jax.value_and_grad(loss, has_aux=True)(
      params, observation, action
    )
    updates, opt_state = optimizer.update(gradients, opt_state, params)
    metrics = {"imitation/loss": value, "imitation/agreement": agreement}
    return optax.apply_updates(params, updates), opt_state, metrics

  return imitate


def batches(
  number: int, *, batch_size: int, epochs: int, seed: int
) -> Sequence[np.ndarray]:
  """Indices of the lessons of each step: shuffled, every epoch anew.

  Args:
    number: lessons.
    batch_size: of a step; what does not fill one is left out of that epoch.
      With fewer lessons than a batch holds all are taken, some repeatedly.
    epochs: passes.
    seed: of the order.

  Returns:
    int arrays [batch_size].

  Raises:
    ValueError: a count is not positive.
  """
  for name, value in (
    ("number", number),
    ("batch_size", batch_size),
    ("epochs", epochs),
  ):
    if value < 1:
      raise ValueError(f"{name} must be at least 1, got {value}")
  random = np.random.default_rng(seed)
  steps = max(number // batch_size, 1)
  made: list[np.ndarray] = []
  for _ in range(epochs):
    order = np.resize(random.permutation(number), steps * batch_size)
    made += list(order.reshape(steps, batch_size))
  return made
