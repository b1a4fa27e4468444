"""A language model's run with a work directory: metrics, rollouts, adapters."""

import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import ml_collections
import numpy as np

from graphgpo_jax.policy.pretrained import load
from graphgpo_jax.rollouts.host import records
from graphgpo_jax.training import (
  checkpoint,
  language_experiment,
  language_settings,
  language_update,
  metrics,
  progress,
  state,
  update,
  workdir,
)

_MEGABYTE = 2**20
# Folds of the run's key and numbers beside its seed, one for each use.
_ADAPTERS_STREAM = 0x6C6F7261
_SHUFFLE_STREAM = 0x73687566

_NEWS = {
  "eval/success": "panel",
  "rollout/success": "success",
  "rollout/invalid_actions": "invalid",
}


def train(
  config: ml_collections.ConfigDict,
  folder: str | os.PathLike,
  *,
  pretrained: load.Pretrained | None = None,
) -> dict[str, float]:
  """Trains, or goes on with a run that was stopped.

  Writes `config.json`, `metrics.jsonl`, checkpoints of what is trained (the
  adapters alone where there are some) and, in `rollouts/`, every step that was
  played in training with prompt, response and the columns of `assign_credit`.
  A run that is started again goes on from its newest checkpoint; what it plays
  again stands in `rollouts/` again.

  Args:
    config: as `language_settings.default_config`.
    folder: the run's work directory.
    pretrained: as for `language_models.load_model`.

  Returns:
    The metrics of the last update; empty where nothing was left to train.

  Raises:
    ValueError: the config is not sound, the folder holds another one, or the
      path holds no chat model.
  """
  # Before the folder is claimed: what is refused here must not stand there.
  language_settings.check_config(config)
  if config.tensorboard:
    metrics.require_tensorboard()
  experiment = language_experiment.LanguageExperiment(config, pretrained)
  folder = workdir.claim_workdir(folder, config)
  writer = metrics.MetricsWriter(folder, tensorboard=config.tensorboard)
  checkpoints = checkpoint.Checkpoints(folder)
  log = records.RolloutLog(
    str(pathlib.Path(folder) / "rollouts"),
    max_file_bytes=config.log.max_file_megabytes * _MEGABYTE,
    max_total_bytes=config.log.max_total_megabytes * _MEGABYTE,
  )
  key = jax.random.key(config.seed)
  start = experiment.initial_state(jax.random.fold_in(key, _ADAPTERS_STREAM))
  if checkpoints.latest_step() is not None:
    start = _from_saved(start, checkpoints.restore(_to_save(start)))
  first = int(start.step)
  bar = progress.Progress(
    config.num_updates, title=config.estimator, done=first
  )
  values: dict[str, float] = {}
  news: dict[str, float] = {}
  try:
    with bar.running():
      if first == config.num_updates:
        bar.write(f"{folder} holds the finished run: nothing left to train")
      for current, values in iterate(experiment, start, log):
        step = int(current.step)
        writer.write(step, values)
        news.update(
          {
            short: values[name]
            for name, short in _NEWS.items()
            if name in values
          }
        )
        bar.show(step, news)
        every = config.checkpoint_every
        if step == config.num_updates or (every and step and step % every == 0):
          checkpoints.save(step, _to_save(current))
  finally:
    experiment.close()
    writer.close()
    checkpoints.close()
  return values


def iterate(
  experiment: language_experiment.LanguageExperiment,
  current: language_update.LanguageState,
  log: records.RolloutLog,
) -> Iterator[tuple[language_update.LanguageState, dict[str, float]]]:
  """Runs the updates that are left, one at a time.

  What update k draws depends on the seed and k alone.

  Args:
    experiment: what the config built.
    current: where to start; its buffers are taken over.
    log: takes the episodes of training.

  Yields:
    The state after each update and its metrics, floats by name; `eval/` names
    where the panel was played, `time/` names in seconds. Before the first
    update comes one with the step 0 if the panel is played at all.
  """
  config = experiment.config
  key = jax.random.key(config.seed)
  step = int(current.step)
  if step == 0 and config.eval_every:
    seconds: dict[str, float] = {}
    panel = _timed(
      seconds, "evaluate", experiment.evaluate, current.variables, key
    )
    yield current, _floats({**panel, **seconds})
  while step < config.num_updates:
    seconds = {}
    collect_key, _ = update.update_keys(key, current.step)
    played, collected = _timed(
      seconds, "collect", experiment.collect, current.variables, collect_key
    )
    log.write(
      played.episodes,
      experiment.state_key,
      update=step,
      world_rewards=config.text.world_rewards,
    )
    advantage, assigned = _timed(
      seconds, "assign", experiment.assign, played, config.estimator
    )
    current, optimised = _timed(
      seconds,
      "optimise",
      experiment.optimise,
      current,
      played.episodes,
      advantage,
      np.random.default_rng((config.seed, _SHUFFLE_STREAM, step)),
    )
    seconds["time/update"] = sum(seconds.values())
    step += 1
    values = {**collected, **assigned, **optimised}
    values["rollout/groups_not_logged"] = log.dropped
    last = step == config.num_updates
    if config.eval_every and (step % config.eval_every == 0 or last):
      values |= _timed(
        seconds,
        "evaluate",
        experiment.evaluate,
        current.variables,
        jax.random.fold_in(key, step),
      )
    yield current, _floats({**values, **seconds})


def _timed(seconds: dict[str, float], name: str, function: Any, *args: Any):
  started = time.perf_counter()
  result = function(*args)
  seconds[f"time/{name}"] = time.perf_counter() - started
  return result


def _floats(values: dict[str, Any]) -> dict[str, float]:
  return {name: float(np.asarray(value)) for name, value in values.items()}


def _to_save(current: language_update.LanguageState) -> state.TrainState:
  """What a checkpoint holds: not the frozen weights, which have their file."""
  return state.TrainState(
    params=current.trained,
    opt_state=current.opt_state,
    reference_params=None,
    step=current.step,
  )


def _from_saved(
  like: language_update.LanguageState, saved: state.TrainState
) -> language_update.LanguageState:
  return like.replace(  # type: ignore[attr-defined]
    trained=saved.params, opt_state=saved.opt_state, step=saved.step
  )
