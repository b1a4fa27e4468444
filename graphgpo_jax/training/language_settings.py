"""The config of a run that trains a language model in a text world."""

from typing import Any

import ml_collections

from graphgpo_jax.credit import estimators
from graphgpo_jax.envs.text import registry
from graphgpo_jax.policy.acting import prompts, tags
from graphgpo_jax.training import (
  config_keys,
  estimator_defaults,
  language_loss,
  settings,
  text_settings,
)

WEIGHS = {
  "token_mean": language_loss.token_mean_weights,
  "sequence_mean_token_mean": language_loss.sequence_mean_token_mean_weights,
  "sequence_mean_token_sum": language_loss.sequence_mean_token_sum_weights,
}
_OPEN_SECTIONS = ("environment", "estimator_options", "text.tasks")
# The least that is possible.
_LEAST = {
  "num_updates": 1,
  "eval_every": 0,
  "checkpoint_every": 0,
  "checkpoint.keep_last": 1,
  "checkpoint.keep_best": 0,
  "max_bad_updates": 1,
  "panel.size": 1,
  "model.lora_rank": 0,
  "rollout.tasks_per_update": 1,
  "rollout.rollouts_per_task": 1,
  "text.max_steps": 1,
  "text.num_workers": 1,
  "text.environments_per_worker": 1,
  "response.max_tokens": 1,
  "response.evaluation_temperature": 0,
  "sampler.batch_size": 1,
  "sampler.min_batch": 0,
  "sampler.segment": 1,
  "sampler.prefill_chunk": 1,
  "loss.minibatch_rows": 0,
  "loss.microbatch_rows": 1,
  "loss.chunk": 1,
  "loss.kl_coefficient": 0,
  "loss.entropy_coefficient": 0,
  "loss.importance_cap": 0,
  "mesh.data": 1,
  "mesh.fsdp": 1,
  "mesh.tensor": 1,
  "log.max_file_megabytes": 1,
  "log.max_total_megabytes": 1,
}


def default_config() -> ml_collections.ConfigDict:
  """Every key of a run with its default.

  `environment`, `estimator_options` and `text.tasks` are open, as in
  `settings.default_config`.
  """
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_updates = 150
  # In updates; 0 never plays the panel.
  config.eval_every = 5
  # In updates; 0 saves at the end alone.
  config.checkpoint_every = 10
  # The newest are kept, and those with the highest eval/success beside them.
  config.checkpoint = ml_collections.ConfigDict(
    {"keep_last": 3, "keep_best": 1}
  )
  # So many updates in a row without a finite gradient end the run.
  config.max_bad_updates = 10
  config.tensorboard = False
  # Work directory of another run, or of experiments.warm_start, whose newest
  # parameters (or adapters) a fresh run starts from; "" for none. A KL term
  # then holds to those, so that the directory must stay.
  config.init_from = ""
  config.environment = ml_collections.ConfigDict({"name": "alfworld"})
  config.panel = ml_collections.ConfigDict({"seed": 2027, "size": 128})
  config.model = ml_collections.ConfigDict(
    {
      # A directory of Hugging Face's form, or a GGUF file.
      "path": "",
      # Of activations and of parameters; small updates of bfloat16 parameters
      # round to nothing, so only with adapters may those be so.
      "dtype": "float32",
      "param_dtype": "float32",
      "remat": False,
      # 0 trains all parameters, otherwise adapters of this rank alone.
      "lora_rank": 0,
      "lora_alpha": 32.0,
    }
  )
  config.rollout = ml_collections.ConfigDict(
    {"tasks_per_update": 16, "rollouts_per_task": 8}
  )
  config.text = ml_collections.ConfigDict(
    {
      # An episode's steps at most, T.
      "max_steps": 50,
      "state_key": "recipe",
      # Rewards as the world pays them; otherwise a success earns
      # `success_reward` and every other step nothing.
      "world_rewards": False,
      "success_reward": 10.0,
      "num_workers": 2,
      "environments_per_worker": 8,
      # As in `text_settings.default_section`.
      "step_timeout": 60.0,
      "reset_timeout": 300.0,
      "tasks": ml_collections.ConfigDict(),
      "panel": "",
    }
  )
  spec = prompts.PromptSpec()
  config.prompt = ml_collections.ConfigDict(vars(spec))
  config.response = ml_collections.ConfigDict(
    {
      "max_tokens": 512,
      "temperature": 1.0,
      # 0 takes the likeliest token.
      "evaluation_temperature": 0.4,
      # A response ends after one of these, too.
      "stop_strings": (),
      **vars(tags.TagSpec()),
    }
  )
  config.sampler = ml_collections.ConfigDict(
    {
      "batch_size": 128,
      # Episodes that must be ready before the model works; 0: half of those
      # that are played at once.
      "min_batch": 0,
      "segment": 32,
      "prefill_chunk": 256,
    }
  )
  config.estimator = "graphgpo"
  config.estimator_options = ml_collections.ConfigDict(_estimator_options())
  config.loss = ml_collections.ConfigDict(
    {
      # Steps of an optimiser step; 0 takes all of an update together.
      "minibatch_rows": 0,
      # Packed rows whose activations exist at once, on all devices.
      "microbatch_rows": 1,
      # Tokens of a packed row; 0 takes prompt and response at their longest.
      "row_tokens": 0,
      # Positions of a row whose logits exist at once.
      "chunk": 64,
      "clip_low": 0.2,
      "clip_high": 0.2,
      # 0 for none.
      "dual_clip": 0.0,
      "kl_coefficient": 0.0,
      "kl": "low_var_kl",
      "entropy_coefficient": 0.0,
      "aggregate": "token_mean",
      # Truncated importance weights between sampler and trainer; 0 for none.
      "importance_cap": 0.0,
    }
  )
  config.optimizer = ml_collections.ConfigDict(
    {
      "learning_rate": 1e-6,
      "max_grad_norm": 1.0,
      "weight_decay": 0.0,
      "warmup_steps": 0,
      "decay_steps": 0,
      "final_fraction": 0.1,
    }
  )
  # Of `policy.partition`: parts of the batch, of the weights, of each product.
  config.mesh = ml_collections.ConfigDict({"data": 1, "fsdp": 1, "tensor": 1})
  # Every rollout is kept, the oldest giving way.
  config.log = ml_collections.ConfigDict(
    {"max_file_megabytes": 64, "max_total_megabytes": 4096}
  )
  return config


