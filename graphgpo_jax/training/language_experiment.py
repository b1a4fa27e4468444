"""What a config builds that trains a language model in a text world.

An update: play episodes, credit every step by the group's graph, train on the
very tokens that were drawn.
"""

from typing import Any

import chex
import jax
import ml_collections
import numpy as np

from graphgpo_jax.policy import partition
from graphgpo_jax.policy.acting import generate
from graphgpo_jax.policy.pretrained import load
from graphgpo_jax.policy.sampling import sampler as sampler_lib
from graphgpo_jax.rollouts.host import collect as collect_lib
from graphgpo_jax.rollouts.host import credit_arrays
from graphgpo_jax.training import (
  language_models,
  language_optimise,
  language_settings,
  language_update,
  settings,
  state,
  text_shares,
  text_worlds,
  update,
  warm_start,
)

Metrics = dict[str, Any]


class LanguageExperiment:
  """The phases of an update, host functions around compiled programs.

  Worker processes start with the first episode; `close` ends them.

  Attributes:
    config: the config, locked.
    model: the language model in its forms.
    mesh: the devices that share the work; None for one.
    world: tasks, panel and workers.
    state_key: tells states apart.
    optimizer: the optax transformation.
    optimise: `(state, episodes, advantage, random) -> (state, metrics)`, the
      third phase; it takes over the state's buffers.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    pretrained: load.Pretrained | None = None,
  ):
    """Loads the model and builds the phases.

    Args:
      config: as `language_settings.default_config`.
      pretrained: as for `language_models.load_model`.

    Raises:
      ValueError: the config is not sound, or the path holds no chat model.
      ImportError: a package of the extra [lm] is missing.
    """
    language_settings.check_config(config)
    self.config = ml_collections.FrozenConfigDict(config)
    sizes = config.mesh.to_dict()
    self.mesh = None
    if max(sizes.values()) > 1:
      self.mesh = partition.make_mesh(**sizes)
    self.world = text_worlds.TextWorld(
      config, with_panel=bool(config.eval_every)
    )
    self.state_key = self.world.state_key
    # Late: it takes minutes where the model is large.
    self.model = language_models.load_model(
      config, mesh=self.mesh, pretrained=pretrained
    )
    self.optimizer = state.make_optimizer(**config.optimizer.to_dict())
    self.optimise = language_optimise.Optimise(
      self.config, self.model, self.optimizer, mesh=self.mesh
    )
    self._generator = self._make_generator()
    self._metrics = jax.jit(update.rollout_metrics)
    self._assign: dict[str, Any] = {}

  def close(self) -> None:
    """Ends the worker processes; the next episode would start new ones."""
    self.world.close()

  def initial_state(self, key: chex.PRNGKey) -> language_update.LanguageState:
    """State before the first update; to be called once.

    Args:
      key: of new adapters.

    Returns:
      LanguageState, which takes over the buffers of the loaded parameters. What
      a KL term holds to is this state.

    Raises:
      ValueError: as `initial_variables`.
    """
    variables = self.initial_variables(key)
    self.optimise.keep_reference(
      variables, fresh_adapters=not self.config.init_from
    )
    return language_update.create_state(
      variables, self.optimizer, train=self.model.trained
    )

  def initial_variables(self, key: chex.PRNGKey) -> dict[str, Any]:
    """The model's collections before the first update; to be called once.

    What is trained comes from the work directory `config.init_from` where that
    is set.

    Args:
      key: of new adapters.

    Returns:
      The collections.

    Raises:
      ValueError: the directory has no checkpoint, or one of another model.
    """
    variables = self.model.initial_variables(key)
    source, name = self.config.init_from, self.model.trained
    if source:
      drawn = variables[name]
      like = state.TrainState(
        params={name: drawn}, opt_state=(), reference_params=None, step=0
      )
      variables |= warm_start.start_from(source, like).params
      # Nobody reads them again, and a model is large.
      jax.tree.map(lambda leaf: leaf.delete(), drawn)
    return variables

  def collect(
    self, variables: Any, key: chex.PRNGKey
  ) -> tuple[collect_lib.Collection, Metrics]:
    """The first phase: B tasks, M episodes each.

    Args:
      variables: of the model.
      key: of this update's tasks and draws.

    Returns:
      The episodes and metrics.
    """
    act = self._generator.bind(
      variables, temperature=self.config.response.temperature
    )
    played = self.world.train(act, key, min_batch=self._min_batch)
    return played, _said_metrics(played)

  def assign(
    self, played: collect_lib.Collection, estimator: str
  ) -> tuple[np.ndarray, Metrics]:
    """The second phase: credit for every step, a graph per group.

    Args:
      played: of `collect`.
      estimator: name of the estimator.

    Returns:
      advantage float32 [B, M, T], and metrics of rollouts and credit.
    """
    if estimator not in self._assign:
      options = self.config.estimator_options.get(estimator, {})
      self._assign[estimator] = jax.jit(
        update.make_assign(settings.make_estimator(estimator, dict(options)))
      )
    config = self.config
    rollouts = credit_arrays.to_rollouts(
      played.episodes,
      self.state_key,
      num_groups=config.rollout.tasks_per_update,
      rollouts_per_task=config.rollout.rollouts_per_task,
      max_steps=config.text.max_steps,
      success_reward=language_settings.success_reward(config),
    )
    advantage, metrics = self._assign[estimator](rollouts)
    metrics = {**self._metrics(rollouts), **metrics}
    return np.asarray(advantage), jax.device_get(metrics)

  def evaluate(self, variables: Any, key: chex.PRNGKey) -> Metrics:
    """Plays the panel, each task once at `response.evaluation_temperature`.

    Args:
      variables: of the model.
      key: of the evaluation.

    Returns:
      `eval/success`, `eval/return` (what the world paid), `eval/length`,
      `eval/invalid_actions` and `eval/failed_episodes`, which the others leave
      out.
    """
    act = self._generator.bind(
      variables, temperature=self.config.response.evaluation_temperature
    )
    played = self.world.evaluate(act, key, min_batch=self._min_batch)
    sound = played.sound
    invalid = [
      not (turn.action.valid and turn.after.action_valid)
      for one in sound
      for turn in one.turns
    ]
    return {
      **text_worlds.panel_metrics([text_shares.outcome(one) for one in sound]),
      "eval/invalid_actions": text_worlds.mean(invalid),
      "eval/failed_episodes": text_worlds.num_failed(played),
    }

  @property
  def _min_batch(self) -> int | None:
    return self.config.sampler.min_batch or None

  def _make_generator(self) -> generate.Generator:
    config, pretrained = self.config, self.model.pretrained
    tokenizer = pretrained.require_tokenizer()
    assert pretrained.chat_template is not None  # load_model has looked
    sampler = sampler_lib.Sampler(
      self.model.sampling,
      {"params": pretrained.params},
      eos_ids=pretrained.eos_ids,
      stop_strings=config.response.stop_strings,
      decode=tokenizer.decode,
      max_length=pretrained.max_positions,
      segment=config.sampler.segment,
      prefill_chunk=config.sampler.prefill_chunk,
    )
    return generate.Generator(
      sampler,
      render=pretrained.chat_template.render,
      encode=tokenizer.encode,
      decode=tokenizer.decode,
      prompt=language_settings.prompt_spec(config),
      tag=language_settings.tag_spec(config),
      max_response_tokens=config.response.max_tokens,
      batch_size=config.sampler.batch_size,
    )


def _said_metrics(played: collect_lib.Collection) -> Metrics:
  """What is known of prompts and responses of sound episodes."""
  actions = [turn.action for one in played.sound for turn in one.turns]
  said: list[generate.Said] = [action.extra for action in actions]
  dropped = [one.turns_dropped for one in said]
  mean = text_worlds.mean
  return {
    **text_worlds.playing_metrics(played),
    # Of all steps: without a command in tags, with one that is not admissible.
    "response/untagged": mean([not one.tagged for one in said]),
    "response/not_a_command": mean([not action.valid for action in actions]),
    "response/cut_off": mean([not one.stopped for one in said]),
    "response/tokens": mean([action.response_tokens for action in actions]),
    "prompt/tokens": mean([action.prompt_tokens for action in actions]),
    "prompt/turns_dropped": float(sum(dropped)),
    "prompt/shortened": mean([count > 0 for count in dropped]),
  }
