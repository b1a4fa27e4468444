"""A language model's run with a work directory: metrics, rollouts, adapters."""

import contextlib
import functools
import os
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
  events,
  guard,
  language_batches,
  language_experiment,
  language_settings,
  language_update,
  profiling,
  session,
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
  resume_from: str | os.PathLike = "",
  profile_steps: range = range(0),
) -> dict[str, float]:
  """Trains, or goes on with a run that was stopped.

  Writes `config.json`, `metrics.jsonl`, checkpoints of what is trained (the
  adapters alone where there are some) and, in `rollouts/`, every step that was
  played in training with prompt, response and the columns of `assign_credit`.
  A run that is started again goes on from its newest good checkpoint (see
  `training.session`); what it plays again stands in `rollouts/` again. A
  SIGTERM, a SIGINT or a preemption notice saves at the end of the update and
  returns.

  Args:
    config: as `language_settings.default_config`.
    folder: the run's work directory.
    pretrained: as for `language_models.load_model`.
    resume_from: work directory of another run whose whole state a fresh run
      starts from; "" for none.
    profile_steps: updates of which a trace is written to `profile` in the
      folder.

  Returns:
    The metrics of the last update that was played; empty where nothing was left
    to train.

  Raises:
    ValueError: the config is not sound, the folder holds another one, another
      process trains in it, the path holds no chat model, or gradients stay
      without a finite value.
    OSError: the last checkpoint cannot be written.
  """
  # Before the folder is claimed: what is refused here must not stand there.
  language_settings.check_config(config)
  if config.tensorboard:
    events.require_tensorboard()
  experiment = language_experiment.LanguageExperiment(config, pretrained)
  values: dict[str, float] = {}
  with (
    contextlib.closing(experiment),
    session.Session(config, folder) as run,
  ):
    log = records.RolloutLog(
      str(run.folder / "rollouts"),
      max_file_bytes=config.log.max_file_megabytes * _MEGABYTE,
      max_total_bytes=config.log.max_total_megabytes * _MEGABYTE,
    )
    fresh = _fresh_state(experiment)
    saved = run.restore(_to_save(fresh), resume_from=resume_from)
    start = _from_saved(fresh, saved)
    updates = profiling.observe(
      iterate(experiment, start, log, run.refused),
      done=int(start.step),
      steps=profile_steps,
      folder=run.folder / "profile",
    )
    for current, found in updates:
      values = run.record(_to_save(current), found, shown=_NEWS)
      if run.stopped:
        break
  return values


def evaluate(
  config: ml_collections.ConfigDict,
  folder: str | os.PathLike,
  *,
  pretrained: load.Pretrained | None = None,
) -> dict[str, Any]:
  """Plays the panel with the newest checkpoint of a work directory.

  Args:
    config: the config that the folder was trained with.
    folder: the run's work directory.
    pretrained: as for `language_models.load_model`.

  Returns:
    `step` and the `eval/` metrics.

  Raises:
    ValueError: the folder holds no run, another config or no checkpoint.
  """
  language_settings.check_config(config)
  workdir.read_config(folder)
  folder = workdir.claim_workdir(folder, config)
  experiment = language_experiment.LanguageExperiment(config, pretrained)
  with contextlib.closing(experiment):
    fresh = _fresh_state(experiment)
    with contextlib.closing(checkpoint.Checkpoints(folder)) as checkpoints:
      saved = checkpoints.restore(_to_save(fresh))
    current = _from_saved(fresh, saved)
    key = jax.random.fold_in(jax.random.key(config.seed), int(current.step))
    panel = experiment.evaluate(current.variables, key)
  return {"step": int(current.step), **_floats(panel)}


def _fresh_state(
  experiment: language_experiment.LanguageExperiment,
) -> language_update.LanguageState:
  key = jax.random.key(experiment.config.seed)
  return experiment.initial_state(jax.random.fold_in(key, _ADAPTERS_STREAM))


def iterate(
  experiment: language_experiment.LanguageExperiment,
  current: language_update.LanguageState,
  log: records.RolloutLog,
  refused: guard.RefusedUpdates | None = None,
) -> Iterator[tuple[language_update.LanguageState, dict[str, float]]]:
  """Runs the updates that are left, one at a time.

  What update k draws depends on the seed and k alone.

  Args:
    experiment: what the config built.
    current: where to start; its buffers are taken over.
    log: takes the episodes of training.
    refused: ends a run whose gradients stay without a finite value; None lets
      it go on.

  Yields:
    The state after each update and its metrics, floats by name; `eval/` names
    where the panel was played, `time/` names in seconds. Before the first
    update comes one with the step 0 if the panel is played at all.

  Raises:
    guard.NotFiniteError: `refused` says so.
  """
  config = experiment.config
  key = jax.random.key(config.seed)
  step = int(current.step)
  refused_before = guard.count_refused(current.opt_state)
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
    dropped_before = log.dropped
    log.write(
      played.episodes,
      experiment.state_key,
      update=step + 1,
      success_reward=language_settings.success_reward(config),
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
    # Named so that a repeated update need not find the disk as full as before.
    values[records.NOT_LOGGED] = log.dropped - dropped_before
    refused_now = guard.count_refused(current.opt_state)
    values["optimiser/refused"] = refused_now - refused_before
    if refused is not None:
      refused.check(
        step,
        refused_now - refused_before,
        functools.partial(_batch, played, advantage),
      )
    refused_before = refused_now
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


def _batch(played, advantage) -> dict[str, Any]:
  return {
    "rows": language_batches.to_step_rows(played.episodes, advantage),
    "advantage": advantage,
  }


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
