"""Advantages of every estimator for a task, by one compiled program.

The same numbers as `assign_credit`, which compiles a program for each
estimator: fourteen times the graph and its distances, for half a minute. Here
the estimators share them.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from graphgpo_jax.credit import distances, estimators
from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.report import task_graph
from graphgpo_jax.training import estimator_defaults, settings

_LEAST_SIZE = 256
# A report computes each task once: compiling is what costs.
_COMPILER_OPTIONS = {"xla_backend_optimization_level": 0}
_DEFAULTS = estimator_defaults.default_options()


def padded_size(num_steps: int, num_rollouts: int) -> int:
  """Entries to pad a task to: a power of two with room for every state."""
  needed = max(num_steps + num_rollouts + 1, _LEAST_SIZE)
  return 1 << (needed - 1).bit_length()


def all_advantages(
  graph: task_graph.TaskGraph,
  options: Mapping[str, Mapping[str, Any]],
  *,
  size: int,
) -> dict[str, np.ndarray]:
  """Advantages of a task's steps by each estimator.

  Args:
    graph: of the task, n steps.
    options: of each estimator that is wanted, as `config.estimator_options`.
    size: entries to pad to, see `padded_size`; tasks of one size share what is
      compiled.

  Returns:
    float32 [n] by estimator.

  Raises:
    ValueError: an estimator or an option does not exist.
  """
  count = len(graph.source)
  program = _program(
    size,
    tuple(
      (name, tuple(sorted(of_one.items()))) for name, of_one in options.items()
    ),
  )
  found = jax.device_get(program(_padded(graph, size)))
  return {
    name: values[:count] for name, values in zip(options, found, strict=True)
  }


def default_options(estimator: str) -> dict[str, Any]:
  """Options of an estimator where a config says nothing."""
  return dict(_DEFAULTS.get(estimator, {}))


@functools.lru_cache(maxsize=16)
def _program(size: int, options: tuple[tuple[str, tuple], ...]) -> Any:
  built = [
    settings.make_estimator(name, dict(of_one)) for name, of_one in options
  ]
  assert all(name in estimators.ESTIMATORS for name, _ in options)

  def assign(steps):
    graph = graph_lib.build_graph(steps, max_nodes=size)
    distance = distances.shortest_distances(graph)
    return [one(steps, graph, distance).advantage for one in built]

  return jax.jit(assign, compiler_options=_COMPILER_OPTIONS)


def _padded(graph: task_graph.TaskGraph, size: int) -> graph_lib.Steps:
  def pad(values, filler):
    values = np.asarray(values)
    whole = np.full(size, filler, values.dtype)
    whole[: len(values)] = values
    return jnp.asarray(whole)

  return graph_lib.Steps(
    source=pad(graph.source, graph_lib.NO_NODE),
    target=pad(graph.target, graph_lib.NO_NODE),
    cost=pad(graph.cost.astype(np.float32), 0),
    reward=pad(graph.reward, 0),
    episode_return=pad(graph.episode_return, 0),
    success=pad(graph.success, False),
    last=pad(graph.last, False),
    action_valid=pad(graph.action_valid, False),
    mask=pad(np.ones(len(graph.source), bool), False),
    action=pad(graph.action, 0),
  )
