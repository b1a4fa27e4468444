"""The config of a run: every key there is, its default, and what it builds."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from graphgpo_jax import losses
from graphgpo_jax.credit import estimators
from graphgpo_jax.tables import table_options
from graphgpo_jax.training import (
  config_keys,
  estimator_defaults,
  kept_updates,
  memory_settings,
  text_settings,
)
from graphgpo_jax.training import mesh as mesh_lib

_AGGREGATES = {
  "token_mean": losses.token_mean,
  "sequence_mean_token_mean": losses.sequence_mean_token_mean,
  "sequence_mean_token_sum": losses.sequence_mean_token_sum,
}
KL_ESTIMATORS = {
  "k1": losses.kl_k1,
  "k2": losses.kl_k2,
  "low_var_kl": losses.kl_k3,
}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def default_config() -> ml_collections.ConfigDict:
  """Every key of a run with its default.

  Configs start from this and change values; a key that is not here does not
  exist. `environment` and `estimator_options` are open: their keys are the
  keywords of the environment's class and of the estimators.
  """
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.num_updates = 30
  config.eval_every = 1
  # In updates; 0 saves at the end alone.
  config.checkpoint_every = 0
  # The newest are kept, and those with the highest eval/success beside them.
  config.checkpoint = ml_collections.ConfigDict(
    {"keep_last": 3, "keep_best": 1}
  )
  # So many updates in a row without a finite gradient end the run.
  config.max_bad_updates = 10
  config.tensorboard = True
  # Work directory of a run or a warm start whose parameters a fresh run starts
  # from; "" for new ones.
  config.init_from = ""
  config.environment = ml_collections.ConfigDict({"name": "household"})
  # The panel of reported results. Settings are chosen on another, 2026.
  config.panel = ml_collections.ConfigDict({"seed": 2027, "size": 128})
  config.policy = ml_collections.ConfigDict(
    {
      "num_layers": 2,
      "width": 32,
      "num_heads": 4,
      "mlp_width": 0,
      "dtype": "float32",
      "remat": False,
      "mask_actions": True,
    }
  )
  config.rollout = ml_collections.ConfigDict(
    {
      "tasks_per_update": 16,
      "rollouts_per_task": 8,
      "max_resamples": 0,
      "chunk_size": 0,
    }
  )
  # Devices that share the work of an update: data x fsdp parts of the batch,
  # the parameters in fsdp x tensor parts; data 0: all that divide the batch.
  # Without an accelerator, a CPU is split into `cpu_devices` (0: as it is).
  config.mesh = ml_collections.ConfigDict(
    {"data": 1, "fsdp": 1, "tensor": 1, "cpu_devices": 0}
  )
  config.estimator = "graphgpo"
  config.estimator_options = ml_collections.ConfigDict(
    estimator_defaults.default_options()
  )
  config.memory = memory_settings.default_section()
  config.keep = kept_updates.default_section()
  # Read where the environment is a text world alone.
  config.text = text_settings.default_section()
  config.loss = ml_collections.ConfigDict(
    {
      "num_epochs": 1,
      "num_minibatches": 4,
      "chunk_size": 256,
      "clip_low": 0.2,
      "clip_high": 0.2,
      "dual_clip": 0.0,
      "kl_coefficient": 0.0,
      "kl": "low_var_kl",
      "entropy_coefficient": 0.01,
      "aggregate": "token_mean",
    }
  )
  config.optimizer = ml_collections.ConfigDict(
    {
      "learning_rate": 1e-3,
      "max_grad_norm": 1.0,
      "weight_decay": 0.0,
      "warmup_steps": 0,
      "decay_steps": 0,
      "final_fraction": 0.1,
    }
  )
  return config


_OPEN_SECTIONS = ("environment", "estimator_options", "text.tasks")
_LEAST = {
  "num_updates": 1,
  "eval_every": 1,
  "checkpoint_every": 0,
  "checkpoint.keep_last": 1,
  "checkpoint.keep_best": 0,
  "max_bad_updates": 1,
  "panel.size": 1,
  "rollout.tasks_per_update": 1,
  "rollout.rollouts_per_task": 1,
  "rollout.max_resamples": 0,
  "rollout.chunk_size": 0,
  "mesh.data": 0,
  "mesh.fsdp": 1,
  "mesh.tensor": 1,
  "mesh.cpu_devices": 0,
  **kept_updates.LEAST,
}


def check_config(config: ml_collections.ConfigDict) -> None:
  """Checks that a config has the keys of `default_config` and sound values.

  Raises:
    ValueError: a key is missing or does not exist, or a value is out of
      range; the message names it.
  """
  config_keys.check_keys(config, default_config(), open_sections=_OPEN_SECTIONS)
  if "name" not in config.environment:
    raise ValueError("config key environment.name is missing")
  config_keys.check_least(config, _LEAST)
  config_keys.choose("loss.aggregate", config.loss.aggregate, _AGGREGATES)
  config_keys.choose("loss.kl", config.loss.kl, KL_ESTIMATORS)
  config_keys.choose("policy.dtype", config.policy.dtype, DTYPES)
  config_keys.choose("estimator", config.estimator, estimators.ESTIMATORS)
  for name, options in config.estimator_options.items():
    make_estimator(name, dict(options))
  memory_settings.check(config)
  text_settings.check(config)


def make_estimator(name: str, options: dict[str, Any]) -> estimators.Estimator:
  """Estimator by name with its options fixed.

  Args:
    name: one of `credit.estimators.ESTIMATORS`.
    options: its keywords; `normalization` is "mean_std" or "mean", `epsilon`
      that of mean_std.

  Returns:
    Function `(steps, graph, distance) -> Credit`.

  Raises:
    ValueError: no such estimator or option, or one out of its range.
  """
  checked = table_options.read_options(name, options)
  keywords = table_options.estimator_keywords(
    checked.estimator,
    checked.normalization,
    {**dict(checked.static), **checked.traced},
  )
  return functools.partial(checked.estimator, **keywords)


def policy_options(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Keywords of `TransformerConfig` that `config.policy` gives."""
  options = config.policy.to_dict()
  del options["mask_actions"]
  options["mlp_width"] = options["mlp_width"] or None
  options["dtype"] = config_keys.choose(
    "policy.dtype", options["dtype"], DTYPES
  )
  return options


def loss_options(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Keywords of `optimise.make_optimise` that `config.loss` gives."""
  options = config.loss.to_dict()
  options["dual_clip"] = options["dual_clip"] or None
  options["kl"] = config_keys.choose("loss.kl", options["kl"], KL_ESTIMATORS)
  options["aggregate"] = config_keys.choose(
    "loss.aggregate", options["aggregate"], _AGGREGATES
  )
  return options


def make_mesh(
  config: ml_collections.ConfigDict, *divided: str
) -> jax.sharding.Mesh | None:
  """The mesh that a config asks for.

  Args:
    config: of the run.
    *divided: keys of the sizes that it divides.

  Returns:
    The mesh; None for a single device.

  Raises:
    ValueError: it does not fit the devices or the batch.
  """
  fsdp, tensor = config.mesh.fsdp, config.mesh.tensor
  data = mesh_lib.count_devices(
    config.mesh.data,
    fsdp=fsdp,
    tensor=tensor,
    divides={name: _value(config, name) for name in divided},
  )
  return mesh_lib.make_mesh(data, fsdp, tensor)


def _value(config: ml_collections.ConfigDict, key: str) -> int:
  section, name = key.split(".")
  return config[section][name]
