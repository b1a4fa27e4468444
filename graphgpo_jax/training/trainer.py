"""A run with a work directory: config, metrics, checkpoint, progress."""

import contextlib
import os
from typing import Any

import jax
import ml_collections

from graphgpo_jax.training import (
  checkpoint,
  loop,
  metrics,
  progress,
  settings,
  text_experiment,
  warm_start,
  workdir,
)

# What the progress line shows of the metrics.
_NEWS = {
  "eval/success": "success",
  "eval/success_greedy": "greedy",
  "loss/entropy": "entropy",
}


def train(
  config: ml_collections.ConfigDict, folder: str | os.PathLike
) -> dict[str, float]:
  """Trains, or goes on with a run that was stopped.

  Writes `config.json`, `metrics.jsonl`, TensorBoard events and checkpoints to
  the folder, and of text worlds the episodes. A run that is started again goes
  on from its newest checkpoint; updates that it repeats draw the same numbers
  and are not logged twice. A fresh run takes its first parameters from the work
  directory `config.init_from` where that is set.

  Args:
    config: as `settings.default_config`.
    folder: the run's work directory.

  Returns:
    The metrics of the last update.

  Raises:
    ValueError: the config is not sound, or the folder holds another one.
  """
  # Before the folder is claimed: what is refused here must not stand there.
  if config.tensorboard:
    metrics.require_tensorboard()
  experiment = text_experiment.make_experiment(config)
  folder = workdir.claim_workdir(folder, config)
  writer = metrics.MetricsWriter(folder, tensorboard=config.tensorboard)
  checkpoints = checkpoint.Checkpoints(folder)
  start = loop.initial_state(experiment, config.seed)
  if checkpoints.latest_step() is not None:
    start = checkpoints.restore(start)
  elif config.init_from:
    start = warm_start.start_from(config.init_from, start)
  first = int(start.step)
  bar = progress.Progress(
    config.num_updates, title=f"{config.estimator}", done=first
  )
  played = None
  if isinstance(experiment, text_experiment.TextExperiment):
    played = experiment.open_log(folder)
  values: dict[str, float] = {}
  news: dict[str, float] = {}
  # Worlds of text have processes, which end whatever happens.
  with contextlib.closing(experiment), bar.running():
    if first == config.num_updates:
      bar.write(f"{folder} holds the finished run: nothing left to train")
    for state, values in loop.iterate(
      experiment, start, seed=config.seed, estimator=config.estimator
    ):
      step = int(state.step)
      writer.write(step, values)
      if played is not None and step:
        played(step)
      news.update(
        {short: values[name] for name, short in _NEWS.items() if name in values}
      )
      bar.show(step, news)
      every = config.checkpoint_every
      if step == config.num_updates or (every and step and step % every == 0):
        checkpoints.save(step, state)
  writer.close()
  checkpoints.close()
  return values


def evaluate(
  config: ml_collections.ConfigDict, folder: str | os.PathLike
) -> dict[str, Any]:
  """Plays the panel with the newest checkpoint of a work directory.

  Args:
    config: the config that the folder was trained with.
    folder: the run's work directory.

  Returns:
    `step` and the `eval/` metrics.

  Raises:
    ValueError: the folder holds no run, another config or no checkpoint.
  """
  settings.check_config(config)
  workdir.read_config(folder)
  folder = workdir.claim_workdir(folder, config)
  experiment = text_experiment.make_experiment(config)
  like = loop.initial_state(experiment, config.seed)
  checkpoints = checkpoint.Checkpoints(folder)
  state = checkpoints.restore(like)
  checkpoints.close()
  key = jax.random.fold_in(jax.random.key(config.seed), state.step)
  with contextlib.closing(experiment):
    panel = jax.device_get(experiment.evaluate(state.params, key))
  return {
    "step": int(state.step),
    **{name: float(value) for name, value in panel.items()},
  }
