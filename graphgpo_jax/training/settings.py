"""The config of a run: every key there is, its default, and what it builds."""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from graphgpo_jax import envs, losses
from graphgpo_jax.credit import estimators
from graphgpo_jax.envs import panels, types
from graphgpo_jax.policy import actor, partition_rules, transformer
from graphgpo_jax.rollouts import on_device
from graphgpo_jax.tables import table_options
from graphgpo_jax.training import (
  config_keys,
  estimator_defaults,
  evaluation,
  kept_updates,
  memory_settings,
  optimise,
  state,
  text_settings,
  update,
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


class Experiment:
  """What a config builds; its programs are compiled once, for every seed.

  Attributes:
    config: the config, locked.
    environment: the environment.
    init_fn: `key -> params`.
    apply_fn: `(params, observation) -> logits`.
    optimizer: the optax transformation.
    panel: the evaluation tasks, leaves [P, ...].
    mesh: the devices that share the work; None for one.
    state_shardings: where the state lies on them, a tree like it; None for one.
    collect: jitted first phase.
    optimise: jitted third phase; it takes its state's buffers.
    evaluate: jitted `(params, key) -> metrics`.
    recall: jitted `(memory, step) -> (tasks, graphs)`; None without a memory.
    remember: jitted `(memory, step, graphs) -> memory`, which takes its
      memory's buffers; None without a memory.
    initial_state: jitted `key -> TrainState` before the first update.
  """

  def __init__(self, config: ml_collections.ConfigDict):
    """Builds environment, policy and phases.

    Args:
      config: as `default_config`.

    Raises:
      ValueError: the config has an unknown key or a value out of range.
    """
    check_config(config)
    self.config = ml_collections.FrozenConfigDict(config)
    options = config.environment.to_dict()
    name = options.pop("name")
    self.environment: types.Environment = envs.make_environment(name, **options)
    self.init_fn, self.apply_fn = actor.make_actor(
      self.environment.spec,
      transformer.TransformerConfig(**policy_options(config)),
      mask_actions=config.policy.mask_actions,
    )
    self.optimizer: optax.GradientTransformation = state.make_optimizer(
      **config.optimizer.to_dict()
    )
    self.panel = panels.make_panel(
      self.environment, seed=config.panel.seed, size=config.panel.size
    )
    self.mesh = make_mesh(config, "rollout.tasks_per_update", "panel.size")
    self._collect = update.make_collect(
      self.environment,
      self.apply_fn,
      **config.rollout.to_dict(),
      mesh=self.mesh,
    )
    self._optimise = optimise.make_optimise(
      self.apply_fn,
      self.optimizer,
      **loss_options(config),
      mesh=self.mesh,
    )
    self._initial_memory = memory_settings.make_initial_memory(
      self.config, self.environment
    )
    self._recall, self._remember = memory_settings.make_access(
      self.config, self.mesh
    )
    self._jit = functools.partial(
      jax.jit, compiler_options=mesh_lib.compiler_options(self.mesh)
    )
    self.state_shardings = self._state_shardings()
    self.collect = self._jit(self._collect)
    self.optimise = self._jit_update(self._optimise)
    self.recall = self.remember = None
    if self._recall is not None:
      self.recall = self._jit(self._recall)
      self.remember = self._jit(self._remember, donate_argnums=0)
    self.evaluate = self._jit(
      evaluation.make_evaluate(
        self.environment,
        self.apply_fn,
        self.panel,
        chunk_size=config.rollout.chunk_size,
        mesh=self.mesh,
      )
    )
    # Kept here: a jit made anew for every run would compile for every run.
    self.initial_state = jax.jit(
      self._initial_state, out_shardings=self.state_shardings
    )
    self._assign: dict[str, Any] = {}

  def close(self) -> None:
    """Ends what runs beside the program: nothing, on the device."""

  def open_log(
    self, folder: str | os.PathLike
  ) -> Callable[[int, on_device.Rollouts], None] | None:
    """Opens the log of the updates that `config.keep` keeps.

    Args:
      folder: of the run.

    Returns:
      `write(update, rollouts)`; None if none are to be kept.
    """
    if not self.config.keep.updates:
      return None
    return kept_updates.make_keep(self.config, self.environment, folder)

  def phases(self, estimator: str) -> update.Phases:
    """The pure, unjitted phases with this estimator, to compose or change."""
    options = self.config.estimator_options.get(estimator, {})
    built = make_estimator(estimator, dict(options))
    if self.config.memory.pool_size:
      assign = memory_settings.make_assign(
        self.config, built, estimator, options, self.mesh
      )
    else:
      assign = update.make_assign(built, mesh=self.mesh)
    return update.Phases(
      collect=self._collect,
      assign=assign,
      optimise=self._optimise,
      recall=self._recall,
      remember=self._remember,
    )

  def programs(self, estimator: str) -> update.Phases:
    """The jitted phases with this estimator, for the training loop."""
    return update.Phases(
      collect=self.collect,
      assign=self.assign(estimator),
      optimise=self.optimise,
      recall=self.recall,
      remember=self.remember,
    )

  def assign(self, estimator: str) -> Any:
    """The jitted second phase, compiled once per estimator."""
    if estimator not in self._assign:
      self._assign[estimator] = self._jit(self.phases(estimator).assign)
    return self._assign[estimator]

  def update(self, estimator: str) -> Any:
    """The whole update as one jitted function, `(state, key)`."""
    return self._jit_update(update.compose(self.phases(estimator)))

  def _jit_update(self, function: Any) -> Any:
    """Jits `(state, ...) -> (state, metrics)`, which takes its buffers."""
    return self._jit(
      function,
      donate_argnums=0,
      # As it came, so that the next update finds what it is compiled for.
      out_shardings=(
        None if self.mesh is None else (self.state_shardings, None)
      ),
    )

  def _state_shardings(self) -> Any:
    shapes = jax.eval_shape(self._initial_state, jax.random.key(0))
    try:
      return mesh_lib.state_shardings(
        self.mesh, shapes, rules=partition_rules.ENVIRONMENT_POLICY
      )
    except ValueError as error:
      sizes = self.config.mesh
      raise ValueError(
        f"config.mesh.fsdp={sizes.fsdp} and config.mesh.tensor={sizes.tensor} "
        f"cannot divide the policy of config.policy: {error}"
      ) from error

  def _initial_state(self, key: Any) -> state.TrainState:
    """State before the first update of the run with this key."""
    return state.create_state(
      self.init_fn,
      self.optimizer,
      key,
      with_reference=self.config.loss.kl_coefficient > 0,
      memory=self._initial_memory(key),
    )
