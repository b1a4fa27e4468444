"""The third phase with a language model: optimiser steps over packed rows."""

import functools
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from graphgpo_jax.policy import language_model, partition
from graphgpo_jax.rollouts import packing, turns
from graphgpo_jax.rollouts.host import episodes as episodes_lib
from graphgpo_jax.training import (
  language_batches,
  language_loss,
  language_models,
  language_settings,
  language_update,
)

Metrics = dict[str, float]


class Optimise:
  """Trains on episodes: one pass over their steps, in minibatches.

  A program is compiled for each number of micro-batches that occurs, of which
  `language_batches.make_minibatches` leaves few.
  """

  def __init__(
    self,
    config: ml_collections.FrozenConfigDict,
    model: language_models.TrainedModel,
    optimizer: optax.GradientTransformation,
    *,
    mesh: jax.sharding.Mesh | None = None,
  ):
    """Compiles nothing yet.

    Args:
      config: as `language_settings.default_config`.
      model: the language model.
      optimizer: optax transformation.
      mesh: where the state is; None for one device.
    """
    self._loss = config.loss
    self._row_tokens = language_settings.row_tokens(config)
    self._model = model
    self._mesh = mesh
    self._reference: dict[str, Any] = {}
    options = {
      "chunk": config.loss.chunk,
      "temperature": config.response.temperature,
    }
    log_probs = language_loss.make_log_probs(
      model.training,
      entropy_gradient=config.loss.entropy_coefficient > 0,
      **options,
    )
    self._score = self._make_score(model.training, options)
    self._score_reference = self._make_score(model.reference, options)
    self._join = jax.jit(jnp.concatenate)
    self._updates = Updates(
      log_probs,
      optimizer,
      mesh=mesh,
      weigh=language_settings.WEIGHS[config.loss.aggregate],
      **language_settings.loss_options(config),
    )

  def keep_reference(
    self, variables: Any, *, fresh_adapters: bool = True
  ) -> None:
    """Keeps what a KL term holds to: a copy of what is trained.

    Args:
      variables: before the first update.
      fresh_adapters: adapters, where there are any, change nothing yet: then
        the parameters below them are enough, which nobody changes.
    """
    if not self._loss.kl_coefficient:
      return
    if self._model.trained == "params" or not fresh_adapters:
      name = self._model.trained
      self._reference = {name: jax.tree.map(jnp.copy, variables[name])}
      self._score_reference = self._score

  def __call__(
    self,
    state: language_update.LanguageState,
    episodes: Sequence[episodes_lib.Episode],
    advantage: np.ndarray,
    random: np.random.Generator,
  ) -> tuple[language_update.LanguageState, Metrics]:
    """One update.

    Args:
      state: before; its buffers are taken over, unless there is nothing to
        learn.
      episodes: played by a `Generator` with the state's variables.
      advantage: float32 [B, M, T], of each group's rollouts' steps.
      random: shuffles the steps into minibatches.

    Returns:
      The state after it, its step one more, and metrics: means over the
      minibatches, `_max` the largest, `sampler/tokens` the sum. Where all
      advantages are 0 nothing is computed and `optimiser/skipped` is 1.

    Raises:
      ValueError: a row is longer than `config.loss.row_tokens`.
    """
    if not advantage.any():
      following = state.replace(step=state.step + 1)  # type: ignore[attr-defined]
      return following, {"optimiser/skipped": 1.0}
    batches = language_batches.make_minibatches(
      language_batches.to_step_rows(episodes, advantage),
      minibatch_rows=self._loss.minibatch_rows,
      microbatch_rows=self._loss.microbatch_rows,
      row_tokens=self._row_tokens,
      random=random,
    )
    # All before the first step: they are of the policy that played.
    arrays = [self._constants(state, rows) for rows in batches]
    found = []
    for rows, constants in zip(batches, arrays, strict=True):
      parts = rows.mask.shape[0] // self._loss.microbatch_rows
      state, metrics = self._updates[parts](
        state, *self._place((rows, *constants))
      )
      found.append({**metrics, "rows/padding": packing.padding_share(rows)})
    # From the program's own result, so that it lies where programs expect it:
    # a number put there anew would make each of them compile again.
    step = state.step - (len(batches) - 1)
    return (
      state.replace(step=step),  # type: ignore[attr-defined]
      # Once for all: to ask after each step would have the device wait.
      _together(jax.device_get(found)),
    )

  def _constants(self, state, rows) -> tuple[Any, Any]:
    """Log-probabilities of trainer and reference, None where not needed."""
    trainer = reference = None
    if self._loss.importance_cap:
      trainer = self._in_parts(self._score, state.variables, rows)
    if self._loss.kl_coefficient:
      variables = {**state.frozen, **self._reference}
      reference = self._in_parts(self._score_reference, variables, rows)
    return trainer, reference

  def _in_parts(self, score, variables, rows: turns.TokenRows) -> chex.Array:
    """Scores of all rows, float32 [R, L], on the device."""
    size = self._loss.microbatch_rows
    scores: list[chex.Array] = []
    for start in range(0, rows.mask.shape[0], size):
      part = jax.tree.map(lambda leaf, at=start: leaf[at : at + size], rows)
      # One works and one waits: more at once would hold the activations of all.
      jax.block_until_ready(scores[-2:-1])
      scores.append(score(variables, self._place(part)))
    return self._join(scores)

  def _make_score(self, module: language_model.LanguageModel, options) -> Any:
    log_probs = language_loss.make_log_probs(
      module, with_entropy=False, **options
    )

    @jax.jit
    def score(variables, rows):
      with partition.within(self._mesh):
        return log_probs(variables, rows)[0]

    return score

  def _place(self, rows: Any) -> Any:
    return (
      rows if self._mesh is None else partition.place_rows(self._mesh, rows)
    )


class Updates(dict[int, Any]):
  """Optimiser steps by number of micro-batches, compiled as they occur."""

  def __init__(
    self,
    log_probs: language_loss.LogProbFn,
    optimizer: optax.GradientTransformation,
    **options: Any,
  ):
    """Compiles nothing yet.

    Args:
      log_probs: as for `language_update.make_update`.
      optimizer: as there.
      **options: its other keywords.
    """
    super().__init__()
    self._make = functools.partial(
      language_update.make_update, log_probs, optimizer, **options
    )

  def __missing__(self, num_microbatches: int) -> Any:
    made = self._make(num_microbatches=num_microbatches)
    self[num_microbatches] = made
    return made


def _together(found: list[dict[str, Any]]) -> Metrics:
  """Metrics of an update from those of its optimiser steps."""
  together = {}
  for name in found[0]:
    values = [float(one[name]) for one in found]
    if name.endswith("_max"):
      together[name] = max(values)
    elif name == "sampler/tokens":
      together[name] = sum(values)
    else:
      together[name] = sum(values) / len(values)
  together["optimiser/steps"] = float(len(found))
  return together
