"""The host side of a run in a text world: tasks, panel, workers, episode log.

The same for a policy that chooses commands and for a language model, which
differ in what acts alone.
"""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import chex
import jax
import ml_collections
import numpy as np

from graphgpo_jax.envs.text import registry
from graphgpo_jax.rollouts.host import collect as collect_lib
from graphgpo_jax.rollouts.host import (
  episodes,
  expert,
  factories,
  records,
)
from graphgpo_jax.rollouts.host import workers as workers_lib
from graphgpo_jax.training import text_settings, text_shares

# Folds of the key: evaluation never plays with a seed of training.
_TASKS, _PLAY, _EVALUATION = 0, 1, 0x65766C
# What imitation draws is apart from what training draws.
_IMITATION = 0x696D69


class TextWorld:
  """Plays a config's text world.

  Worker processes start with the first episode; `close` ends them.

  Attributes:
    state_key: tells states apart.
    panel: task ids of the evaluation.
  """

  def __init__(
    self, config: ml_collections.ConfigDict, *, with_panel: bool = True
  ):
    """Lists the tasks; starts no process.

    Args:
      config: of a text world, of either kind of policy, checked.
      with_panel: whether there is an evaluation.

    Raises:
      ValueError: there is no such world, key, task option or panel.
    """
    self._config = ml_collections.FrozenConfigDict(config)
    self._options = config.environment.to_dict()
    self._name = self._options.pop("name")
    key = config.text.state_key
    self.state_key = registry.state_key(self._name, key)
    self._factory = factories.WorldFactory(
      self._name, self._options | registry.key_options(self._name, key)
    )
    self._train_tasks = text_settings.task_sets(config, side="train")
    self.panel = text_settings.panel(config) if with_panel else []
    self._pool: workers_lib.WorkerPool | None = None

  @property
  def num_slots(self) -> int:
    """Episodes that are under way at once at most."""
    text = self._config.text
    return text.num_workers * text.environments_per_worker

  def close(self) -> None:
    """Ends the worker processes; the next episode would start new ones."""
    if self._pool is not None:
      self._pool.close()
      self._pool = None

  def train(
    self,
    act: collect_lib.Act,
    key: chex.PRNGKey,
    *,
    min_batch: int | None = None,
    groups: Sequence[int] | None = None,
  ) -> collect_lib.Collection:
    """Plays B tasks of the training side, M episodes each.

    Args:
      act: chooses actions.
      key: of this update's tasks and draws.
      min_batch: as for `collect`.
      groups: which of the B to play; all by default.

    Returns:
      The episodes.
    """
    rollout = self._config.rollout
    tasks = text_settings.draw_tasks(
      self._train_tasks,
      rollout.tasks_per_update,
      seeded(_seed(key), _TASKS),
    )
    return self._play(
      act,
      tasks,
      rollout.rollouts_per_task,
      _seed(jax.random.fold_in(key, _PLAY)),
      min_batch,
      groups,
    )

  def evaluate(
    self,
    act: collect_lib.Act,
    key: chex.PRNGKey,
    *,
    rollouts_per_task: int = 1,
    min_batch: int | None = None,
    groups: Sequence[int] | None = None,
  ) -> collect_lib.Collection:
    """Plays the panel.

    Args:
      act: chooses actions.
      key: of the evaluation.
      rollouts_per_task: episodes of each task.
      min_batch: as for `collect`.
      groups: which tasks of the panel to play; all by default.

    Returns:
      The episodes.
    """
    seed = _seed(jax.random.fold_in(key, _EVALUATION))
    return self._play(
      act, self.panel, rollouts_per_task, seed, min_batch, groups
    )

  def expert_lessons(
    self, number: int, *, stray: float = 0.0
  ) -> list[expert.Lesson]:
    """What the world's expert does in tasks of the training side.

    Args:
      number: of tasks, each played once.
      stray: as for `expert.play_expert`.

    Returns:
      The lessons of all episodes in order.

    Raises:
      ValueError: the world has no expert, or `stray` is out of range.
      TextWorldError: the engine or its planner failed.
    """
    seed = self._config.seed
    tasks = text_settings.draw_tasks(
      self._train_tasks, number, seeded(seed, _IMITATION)
    )
    # Without what a state key needs: nobody asks for keys here.
    environment: Any = registry.make(self._name, **self._options)
    try:
      played = expert.play_expert(
        environment,
        tasks,
        seed=seed,
        max_steps=self._config.text.max_steps,
        stray=stray,
      )
    finally:
      environment.close()
    return [lesson for episode in played for lesson in episode]

  def open_log(
    self,
    folder: str | os.PathLike,
    *,
    success_reward: float | None,
    max_file_bytes: int,
    max_total_bytes: int,
  ) -> "EpisodeLog":
    """Opens the log of training episodes, `rollouts` in a run's folder.

    Of several processes, those after the first have `process-1` and so on in
    it, each for what it played.

    A run that was stopped and goes on begins new files; updates that it repeats
    stand there twice, told apart by file.

    Args:
      folder: of the run.
      success_reward: as for `records.step_columns`.
      max_file_bytes: of a file.
      max_total_bytes: of all that this process writes, the oldest giving way.
    """
    place = pathlib.Path(folder) / "rollouts"
    if jax.process_index():
      place /= f"process-{jax.process_index()}"
    log = records.RolloutLog(
      str(place),
      max_file_bytes=max_file_bytes,
      max_total_bytes=max_total_bytes,
    )
    return EpisodeLog(log, self.state_key, success_reward=success_reward)

  def _play(self, act, tasks, rollouts_per_task, seed, min_batch, groups):
    plans = episodes.plan_episodes(
      tasks, rollouts_per_task=rollouts_per_task, seed=seed
    )
    if groups is not None:
      wanted = frozenset(groups)
      plans = tuple(plan for plan in plans if plan.group in wanted)
    text = self._config.text
    if self._pool is None:
      self._pool = workers_lib.WorkerPool(
        self._factory,
        num_workers=text.num_workers,
        environments_per_worker=text.environments_per_worker,
        step_timeout=text.step_timeout,
        reset_timeout=text.reset_timeout,
      )
    return collect_lib.collect(
      self._pool,
      plans,
      act,
      seed=seed,
      max_steps=text.max_steps,
      min_batch=min_batch,
    )


