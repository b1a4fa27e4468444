"""What a config of a text world builds: the same phases, played on the host."""

import pathlib
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from graphgpo_jax.envs.text import registry
from graphgpo_jax.policy import transformer
from graphgpo_jax.policy.acting import choose, chooser
from graphgpo_jax.rollouts.host import (
  arrays,
  collect,
  episodes,
  factories,
  records,
)
from graphgpo_jax.rollouts.host import workers as workers_lib
from graphgpo_jax.training import (
  optimise,
  settings,
  state,
  text_settings,
  update,
)

# Folds of the key: evaluation never plays with a seed of training.
_TASKS, _PLAY, _EVALUATION = 0, 1, 0x65766C
_FILE_BYTES = 64 * 2**20


class TextExperiment:
  """The counterpart of `settings.Experiment` for text worlds.

  Collecting and evaluating are host functions around jitted ones, credit and
  optimiser are the jitted programs of every other environment. Worker
  processes start with the first episode; `close` ends them.

  Attributes:
    config: the config, locked.
    init_fn: `key -> params`.
    apply_fn: `(params, observation) -> logits`.
    optimizer: the optax transformation.
    panel: task ids of the evaluation.
    initial_state: jitted `key -> TrainState` before the first update.
    last_collection: the newest training episodes, or None.
  """

  def __init__(self, config: ml_collections.ConfigDict):
    """Builds the policy and the phases.

    Args:
      config: as `settings.default_config`, its environment a text world.

    Raises:
      ValueError: the config has an unknown key or a value out of range.
    """
    settings.check_config(config)
    self.config = ml_collections.FrozenConfigDict(config)
    world = config.environment.to_dict()
    self._world = world.pop("name")
    self._options = world | registry.key_options(
      self._world, config.text.state_key
    )
    self._state_key = registry.state_key(self._world, config.text.state_key)
    self._spec = text_settings.reading_spec(config)
    self._train_tasks = text_settings.task_sets(config, side="train")
    self.panel = text_settings.panel(config)
    self.init_fn, self.apply_fn = chooser.make_chooser(
      self._spec,
      transformer.TransformerConfig(
        **settings.policy_options(config), rope=True
      ),
    )
    self.optimizer: optax.GradientTransformation = state.make_optimizer(
      **config.optimizer.to_dict()
    )
    self._num_slots = (
      config.text.num_workers * config.text.environments_per_worker
    )
    self._chooser = choose.Chooser(
      self.apply_fn, self._spec, batch_size=self._num_slots
    )
    self._pool: workers_lib.WorkerPool | None = None
    self.last_collection: collect.Collection | None = None
    optimised = optimise.make_optimise(
      self.apply_fn, self.optimizer, **settings.loss_options(config)
    )
    self._optimise = jax.jit(
      lambda before, played, advantage, key: optimised(
        before, played.rollouts, advantage, key
      ),
      donate_argnums=0,
    )
    self._metrics = jax.jit(update.rollout_metrics)
    self.initial_state = jax.jit(self._initial_state)
    self._assign: dict[str, Any] = {}

  def close(self) -> None:
    """Ends the worker processes; the next episode would start new ones."""
    if self._pool is not None:
      self._pool.close()
      self._pool = None

  def open_log(self, folder: pathlib.Path) -> Callable[[int], None] | None:
    """Opens a log of training episodes, what `assign_credit` takes.

    A run that was stopped and goes on begins new files; updates that it repeats
    stand there twice, told apart by file.

    Args:
      folder: of the run; the log is `rollouts` in it.

    Returns:
      `write(update)`, which writes the newest update's episodes; None if none
      are to be kept.
    """
    size = self.config.text.rollout_megabytes * 2**20
    if not size:
      return None
    log = records.RolloutLog(
      str(folder / "rollouts"),
      max_file_bytes=min(size, _FILE_BYTES),
      max_total_bytes=size,
    )

    def write(update: int) -> None:
      if self.last_collection is not None:
        log.write(
          self.last_collection.episodes,
          self._state_key,
          update=update,
          world_rewards=self.config.text.world_rewards,
        )

    return write

  def programs(self, estimator: str) -> update.Phases:
    """The phases with this estimator, for the training loop."""
    if estimator not in self._assign:
      options = self.config.estimator_options.get(estimator, {})
      assign = update.make_assign(
        settings.make_estimator(estimator, dict(options))
      )
      self._assign[estimator] = jax.jit(
        lambda played: assign(
          # Equal commands are one action, wherever they stand in a list.
          played.rollouts.replace(action=played.command_id)
        )
      )
    return update.Phases(
      collect=self._collect,
      assign=self._assign[estimator],
      optimise=self._optimise,
    )

  def evaluate(self, params: Any, key: chex.PRNGKey) -> dict[str, float]:
    """Plays the panel, each task once sampled and once greedily.

    Args:
      params: of the policy.
      key: of the evaluation.

    Returns:
      The metrics of `training.evaluation`, and `eval/failed_episodes`.
    """
    key = jax.random.fold_in(key, _EVALUATION)
    played = self._play(
      params,
      self.panel,
      2,
      _seed(key),
      greedy=lambda plan: plan.rollout == 1,
    )
    sampled, greedy = (
      [one for one in played.sound if one.plan.rollout == rollout]
      for rollout in (0, 1)
    )
    return {
      "eval/success": _mean([one.success for one in sampled]),
      "eval/success_greedy": _mean([one.success for one in greedy]),
      "eval/return": _mean([one.episode_return for one in sampled]),
      "eval/length": _mean([len(one.turns) for one in sampled]),
      "eval/failed_episodes": float(sum(played.failures.values())),
    }

  def _initial_state(self, key: chex.PRNGKey) -> state.TrainState:
    return state.create_state(
      self.init_fn,
      self.optimizer,
      key,
      with_reference=self.config.loss.kl_coefficient > 0,
    )

  def _play(self, params, tasks, rollouts_per_task, seed, **greedy):
    if self._pool is None:
      text = self.config.text
      self._pool = workers_lib.WorkerPool(
        factories.WorldFactory(self._world, self._options),
        num_workers=text.num_workers,
        environments_per_worker=text.environments_per_worker,
      )
    return collect.collect(
      self._pool,
      episodes.plan_episodes(
        tasks, rollouts_per_task=rollouts_per_task, seed=seed
      ),
      self._chooser.bind(params, **greedy),
      seed=seed,
      max_steps=self.config.text.max_steps,
    )

  def _collect(self, params: Any, key: chex.PRNGKey):
    """The first phase: TextRollouts and metrics."""
    rollout = self.config.rollout
    tasks = text_settings.draw_tasks(
      self._train_tasks,
      rollout.tasks_per_update,
      seeded(_seed(key), _TASKS),
    )
    played = self._play(
      params,
      tasks,
      rollout.rollouts_per_task,
      _seed(jax.random.fold_in(key, _PLAY)),
    )
    self.last_collection = played
    found = arrays.to_rollouts(
      played.episodes,
      self._state_key,
      num_groups=rollout.tasks_per_update,
      rollouts_per_task=rollout.rollouts_per_task,
      max_steps=self.config.text.max_steps,
      spec=self._spec,
      world_rewards=self.config.text.world_rewards,
    )
    found = jax.tree.map(jnp.asarray, found)
    turns = [turn for one in played.sound for turn in one.turns]
    readings = [turn.action.extra[0] for turn in turns]
    busy = played.act_seconds / (played.act_seconds + played.wait_seconds)
    metrics = {
      **self._metrics(found.rollouts),
      "rollout/failed_episodes": float(sum(played.failures.values())),
      "rollout/words_cut": _mean([one.words_cut > 0 for one in readings]),
      "rollout/commands_cut": _mean([one.commands_cut > 0 for one in readings]),
      "time/share_of_acting": busy,
    }
    return found, metrics


def make_experiment(
  config: ml_collections.ConfigDict,
) -> settings.Experiment | TextExperiment:
  """What a config builds, be its environment on the device or a text world.

  Raises:
    ValueError: the config has an unknown key or a value out of range.
  """
  if text_settings.is_text(config):
    return TextExperiment(config)
  return settings.Experiment(config)


def seeded(seed: int, stream: int) -> np.random.Generator:
  """A generator of its own for each use of a seed."""
  return np.random.default_rng((seed, stream))


def _seed(key: chex.PRNGKey) -> int:
  """A number in [0, 2^31) from a key."""
  return int(jax.random.bits(key)) >> 1


def _mean(values: list[Any]) -> float:
  """The mean, or 0 of nothing."""
  return float(np.mean(values)) if values else 0.0
