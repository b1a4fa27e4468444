"""What a config of a text world builds: the same phases, played on the host."""

import functools
import os
from collections.abc import Callable
from typing import Any

import chex
import jax
import ml_collections
import optax

from graphgpo_jax.policy import partition_rules, transformer
from graphgpo_jax.policy.acting import choose, chooser
from graphgpo_jax.rollouts.host import arrays, collect, records
from graphgpo_jax.training import (
  distributed,
  environment_experiment,
  optimise,
  settings,
  state,
  text_settings,
  text_shares,
  text_worlds,
  update,
)
from graphgpo_jax.training import mesh as mesh_lib

_FILE_BYTES = 64 * 2**20


class TextExperiment:
  """The counterpart of `environment_experiment.Experiment` for text worlds.

  Collecting and evaluating are host functions around jitted ones, credit and
  optimiser are the jitted programs of every other environment. Worker
  processes start with the first episode; `close` ends them.

  Attributes:
    config: the config, locked.
    init_fn: `key -> params`.
    apply_fn: `(params, observation) -> logits`.
    optimizer: the optax transformation.
    world: tasks, panel and workers.
    mesh: the devices that share credit and optimiser, of all processes; None
      for one. Of each process, one of them acts.
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
    self._spec = text_settings.reading_spec(config)
    self.world = text_worlds.TextWorld(config)
    self.mesh = settings.make_mesh(config, "rollout.tasks_per_update")
    self._groups = text_shares.own_groups(
      self.mesh, config.rollout.tasks_per_update
    )
    self.init_fn, self.apply_fn = chooser.make_chooser(
      self._spec,
      transformer.TransformerConfig(
        **settings.policy_options(config), rope=True
      ),
    )
    self.optimizer: optax.GradientTransformation = state.make_optimizer(
      **config.optimizer.to_dict()
    )
    self._chooser = choose.Chooser(
      self.apply_fn, self._spec, batch_size=self.world.num_slots
    )
    self.last_collection: collect.Collection | None = None
    rules = partition_rules.COMMAND_CHOOSER
    optimised = optimise.make_optimise(
      self.apply_fn,
      self.optimizer,
      **settings.loss_options(config),
      mesh=self.mesh,
      rules=rules,
    )
    self._jit = functools.partial(
      jax.jit, compiler_options=mesh_lib.compiler_options(self.mesh)
    )
    placed = mesh_lib.state_shardings(
      self.mesh,
      jax.eval_shape(self._initial_state, jax.random.key(0)),
      rules=rules,
    )
    self._optimise = self._jit(
      lambda before, played, advantage, key: optimised(
        before, played.rollouts, advantage, key
      ),
      donate_argnums=0,
      # As it came, so that the next update finds what it is compiled for.
      out_shardings=None if self.mesh is None else (placed, None),
    )
    self._metrics = jax.jit(update.rollout_metrics)
    self.initial_state = jax.jit(self._initial_state, out_shardings=placed)
    self._assign: dict[str, Any] = {}

  def close(self) -> None:
    """Ends the worker processes; the next episode would start new ones."""
    self.world.close()

  def open_log(
    self, folder: str | os.PathLike
  ) -> Callable[[int, Any], dict[str, float]] | None:
    """Opens a log of training episodes, what `assign_credit` takes.

    A run that was stopped and goes on begins new files; updates that it repeats
    stand there twice, told apart by file.

    Args:
      folder: of the run; the log is `rollouts` in it.

    Returns:
      `write(update, rollouts)`, which writes the newest update's episodes, not
      the arrays that were made of them, and returns a metric, how many groups
      found no room; None if none are to be kept. All processes call it.
    """
    size = self.config.text.rollout_megabytes * 2**20 // jax.process_count()
    if not size:
      return None
    log = self.world.open_log(
      folder,
      success_reward=text_settings.success_reward(self.config),
      max_file_bytes=min(size, _FILE_BYTES),
      max_total_bytes=size,
    )

    def write(update: int, rollouts: Any) -> dict[str, float]:
      del rollouts
      played, before = self.last_collection, log.dropped
      if played is not None:
        distributed.together(lambda: log.write(played, update=update))
      return text_shares.add_up({records.NOT_LOGGED: log.dropped - before})

    return write

  def programs(self, estimator: str) -> update.Phases:
    """The phases with this estimator, for the training loop."""
    if estimator not in self._assign:
      options = self.config.estimator_options.get(estimator, {})
      assign = update.make_assign(
        settings.make_estimator(estimator, dict(options)), mesh=self.mesh
      )
      self._assign[estimator] = self._jit(
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
    act = self._chooser.bind(
      text_shares.own_copy(params, self.mesh),
      greedy=lambda plan: plan.rollout == 1,
    )
    played = distributed.together(
      lambda: self.world.evaluate(
        act,
        key,
        rollouts_per_task=2,
        groups=text_shares.own_panel(len(self.world.panel)),
      )
    )
    every = text_shares.gather_outcomes(played.episodes)
    sampled, greedy = (
      [one for one in every if one.rollout == rollout and not one.failed]
      for rollout in (0, 1)
    )
    return {
      **text_worlds.panel_metrics(sampled),
      "eval/success_greedy": text_worlds.mean([one.success for one in greedy]),
      "eval/failed_episodes": float(sum(one.failed for one in every)),
    }

  def _initial_state(self, key: chex.PRNGKey) -> state.TrainState:
    return state.create_state(
      self.init_fn,
      self.optimizer,
      key,
      with_reference=self.config.loss.kl_coefficient > 0,
    )

  def _collect(self, params: Any, key: chex.PRNGKey):
    """The first phase: TextRollouts and metrics."""
    act = self._chooser.bind(text_shares.own_copy(params, self.mesh))
    played = distributed.together(
      lambda: self.world.train(act, key, groups=self._groups)
    )
    self.last_collection = played
    own = arrays.to_rollouts(
      text_shares.renumber(played.episodes, self._groups),
      self.world.state_key,
      num_groups=len(self._groups),
      rollouts_per_task=self.config.rollout.rollouts_per_task,
      max_steps=self.config.text.max_steps,
      spec=self._spec,
      success_reward=text_settings.success_reward(self.config),
    )
    found = text_shares.to_devices(own, self.mesh)
    turns = [turn for one in played.sound for turn in one.turns]
    readings = [turn.action.extra[0] for turn in turns]
    cut = text_shares.add_up(
      {
        "words": sum(one.words_cut > 0 for one in readings),
        "commands": sum(one.commands_cut > 0 for one in readings),
        "turns": len(turns),
      }
    )
    metrics = {
      **self._metrics(found.rollouts),
      **text_worlds.playing_metrics(played),
      "rollout/words_cut": cut["words"] / max(cut["turns"], 1),
      "rollout/commands_cut": cut["commands"] / max(cut["turns"], 1),
    }
    return found, metrics


def make_experiment(
  config: ml_collections.ConfigDict,
) -> environment_experiment.Experiment | TextExperiment:
  """What a config builds, be its environment on the device or a text world.

  Raises:
    ValueError: the config has an unknown key or a value out of range.
  """
  if text_settings.is_text(config):
    return TextExperiment(config)
  return environment_experiment.Experiment(config)
