"""A checkpoint that imitates an expert, and runs that start from one."""

import os
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import optax

from graphgpo_jax.training import (
  checkpoint,
  imitation,
  loop,
  state,
  text_experiment,
  text_settings,
  workdir,
)


def imitate_expert(
  experiment: text_experiment.TextExperiment,
  folder: str | os.PathLike,
  config: ml_collections.ConfigDict,
  *,
  episodes: int,
  stray: float,
  epochs: int,
  batch_size: int,
  optimizer: optax.GradientTransformation,
  report: Callable[[str], None],
) -> dict[str, Any]:
  """Trains the policy of a text world on expert episodes and saves it.

  Args:
    experiment: of the config.
    folder: claimed with the config; the checkpoint is written to it.
    config: as `settings.default_config`.
    episodes: tasks of the training side, each played once.
    stray: see `expert.play_expert`.
    epochs: passes over the lessons.
    batch_size: lessons of a step.
    optimizer: of the imitation.
    report: takes lines about the progress.

  Returns:
    `lessons`, `left_out` (the expert's command was not among those read),
    `solved` (episodes), the `imitation/` metrics of the last step, and `before`
    and `after`, the panel's metrics.

  Raises:
    ValueError: the world has no expert, or a value is out of range.
    TextWorldError: the engine or its planner failed.
  """
  taught = experiment.world.expert_lessons(episodes, stray=stray)
  folder = workdir.claim_workdir(folder, config)
  lessons = imitation.read_lessons(
    taught,
    text_settings.reading_spec(config),
  )
  number = len(lessons.action)
  report(
    f"{episodes} episodes, {number} lessons, {lessons.num_left_out} left out"
  )
  start = loop.initial_state(experiment, config.seed)
  key = jax.random.key(config.seed)
  before = experiment.evaluate(start.params, key)
  imitate = imitation.make_imitate(experiment.apply_fn, optimizer)
  params, opt_state = start.params, optimizer.init(start.params)
  metrics: dict[str, Any] = {}
  order = imitation.batches(
    number, batch_size=batch_size, epochs=epochs, seed=config.seed
  )
  for step, rows in enumerate(order, start=1):
    params, opt_state, metrics = imitate(
      params,
      opt_state,
      jax.tree.map(lambda leaf, rows=rows: leaf[rows], lessons.observation),
      lessons.action[rows],
    )
    if step % max(len(order) // 10, 1) == 0:
      report(
        f"step {step}/{len(order)}: loss "
        f"{float(metrics['imitation/loss']):.3f}, agreement "
        f"{float(metrics['imitation/agreement']):.3f}"
      )
  after = experiment.evaluate(params, key)
  checkpoints = checkpoint.Checkpoints(folder)
  checkpoints.save(0, start.replace(params=params))  # type: ignore[attr-defined]
  checkpoints.require_saved()
  checkpoints.close()
  return {
    "episodes": episodes,
    "lessons": number,
    "left_out": lessons.num_left_out,
    **{name: float(value) for name, value in metrics.items()},
    "before": before,
    "after": after,
  }


def start_from(
  source: str | os.PathLike, like: state.TrainState
) -> state.TrainState:
  """The state before a first update, with the parameters of another run.

  Args:
    source: work directory of a run or a warm start; its newest checkpoint is
      read.
    like: the state of a fresh start.

  Returns:
    `like` with those parameters; a KL term holds to them, too.

  Raises:
    ValueError: there is no such checkpoint, or it is of another policy.
  """
  workdir.read_config(source)
  checkpoints = checkpoint.Checkpoints(source)
  try:
    params = checkpoints.restore_params(like)
  finally:
    checkpoints.close()
  copied: Any = {"params": params}
  if like.reference_params is not None:
    copied["reference_params"] = jax.tree.map(lambda leaf: leaf.copy(), params)
  return like.replace(**copied)  # type: ignore[attr-defined]
