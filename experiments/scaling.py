"""How an update grows with its mesh: seconds, compilations, transfers."""

import dataclasses
import os
import statistics
import time
from collections.abc import Sequence
from typing import Any

import jax
import ml_collections

from experiments import bench_machine
from graphgpo_jax.training import environment_experiment, loop
from graphgpo_jax.training import mesh as mesh_lib

# What JAX calls the compilation of a program.
_COMPILED = "/jax/core/compile/backend_compile_duration"


@dataclasses.dataclass(frozen=True)
class Shape:
  """Sizes of a mesh's axes."""

  data: int
  fsdp: int
  tensor: int

  @property
  def devices(self) -> int:
    """How many devices the mesh has."""
    return self.data * self.fsdp * self.tensor

  @property
  def parts(self) -> int:
    """How many parts the batch has."""
    return self.data * self.fsdp

  def __str__(self) -> str:
    return f"{self.data}x{self.fsdp}x{self.tensor}"


def read_shape(text: str) -> Shape:
  """Reads a mesh as it is written on the command line.

  Args:
    text: sizes of data, fsdp and tensor, such as "2x4x1"; "8" is "8x1x1".

  Raises:
    ValueError: it is not that.
  """
  sizes = text.split("x")
  if len(sizes) == 1:
    sizes += ["1", "1"]
  if len(sizes) != 3 or not all(
    size.isascii() and size.isdecimal() and int(size) for size in sizes
  ):
    raise ValueError(
      f"--meshes: {text!r} is no mesh: expected sizes of data, fsdp and tensor "
      "such as 2x4x1"
    )
  return Shape(*map(int, sizes))


class _Compilations:
  """Counts the programs compiled while it is entered."""

  def __init__(self):
    self.number = 0

  def __enter__(self):
    jax.monitoring.register_event_duration_secs_listener(self._count)
    return self

  def __exit__(self, *_):
    jax.monitoring.unregister_event_duration_listener(self._count)

  def _count(self, event: str, *_: Any, **__: Any) -> None:
    self.number += event == _COMPILED


def grown(
  config: ml_collections.ConfigDict, shape: Shape
) -> ml_collections.ConfigDict:
  """The config on a mesh, with as many tasks for each part of the batch."""
  # A copy that knows nothing of references keeps its own values.
  config = ml_collections.ConfigDict(config.to_dict())
  config.mesh.data = shape.data
  config.mesh.fsdp = shape.fsdp
  config.mesh.tensor = shape.tensor
  config.rollout.tasks_per_update *= shape.parts
  config.panel.size = shape.parts
  return config


def measure(
  config: ml_collections.ConfigDict, shape: Shape, *, num_updates: int
) -> dict[str, Any]:
  """Times the whole update as one program on one mesh.

  The state and the key are placed beforehand. Each update, the first one and
  its compilation too, runs under a guard that lets no array pass between host
  and device, nor from device to device unasked.

  Args:
    config: of one part of the batch.
    shape: of the mesh.
    num_updates: timed updates; one that compiles comes first.

  Returns:
    `mesh`, `devices`, `tasks`, `steps` (of the environments, median of an
    update), `milliseconds` (median of an update), `compilations` and
    `transfers` (0: with one the guard ends the measurement).

  Raises:
    ValueError: the mesh does not fit the devices or the policy.
    jax.errors.JaxRuntimeError: an update needs a transfer.
  """
  experiment = environment_experiment.Experiment(grown(config, shape))
  state = loop.initial_state(experiment, config.seed)
  key = jax.device_put(
    jax.random.key(config.seed), mesh_lib.replicated(experiment.mesh)
  )
  jax.block_until_ready((state, key))
  update = experiment.update(config.estimator)
  seconds: list[float] = []
  found: list[Any] = []
  with _Compilations() as compilations, jax.transfer_guard("disallow"):
    for _ in range(num_updates + 1):
      started = time.perf_counter()
      state, metrics = jax.block_until_ready(update(state, key))
      seconds.append(time.perf_counter() - started)
      found.append(metrics["rollout/steps"])
  return {
    "mesh": str(shape),
    "devices": shape.devices,
    "tasks": experiment.config.rollout.tasks_per_update,
    "steps": statistics.median(float(steps) for steps in found[1:]),
    "milliseconds": 1000 * statistics.median(seconds[1:]),
    "compilations": compilations.number,
    "transfers": 0,
  }


def table(found: Sequence[dict[str, Any]], cores: int) -> str:
  """The measurements as text.

  Args:
    found: of `measure`; the first one is what the others are compared with.
    cores: that the devices share, where the devices are a split CPU; 0 where
      each device is its own.

  Returns:
    A line for each mesh. `update` is its time by the first one's, `ideal` what
    that would be if devices cost nothing: 1, or, with fewer cores than devices,
    the devices that share a core.
  """
  first = found[0]
  rows = [
    ("mesh", "tasks", "steps", "ms", "update", "ideal", "compiled", "transfers")
  ]
  for one in found:
    rows.append(
      (
        one["mesh"],
        str(one["tasks"]),
        f"{one['steps']:,.0f}",
        f"{one['milliseconds']:.1f}",
        f"{one['milliseconds'] / first['milliseconds']:.2f}",
        f"{_turns(one, cores) / _turns(first, cores):.2f}",
        str(one["compilations"]),
        str(one["transfers"]),
      )
    )
  return bench_machine.table(rows)


def _turns(one: dict[str, Any], cores: int) -> float:
  return max(one["devices"] / cores, 1.0) if cores else 1.0


def shared_cores() -> int:
  """Cores that a CPU's devices share; 0 on an accelerator."""
  if jax.default_backend() != "cpu":
    return 0
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
