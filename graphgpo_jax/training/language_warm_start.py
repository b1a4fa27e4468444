"""A checkpoint of a language model that imitates an expert.

Runs start from it by `config.init_from`.
"""

import contextlib
import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import ml_collections

from graphgpo_jax.policy import partition
from graphgpo_jax.policy.pretrained import load
from graphgpo_jax.training import (
  checkpoint,
  language_batches,
  language_experiment,
  language_imitation,
  language_loss,
  language_optimise,
  language_settings,
  language_update,
  state,
  text_worlds,
  workdir,
)

# Folds of the seed, apart from those of training.
_ADAPTERS_STREAM, _SHUFFLE_STREAM = 0x696D69, 0x696D6A


def imitate_expert(
  config: ml_collections.ConfigDict,
  folder: str | os.PathLike,
  *,
  episodes: int,
  stray: float,
  epochs: int,
  batch_size: int,
  learning_rate: float,
  report: Callable[[str], None],
  pretrained: load.Pretrained | None = None,
) -> dict[str, Any]:
  """Trains a language model on expert episodes and saves what was trained.

  Parameters or adapters, micro-batches, packing and mesh are those of the
  config's training.

  Args:
    config: as `language_settings.default_config`.
    folder: claimed with the config; the checkpoint is written to it.
    episodes: tasks of the training side, each played once.
    stray: see `expert.play_expert`.
    epochs: passes over the lessons.
    batch_size: lessons of an optimiser step, about.
    learning_rate: of AdamW.
    report: takes lines about the progress.
    pretrained: as for `language_models.load_model`.

  Returns:
    `lessons`, `left_out` (see `language_imitation.read_lessons`), the
    `imitation/` metrics of the last step, and `before` and `after`, the panel's
    metrics, empty where `config.eval_every` is 0.

  Raises:
    ValueError: the config is not sound, the world has no expert, or a value is
      out of range.
    TextWorldError: the engine or its planner failed.
    OSError: the checkpoint cannot be written.
  """
  for name, value in (("epochs", epochs), ("batch_size", batch_size)):
    if value < 1:
      raise ValueError(f"{name} must be at least 1, got {value}")
  experiment = language_experiment.LanguageExperiment(config, pretrained)
  with contextlib.closing(experiment):
    taught = experiment.world.expert_lessons(episodes, stray=stray)
    lessons = _read(experiment, taught)
    folder = workdir.claim_workdir(folder, config)
    number = lessons.rows.mask.shape[0]
    report(
      f"{episodes} episodes, {number} lessons, {lessons.num_left_out} left out"
    )
    key = jax.random.key(config.seed)
    variables = experiment.initial_variables(
      jax.random.fold_in(key, _ADAPTERS_STREAM)
    )
    before = _panel(experiment, variables, key)
    variables, metrics = _imitate(
      experiment,
      variables,
      lessons,
      epochs=epochs,
      batch_size=batch_size,
      learning_rate=learning_rate,
      report=report,
    )
    after = _panel(experiment, variables, key)
    start = language_update.create_state(
      variables, experiment.optimizer, train=experiment.model.trained
    )
  with contextlib.closing(checkpoint.Checkpoints(folder)) as checkpoints:
    checkpoints.save(
      0,
      state.TrainState(
        params=start.trained,
        opt_state=start.opt_state,
        reference_params=None,
        step=start.step,
      ),
    )
    checkpoints.require_saved()
  return {
    "episodes": episodes,
    "lessons": number,
    "left_out": lessons.num_left_out,
    **metrics,
    "before": before,
    "after": after,
  }


def _read(experiment, taught) -> language_imitation.Lessons:
  config, pretrained = experiment.config, experiment.model.pretrained
  assert pretrained.chat_template is not None  # load_model has looked
  return language_imitation.read_lessons(
    taught,
    language_settings.prompt_spec(config),
    language_imitation.AnswerSpec(
      tag=language_settings.tag_spec(config),
      eos_ids=tuple(pretrained.eos_ids),
      stop_strings=tuple(config.response.stop_strings),
      max_tokens=config.response.max_tokens,
    ),
    render=pretrained.chat_template.render,
    encode=pretrained.require_tokenizer().encode,
  )


def _panel(experiment, variables, key) -> dict[str, float]:
  if not experiment.world.panel:
    return {}
  return {
    name: float(value)
    for name, value in experiment.evaluate(variables, key).items()
  }


def _imitate(
  experiment,
  variables: Any,
  lessons: language_imitation.Lessons,
  *,
  epochs: int,
  batch_size: int,
  learning_rate: float,
  report: Callable[[str], None],
) -> tuple[Any, dict[str, float]]:
  """The variables after all epochs, and the last step's metrics."""
  config, model, mesh = experiment.config, experiment.model, experiment.mesh
  optimizer = state.make_optimizer(
    learning_rate=learning_rate, max_grad_norm=config.optimizer.max_grad_norm
  )
  current = language_update.create_state(
    variables, optimizer, train=model.trained
  )
  updates = language_optimise.Updates(
    language_loss.make_log_probs(
      model.training,
      chunk=config.loss.chunk,
      # Of the policy that acts.
      temperature=config.response.temperature,
      with_entropy=False,
    ),
    optimizer,
    mesh=mesh,
    loss=language_imitation.imitation_loss,
  )
  random = text_worlds.seeded(config.seed, _SHUFFLE_STREAM)
  split = functools.partial(
    language_batches.make_minibatches,
    lessons.rows,
    minibatch_rows=batch_size,
    microbatch_rows=config.loss.microbatch_rows,
    row_tokens=language_settings.row_tokens(config),
    random=random,
  )
  steps = epochs * -(-lessons.rows.mask.shape[0] // batch_size)
  step, found = 0, dict[str, float]()
  for _ in range(epochs):
    for rows in split():
      parts = rows.mask.shape[0] // config.loss.microbatch_rows
      placed = rows if mesh is None else partition.place_rows(mesh, rows)
      current, metrics = updates[parts](current, placed)
      step += 1
      if step % max(steps // 10, 1) == 0 or step == steps:
        metrics = jax.device_get(metrics)
        found = {
          "imitation/loss": float(metrics["loss/policy"]),
          "imitation/probability": float(metrics["imitation/probability"]),
        }
        report(
          f"step {step}/{steps}: loss {found['imitation/loss']:.3f}, "
          f"probability {found['imitation/probability']:.3f}"
        )
  return current.variables, found
