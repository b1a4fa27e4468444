"""The third phase with a language model: optimiser steps over packed rows."""

from collections.abc import Sequence
from typing import Any

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
    self._optimizer = optimizer
    self._reference: Any = None
    options = {
      "chunk": config.loss.chunk,
      "temperature": config.response.temperature,
    }
    self._loss_options = language_settings.loss_options(config)
    self._log_probs = language_loss.make_log_probs(
      model.training,
      entropy_gradient=config.loss.entropy_coefficient > 0,
      **options,
    )
    self._score = self._make_score(model.training, options)
    self._score_reference = self._make_score(model.reference, options)
    self._updates: dict[int, Any] = {}

  def keep_reference(self, variables: Any) -> None:
    """Keeps what a KL term holds to: a copy where parameters are trained.

    Adapters leave the parameters as they are, so there nothing is copied.
    """
    if self._loss.kl_coefficient and self._model.trained == "params":
      self._reference = jax.tree.map(jnp.copy, variables["params"])

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
    found: list[Metrics] = []
    for rows, constants in zip(batches, arrays, strict=True):
      state, metrics = self._update(rows)(
        state, *self._place((rows, *constants))
      )
      metrics["rows/padding"] = packing.padding_share(rows)
      found.append(
        {name: float(value) for name, value in jax.device_get(metrics).items()}
      )
    # From the program's own result, so that it lies where programs expect it:
    # a number put there anew would make each of them compile again.
    step = state.step - (len(batches) - 1)
    return (
      state.replace(step=step),  # type: ignore[attr-defined]
      _together(found),
    )

  def _constants(self, state, rows) -> tuple[Any, Any]:
    """Log-probabilities of trainer and reference, None where not needed."""
    trainer = reference = None
    if self._loss.importance_cap:
      trainer = self._in_parts(self._score, state.variables, rows)
    if self._loss.kl_coefficient:
      params = self._reference
      if params is None:
        params = state.frozen["params"]
      reference = self._in_parts(
        self._score_reference, {"params": params}, rows
      )
    return trainer, reference

  def _in_parts(self, score, variables, rows: turns.TokenRows) -> np.ndarray:
    size = self._loss.microbatch_rows
    return np.concatenate(
      [
        np.asarray(score(variables, self._place(part)))
        for part in (
          jax.tree.map(lambda leaf, at=start: leaf[at : at + size], rows)
          for start in range(0, rows.mask.shape[0], size)
        )
      ]
    )

  def _make_score(self, module: language_model.LanguageModel, options) -> Any:
    log_probs = language_loss.make_log_probs(
      module, with_entropy=False, **options
    )

    @jax.jit
    def score(variables, rows):
      with partition.within(self._mesh):
        return log_probs(variables, rows)[0]

    return score

  def _update(self, rows: turns.TokenRows) -> Any:
    parts = rows.mask.shape[0] // self._loss.microbatch_rows
    if parts not in self._updates:
      self._updates[parts] = language_update.make_update(
        self._log_probs,
        self._optimizer,
        num_microbatches=parts,
        weigh=language_settings.WEIGHS[self._loss.aggregate],
        mesh=self._mesh,
        **self._loss_options,
      )
    return self._updates[parts]

  def _place(self, rows: Any) -> Any:
    return (
      rows if self._mesh is None else partition.place_rows(self._mesh, rows)
    )


def _together(found: list[Metrics]) -> Metrics:
  """Metrics of an update from those of its optimiser steps."""
  together = {}
  for name in found[0]:
    values = [one[name] for one in found]
    if name.endswith("_max"):
      together[name] = max(values)
    elif name == "sampler/tokens":
      together[name] = sum(values)
    else:
      together[name] = sum(values) / len(values)
  together["optimiser/steps"] = float(len(found))
  return together
