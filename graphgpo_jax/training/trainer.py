"""A run with a work directory: config, metrics, checkpoint, progress."""

import contextlib
import os
from typing import Any

import jax
import ml_collections

from graphgpo_jax.training import (
  checkpoint,
  distributed,
  events,
  loop,
  profiling,
  session,
  settings,
  text_experiment,
  workdir,
)

# What the progress line shows of the metrics.
_NEWS = {
  "eval/success": "success",
  "eval/success_greedy": "greedy",
  "loss/entropy": "entropy",
}


def train(
  config: ml_collections.ConfigDict,
  folder: str | os.PathLike,
  *,
  resume_from: str | os.PathLike = "",
  profile_steps: range = range(0),
) -> dict[str, float]:
  """Trains, or goes on with a run that was stopped.

  Writes `config.json`, `metrics.jsonl`, TensorBoard events and checkpoints to
  the folder, and to `rollouts` in it the steps that `config.keep` keeps, or of
  text worlds the episodes. A run that is started again goes on from its newest
  good checkpoint; updates that it repeats draw the same numbers and are not
  logged twice. `training.session` says what else a run can start from. A
  SIGTERM, a SIGINT or a preemption notice saves at the end of the update and
  returns.

  Args:
    config: as `settings.default_config`.
    folder: the run's work directory.
    resume_from: work directory of another run whose whole state a fresh run
      starts from; "" for none.
    profile_steps: updates of which a trace is written to `profile` in the
      folder.

  Returns:
    The metrics of the last update that was played, empty if there was none.

  Raises:
    ValueError: the config is not sound, the folder holds another one, another
      process trains in it, or gradients stay without a finite value.
    OSError: the last checkpoint cannot be written.
  """

  def build():
    if config.tensorboard and distributed.is_main():
      events.require_tensorboard()
    return text_experiment.make_experiment(config)

  # Before the folder is claimed: what is refused here must not stand there.
  experiment = distributed.together(build)
  values: dict[str, float] = {}
  # Worlds of text have processes, which end whatever happens.
  with (
    contextlib.closing(experiment),
    session.Session(config, folder) as run,
  ):
    start = run.restore(
      loop.initial_state(experiment, config.seed),
      resume_from=resume_from,
      init_from=config.init_from,
    )
    keep = distributed.together(lambda: experiment.open_log(run.folder))
    updates = profiling.observe(
      loop.iterate(
        experiment,
        start,
        seed=config.seed,
        estimator=config.estimator,
        refused=run.refused,
        keep=keep,
      ),
      done=int(start.step),
      steps=profile_steps,
      folder=run.folder / "profile",
    )
    for state, found in updates:
      values = run.record(state, found, shown=_NEWS)
      if run.stopped:
        break
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

  def build():
    settings.check_config(config)
    workdir.read_config(folder)
    workdir.claim_workdir(folder, config)
    return text_experiment.make_experiment(config)

  experiment = distributed.together(build)
  like = loop.initial_state(experiment, config.seed)
  checkpoints = checkpoint.Checkpoints(folder)
  state = checkpoints.restore(like)
  checkpoints.close()
  key = jax.random.fold_in(jax.random.key(config.seed), int(state.step))
  with contextlib.closing(experiment):
    panel = jax.device_get(experiment.evaluate(state.params, key))
  return {
    "step": int(state.step),
    **{name: float(value) for name, value in panel.items()},
  }