class EpisodeLog:
  """Writes the episodes of training, what `assign_credit` takes."""

  def __init__(
    self, log: records.RolloutLog, state_key, *, success_reward: float | None
  ):
    """Of `TextWorld.open_log`."""
    self._log = log
    self._state_key = state_key
    self._success_reward = success_reward

  @property
  def dropped(self) -> int:
    """Groups that were too large for a file."""
    return self._log.dropped

  def write(self, played: collect_lib.Collection, *, update: int) -> None:
    """Writes the episodes of an update."""
    self._log.write(
      played.episodes,
      self._state_key,
      update=update,
      success_reward=self._success_reward,
    )


def panel_metrics(played: Sequence[text_shares.Outcome]) -> dict[str, float]:
  """What is said of episodes of the panel: success, return, length.

  Args:
    played: none of them failed.

  Returns:
    `eval/success`, `eval/return` (what the world paid) and `eval/length`.
  """
  return {
    "eval/success": mean([one.success for one in played]),
    "eval/return": mean([one.episode_return for one in played]),
    "eval/length": mean([one.length for one in played]),
  }


def playing_metrics(played: collect_lib.Collection) -> dict[str, float]:
  """What is said of how playing went: failures, and who waited for whom.

  Args:
    played: by this process; all of them are counted.
  """
  total = text_shares.add_up(
    {
      "failed": num_failed(played),
      "acting": played.act_seconds,
      "seconds": played.act_seconds + played.wait_seconds,
    }
  )
  return {
    "rollout/failed_episodes": total["failed"],
    "time/share_of_acting": total["acting"] / max(total["seconds"], 1e-9),
  }


def num_failed(played: collect_lib.Collection) -> float:
  """Episodes whose worker or engine broke."""
  return float(sum(played.failures.values()))


def seeded(seed: int, stream: int) -> np.random.Generator:
  """A generator of its own for each use of a seed."""
  return np.random.default_rng((seed, stream))


def mean(values: Sequence[Any]) -> float:
  """The mean, or 0 of nothing."""
  return float(np.mean(values)) if len(values) else 0.0


def _seed(key: chex.PRNGKey) -> int:
  """A number in [0, 2^31) from a key."""
  return int(jax.random.bits(key)) >> 1
