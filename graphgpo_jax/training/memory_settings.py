"""The config section `memory`: its keys, their defaults, what they build."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections

from graphgpo_jax.credit import estimators
from graphgpo_jax.training import memory, update

# What of an estimator's options its frozen scores depend on.
_SCORE_OPTIONS = ("invalid_penalty", "penalty_only_with_success", "per_rollout")


def default_section() -> ml_collections.ConfigDict:
  """Every key of the section with its default; no memory by default."""
  return ml_collections.ConfigDict(
    {
      # Tasks that are drawn once by the run's seed and visited in turn; 0:
      # every update draws tasks of its own, and nothing is remembered.
      "pool_size": 0,
      # Those that see what is stored. All others play the pool without it.
      "estimators": ("tigpo",),
      # Distinct edges kept of a task.
      "max_edges": 1024,
      # An edge that so many visits of its task in a row have not taken is
      # dropped; 0: never.
      "max_age": 0,
      # Factor by which its cost grows with each such visit, after the first
      # `fade_after` of them.
      "fade": 1.0,
      "fade_after": 0,
      # Of several costs of an edge the least of all instead of the newest.
      "keep_cheapest": False,
      # What the estimators see: distances of the union with the stored edges,
      # scores of the last visit (those of them that take `past_scores`).
      "use_distances": True,
      "use_scores": True,
    }
  )


def check(config: ml_collections.ConfigDict) -> None:
  """Checks the section `memory` of a run's config.

  Raises:
    ValueError: a value is out of range or does not fit the rest; the message
      names it.
  """
  section = config.memory
  for name, least in (
    ("pool_size", 0),
    ("max_edges", 1),
    ("max_age", 0),
    ("fade", 1),
    ("fade_after", 0),
  ):
    if not section[name] >= least:
      raise ValueError(
        f"config.memory.{name} must be at least {least}, got {section[name]}"
      )
  if isinstance(section.estimators, str):
    raise ValueError(
      "config.memory.estimators must be a tuple of names, got "
      f"{section.estimators!r}"
    )
  for name in section.estimators:
    if name not in estimators.ESTIMATORS:
      raise ValueError(
        f"config.memory.estimators names {name!r}, which does not exist; there "
        f"are {', '.join(sorted(estimators.ESTIMATORS))}"
      )
  if not section.pool_size:
    return
  if section.pool_size < config.rollout.tasks_per_update:
    raise ValueError(
      f"config.memory.pool_size={section.pool_size} must be at least "
      f"config.rollout.tasks_per_update={config.rollout.tasks_per_update}"
    )
  if config.rollout.max_resamples:
    raise ValueError(
      "config.rollout.max_resamples must be 0 with config.memory.pool_size "
      "above 0: a visited task cannot be replaced by another"
    )
  if config.environment.get("pool_size", 0):
    raise ValueError(
      "config.environment.pool_size must be 0 with config.memory.pool_size "
      "above 0: one pool would be drawn from the other"
    )


def make_initial_memory(
  config: ml_collections.FrozenConfigDict, environment: Any
) -> Callable[[Any], memory.PoolMemory | None]:
  """What a run's key gives as memory before the first update.

  Args:
    config: the run's config.
    environment: the environment.

  Returns:
    `key -> PoolMemory`, or `key -> None` where the config has no memory.
  """
  if not config.memory.pool_size:
    return lambda key: None
  return functools.partial(
    memory.draw_pool,
    environment,
    pool_size=config.memory.pool_size,
    max_edges=config.memory.max_edges,
    max_scores=config.rollout.rollouts_per_task * environment.spec.horizon,
  )


def make_access(
  config: ml_collections.FrozenConfigDict, mesh: Any
) -> tuple[Callable[..., Any] | None, Callable[..., Any] | None]:
  """The phases that read and write the memory.

  Args:
    config: the run's config.
    mesh: devices, each of which holds the memory; None for one.

  Returns:
    `recall` and `remember` of `update.Phases`; None where the config has no
    memory.
  """
  if not config.memory.pool_size:
    return None, None
  tasks = config.rollout.tasks_per_update
  return (
    memory.make_recall(tasks_per_update=tasks),
    memory.make_remember(tasks_per_update=tasks, mesh=mesh),
  )


def make_assign(
  config: ml_collections.FrozenConfigDict,
  estimator: estimators.Estimator,
  name: str,
  options: Mapping[str, Any],
  mesh: Any,
) -> Callable[..., Any]:
  """The second phase of a run with a memory.

  Args:
    config: the run's config, `memory.pool_size` above 0.
    estimator: with its options fixed.
    name: of the estimator.
    options: of the estimator.
    mesh: devices that the groups are divided among; None for one.

  Returns:
    `(rollouts, graphs) -> (advantage, metrics, graphs)`.
  """
  section = config.memory
  if name not in section.estimators:
    plain = update.make_assign(estimator, mesh=mesh)
    return lambda rollouts, graphs: (*plain(rollouts), graphs)
  of_score = {
    option: options[option] for option in _SCORE_OPTIONS if option in options
  }
  return memory.make_assign(
    estimator,
    freeze=functools.partial(estimators.frozen_scores, **of_score),
    max_age=section.max_age or None,
    fade=section.fade,
    fade_after=section.fade_after,
    keep_cheapest=section.keep_cheapest,
    use_distances=section.use_distances,
    use_scores=section.use_scores,
    mesh=mesh,
  )
