"""What a config of an on-device environment builds: phases and programs."""

import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import optax

from graphgpo_jax import envs
from graphgpo_jax.envs import panels, types
from graphgpo_jax.policy import actor, partition_rules, transformer
from graphgpo_jax.rollouts import on_device
from graphgpo_jax.training import (
  evaluation,
  kept_updates,
  memory_settings,
  optimise,
  settings,
  state,
  update,
)
from graphgpo_jax.training import mesh as mesh_lib


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
    settings.check_config(config)
    self.config = ml_collections.FrozenConfigDict(config)
    options = config.environment.to_dict()
    name = options.pop("name")
    self.environment: types.Environment = envs.make_environment(name, **options)
    self.init_fn, self.apply_fn = actor.make_actor(
      self.environment.spec,
      transformer.TransformerConfig(**settings.policy_options(config)),
      mask_actions=config.policy.mask_actions,
    )
    self.optimizer: optax.GradientTransformation = state.make_optimizer(
      **config.optimizer.to_dict()
    )
    self.panel = panels.make_panel(
      self.environment, seed=config.panel.seed, size=config.panel.size
    )
    self.mesh = settings.make_mesh(
      config, "rollout.tasks_per_update", "panel.size"
    )
    self._collect = update.make_collect(
      self.environment,
      self.apply_fn,
      **config.rollout.to_dict(),
      mesh=self.mesh,
    )
    self._optimise = optimise.make_optimise(
      self.apply_fn,
      self.optimizer,
      **settings.loss_options(config),
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
    built = settings.make_estimator(estimator, dict(options))
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