def is_language_model(config: ml_collections.ConfigDict) -> bool:
  """Whether a config is of this module's kind, not of `settings`'."""
  return "prompt" in config


def check_config(config: ml_collections.ConfigDict) -> None:
  """Checks that a config has the keys of `default_config` and sound values.

  Raises:
    ValueError: a key is missing or does not exist, or a value is out of range;
      the message names it.
  """
  config_keys.check_keys(config, default_config(), open_sections=_OPEN_SECTIONS)
  config_keys.check_least(config, _LEAST)
  config_keys.check_positive(config, text_settings.TIMEOUTS)
  if not config.response.temperature > 0:
    raise ValueError(
      "config.response.temperature must be positive, got "
      f"{config.response.temperature}: the update needs its log-probabilities"
    )
  # First what a spec refuses, since it names the key best.
  prompt_spec(config)
  tag_spec(config)
  for name in ("dtype", "param_dtype"):
    config_keys.choose(f"model.{name}", config.model[name], settings.DTYPES)
  if config.model.param_dtype != "float32" and not config.model.lora_rank:
    raise ValueError(
      "config.model.param_dtype must be float32 where all parameters are "
      "trained (config.model.lora_rank=0): small updates would round to nothing"
    )
  config_keys.choose("loss.aggregate", config.loss.aggregate, WEIGHS)
  config_keys.choose("loss.kl", config.loss.kl, settings.KL_ESTIMATORS)
  if 0 < config.loss.dual_clip <= 1 or config.loss.dual_clip < 0:
    raise ValueError(
      "config.loss.dual_clip must exceed 1, or be 0 for none, got "
      f"{config.loss.dual_clip}"
    )
  if config.loss.row_tokens and config.loss.row_tokens < _longest_row(config):
    raise ValueError(
      f"config.loss.row_tokens={config.loss.row_tokens} is less than a prompt "
      f"and a response may have together, {_longest_row(config)} tokens; 0 "
      "takes that"
    )
  parts = config.mesh.data * config.mesh.fsdp
  if config.loss.microbatch_rows % parts:
    raise ValueError(
      f"config.loss.microbatch_rows={config.loss.microbatch_rows} is no "
      f"multiple of config.mesh.data x config.mesh.fsdp = {parts}"
    )
  if config.log.max_file_megabytes > config.log.max_total_megabytes:
    raise ValueError(
      "config.log.max_file_megabytes must be at most max_total_megabytes"
    )
  if not registry.is_world(config.environment.get("name", "")):
    raise ValueError(
      f"config.environment.name={config.environment.get('name', '')!r} is no "
      "text world"
    )
  registry.state_key(config.environment.name, config.text.state_key)
  if not config.text.tasks:
    raise ValueError(
      "config.text.tasks is empty: nothing says which tasks to train on"
    )
  config_keys.choose("estimator", config.estimator, estimators.ESTIMATORS)
  for name, options in config.estimator_options.items():
    settings.make_estimator(name, dict(options))


def prompt_spec(config: ml_collections.ConfigDict) -> prompts.PromptSpec:
  """How prompts are made.

  Raises:
    ValueError: a value is out of range.
  """
  try:
    return prompts.PromptSpec(**config.prompt.to_dict())
  except ValueError as error:
    raise ValueError(f"config.prompt: {error}") from error


def tag_spec(config: ml_collections.ConfigDict) -> tags.TagSpec:
  """What counts as a command.

  Raises:
    ValueError: a pattern is none.
  """
  names = vars(tags.TagSpec())
  try:
    return tags.TagSpec(**{name: config.response[name] for name in names})
  except ValueError as error:
    raise ValueError(f"config.response: {error}") from error


def success_reward(config: ml_collections.ConfigDict) -> float | None:
  """What a success's last step earns; None where the world pays for steps."""
  text = config.text
  return None if text.world_rewards else float(text.success_reward)


def row_tokens(config: ml_collections.ConfigDict) -> int:
  """Tokens of a packed row."""
  return config.loss.row_tokens or _longest_row(config)


def loss_options(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Keywords of `language_loss.rows_loss` that `config.loss` gives."""
  given = config.loss
  return {
    "clip_low": given.clip_low,
    "clip_high": given.clip_high,
    "dual_clip": given.dual_clip or None,
    "kl_coefficient": given.kl_coefficient,
    "entropy_coefficient": given.entropy_coefficient,
    "kl": config_keys.choose("loss.kl", given.kl, settings.KL_ESTIMATORS),
    "importance_cap": given.importance_cap or None,
  }


def _longest_row(config: ml_collections.ConfigDict) -> int:
  return config.prompt.max_tokens + config.response.max_tokens


def _estimator_options() -> dict[str, dict[str, Any]]:
  """The project's defaults, for a success that earns 10 as in the recipe."""
  options = estimator_defaults.default_options()
  for own in options.values():
    if "success_reward" in own:
      own["success_reward"] = 10.0
  return options
