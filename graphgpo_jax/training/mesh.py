"""Data parallelism: tasks and steps over the devices of a mesh.

Rollouts and credit of one task need nothing of another's, so both run under
`jax.shard_map` without any communication. The optimiser's devices each take a
part of every chunk of steps and add up their gradients.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA = "data"


def count_devices(data: int, *, divides: dict[str, int]) -> int:
  """How many devices the data axis has.

  Args:
    data: what the config asks for; 0 for as many as there are and as divide
      the batch.
    divides: by config key, the sizes that the number has to divide.

  Returns:
    The number of devices, at least 1.

  Raises:
    ValueError: `data` exceeds the devices there are or does not divide a
      size; the message names the key.
  """
  present = jax.device_count()
  if data == 0:
    common = math.gcd(*divides.values())
    return max(n for n in range(1, present + 1) if common % n == 0)
  if data > present:
    raise ValueError(
      f"config.mesh.data={data}, but there are {present} devices "
      f"({jax.default_backend()}); on a CPU, config.mesh.cpu_devices splits it"
    )
  for name, size in divides.items():
    if size % data:
      raise ValueError(
        f"config.{name}={size} must be a multiple of config.mesh.data={data}"
      )
  return data


def make_mesh(num_devices: int) -> Mesh | None:
  """Mesh of one data axis, or None for a single device.

  Args:
    num_devices: size of the axis, at most the devices there are.

  Returns:
    The mesh. A single device has none: it then runs the plain functions.
  """
  if num_devices == 1:
    return None
  # Explicit axes, now the default, break a stock Linen transformer.
  return jax.make_mesh(
    (num_devices,),
    (DATA,),
    axis_types=(AxisType.Auto,),
    devices=jax.devices()[:num_devices],
  )


def split_groups(
  function: Callable[..., Any], mesh: Mesh | None, *, num_shared: int = 0
) -> Callable[..., Any]:
  """Runs a function of a batch of groups on each device's part of the batch.

  Args:
    function: of arrays whose leading axis is the batch, and so are its
      results'; what it makes of a group depends on that group alone.
    mesh: a mesh with the axis `DATA`, or None.
    num_shared: the first so many arguments go to every device as they are.

  Returns:
    The function of the whole batch, to be called under jit.
  """
  if mesh is None:
    return function
  shared, split = PartitionSpec(), PartitionSpec(DATA)

  def spread(*args):
    specs = (shared,) * num_shared + (split,) * (len(args) - num_shared)
    # Unchecked: loops inside start from constants, which the check takes for
    # values that all devices share.
    return jax.shard_map(
      function, mesh=mesh, in_specs=specs, out_specs=split, check_vma=False
    )(*args)

  return spread


def on_every_device(
  function: Callable[..., Any], mesh: Mesh | None
) -> Callable[..., Any]:
  """Runs a function on every device with all of its arguments.

  Args:
    function: reduces over the axis `DATA`, so that all devices end with the
      same results.
    mesh: a mesh with the axis `DATA`, or None.

  Returns:
    The function, to be called under jit.
  """
  if mesh is None:
    return function
  return jax.shard_map(
    function,
    mesh=mesh,
    in_specs=PartitionSpec(),
    out_specs=PartitionSpec(),
    check_vma=False,
  )


def compiler_options(mesh: Mesh | None) -> dict[str, Any] | None:
  """Compiler options for programs on a mesh, to be passed to `jax.jit`.

  A CPU that is split has a device per core; threads that each device would
  start for a single product only get into each other's way.
  """
  if mesh is None or jax.default_backend() != "cpu":
    return None
  return {"xla_cpu_multi_thread_eigen": False}


def replicated(mesh: Mesh | None) -> NamedSharding | None:
  """Sharding of arrays that every device holds; None without a mesh."""
  if mesh is None:
    return None
  return NamedSharding(mesh, PartitionSpec())
