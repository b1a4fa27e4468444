"""Acting by choosing among the admissible commands."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from graphgpo_jax.policy.acting import reading
from graphgpo_jax.rollouts.host import episodes

ApplyFn = Callable[[Any, reading.TextObservation], chex.Array]


class Chooser:
  """An actor for `rollouts.host.collect` that scores commands.

  Batches are padded to one size, so that one program serves all of them. A
  choice is drawn with a key of the episode's own: fold_in of seed, index and
  step.

  Attributes:
    spec: what is read.
    batch_size: of the program.
  """

  def __init__(
    self, apply_fn: ApplyFn, spec: reading.ReadingSpec, *, batch_size: int
  ):
    """Builds the program.

    Args:
      apply_fn: `(params, observation) -> logits`.
      spec: what is read.
      batch_size: contexts at once at most.
    """
    self.spec = spec
    self.batch_size = batch_size
    self._choose = jax.jit(functools.partial(_choose, apply_fn))

  def bind(
    self,
    params: Any,
    *,
    greedy: Callable[[episodes.Plan], bool] = lambda plan: False,
  ) -> Callable[[Sequence[episodes.Context]], list[episodes.Action]]:
    """The function that `collect` calls.

    Args:
      params: of the policy.
      greedy: tells which episodes take the most probable command.

    Returns:
      Contexts to actions. An action's `extra` is `(reading, index, log_prob)`:
      what was read, which of its commands was chosen, and the log-probability
      of that, in nats.
    """

    def act(
      contexts: Sequence[episodes.Context],
    ) -> list[episodes.Action]:
      read = [reading.read(context, self.spec) for context in contexts]
      observation = reading.empty(self.spec, (self.batch_size,))
      keys = np.zeros((self.batch_size, 3), np.uint32)
      is_greedy = np.zeros(self.batch_size, bool)
      for row, (context, one) in enumerate(zip(contexts, read, strict=True)):
        for name, value in vars(one.observation).items():
          getattr(observation, name)[row] = value
        keys[row] = np.asarray(context.random_key, np.int64) & 0xFFFFFFFF
        is_greedy[row] = greedy(context.plan)
      chosen, log_prob = jax.device_get(
        self._choose(params, observation, keys, is_greedy)
      )
      return [
        episodes.Action(
          one.commands[index],
          prompt=one.text,
          response=one.commands[index],
          prompt_tokens=int(one.observation.token_mask.sum()),
          response_tokens=1,
          extra=(one, int(index), float(value)),
        )
        for one, index, value in zip(read, chosen, log_prob, strict=False)
      ]

    return act


def _choose(apply_fn, params, observation, keys, is_greedy):
  """Indices int32 [N] and their log-probabilities float32 [N]."""
  log_probs = jax.nn.log_softmax(apply_fn(params, observation))

  def draw(numbers, row):
    key = jax.random.key(numbers[0])
    for number in numbers[1:]:
      key = jax.random.fold_in(key, number)
    return jax.random.categorical(key, row)

  drawn = jax.vmap(draw)(keys, log_probs)
  chosen = jnp.where(is_greedy, jnp.argmax(log_probs, axis=-1), drawn)
  taken = jnp.take_along_axis(log_probs, chosen[:, None], axis=1)[:, 0]
  return chosen.astype(jnp.int32), taken
