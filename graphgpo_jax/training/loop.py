"""The loop of a run: updates, evaluations, and their seconds."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from graphgpo_jax.training import (
  environment_experiment,
  guard,
  state,
  text_experiment,
  update,
)

Experiment = environment_experiment.Experiment | text_experiment.TextExperiment

# Folds of the run's key, one for each use that is not an update.
_PARAMETERS_STREAM = 0x706172


def initial_state(experiment: Experiment, seed: int) -> state.TrainState:
  """State of the run with this seed before its first update."""
  key = jax.random.fold_in(jax.random.key(seed), _PARAMETERS_STREAM)
  return experiment.initial_state(key)


def iterate(
  experiment: Experiment,
  train_state: state.TrainState,
  *,
  seed: int,
  estimator: str,
  refused: guard.RefusedUpdates | None = None,
  keep: Callable[[int, Any], Mapping[str, float] | None] | None = None,
) -> Iterator[tuple[state.TrainState, dict[str, float]]]:
  """Runs the updates that are left, one at a time.

  The phases are called one by one, so that each one's seconds are known, and
  runs that differ in seed or estimator share what is compiled. What update k
  draws depends on seed and k alone.

  Args:
    experiment: what the config built.
    train_state: where to start; its buffers are taken over.
    seed: of the run.
    estimator: name of the estimator.
    refused: ends a run whose gradients stay without a finite value; None lets
      it go on.
    keep: `(update, rollouts)`, called with what each update learned from; may
      return metrics.

  Yields:
    The state after each update and its metrics, floats by name; `eval/` names
    where the panel was played, `time/` names in seconds (the first update's
    hold the compilation). Before the first update comes one with the step 0.

  Raises:
    guard.NotFiniteError: `refused` says so.
  """
  config = experiment.config
  key = jax.random.key(seed)
  programs = experiment.programs(estimator)
  step = int(train_state.step)
  refused_before = guard.count_refused(train_state.opt_state)
  if step == 0:
    seconds: dict[str, float] = {}
    panel = _timed(
      seconds, "time/evaluate", experiment.evaluate, train_state.params, key
    )
    yield train_state, _floats({**panel, **seconds})
  while step < config.num_updates:
    seconds = {}
    batch: dict[str, Any] = {}
    train_state, metrics = update.run_phases(
      programs,
      train_state,
      *update.update_keys(key, step),
      call=functools.partial(_timed_phase, seconds, batch),
    )
    seconds["time/update"] = sum(seconds.values())
    step += 1
    refused_now = guard.count_refused(train_state.opt_state)
    metrics["optimiser/refused"] = refused_now - refused_before
    if refused is not None:
      refused.check(
        step, refused_now - refused_before, functools.partial(dict, batch)
      )
    refused_before = refused_now
    if keep is not None:
      kept = _timed(seconds, "time/keep", keep, step, batch["rollouts"])
      metrics.update(kept or {})
    # Its memory is the next update's.
    del batch
    seconds["time/steps_per_second"] = (
      float(metrics["rollout/steps"]) / seconds["time/update"]
    )
    if step % config.eval_every == 0 or step == config.num_updates:
      panel_key = jax.random.fold_in(key, step)
      metrics.update(
        _timed(
          seconds,
          "time/evaluate",
          experiment.evaluate,
          train_state.params,
          panel_key,
        )
      )
    yield train_state, _floats({**metrics, **seconds})


def _timed_phase(
  seconds: dict[str, float],
  batch: dict[str, Any],
  name: str,
  function: Any,
  *args: Any,
):
  if name == "optimise":
    _, batch["rollouts"], batch["advantage"], batch["key"] = args
  return _timed(seconds, f"time/{name}", function, *args)


def _timed(seconds: dict[str, float], name: str, function: Any, *args: Any):
  started = time.perf_counter()
  result = jax.block_until_ready(function(*args))
  seconds[name] = time.perf_counter() - started
  return result


def _floats(metrics: dict[str, Any]) -> dict[str, float]:
  return {
    name: float(np.asarray(value))
    for name, value in jax.device_get(metrics).items()
  }
