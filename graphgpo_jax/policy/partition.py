"""A model's arrays over a mesh of devices.

Three axes: `data` and `fsdp` divide the rows of a batch, `fsdp` and `tensor`
the weights. One table for a family of models says how, by the end of a
parameter's path (`partition_rules`); the compiler (GSPMD) derives everything
between and puts in the communication, so a model computes on a mesh what it
computes on one device, whatever stands in the table.
"""

import contextlib
import fnmatch
import math
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
from jax.sharding import (
  AbstractMesh,
  AxisType,
  Mesh,
  NamedSharding,
  PartitionSpec,
)

from graphgpo_jax.policy import kv_cache, partition_rules

DATA = partition_rules.DATA
FSDP = partition_rules.FSDP
TENSOR = partition_rules.TENSOR
AXES = (DATA, FSDP, TENSOR)
# Explicit axes, now jax's default, break a stock Linen transformer.
_AUTO = (AxisType.Auto,) * len(AXES)

# What the rows of a batch are divided over.
ROW_AXES = (DATA, FSDP)
ROWS = PartitionSpec(ROW_AXES)

Rules = partition_rules.Rules
# The table of whoever names no other.
RULES = partition_rules.LANGUAGE_MODEL


def make_mesh(
  data: int = 1,
  fsdp: int = 1,
  tensor: int = 1,
  *,
  devices: Sequence[jax.Device] | None = None,
) -> Mesh:
  """A mesh for a model.

  Args:
    data: parts of the batch, each with all of the weights.
    fsdp: parts of the batch that share the weights out among themselves.
    tensor: devices that compute each product together.
    devices: to choose from, the first ones; all of this process's backend
      where None.

  Returns:
    The mesh, of data x fsdp x tensor devices.

  Raises:
    ValueError: a size is not positive, or there are too few devices.
  """
  sizes = (data, fsdp, tensor)
  for axis, size in zip(AXES, sizes, strict=True):
    if size < 1:
      raise ValueError(f"{axis}={size} of a mesh must be at least 1")
  present = jax.devices() if devices is None else devices
  needed = math.prod(sizes)
  if needed > len(present):
    raise ValueError(
      f"a mesh of data={data}, fsdp={fsdp}, tensor={tensor} needs {needed} "
      f"devices, but there are {len(present)} ({present[0].platform})"
    )
  return jax.make_mesh(sizes, AXES, axis_types=_AUTO, devices=present[:needed])


def mesh_of(tree: Any) -> Mesh | None:
  """The mesh of `make_mesh` that arrays lie on; None where there is none.

  Raises:
    ValueError: their mesh has the right axes, but of another type.
  """
  for leaf in jax.tree.leaves(tree):
    mesh = getattr(getattr(leaf, "sharding", None), "mesh", None)
    if isinstance(mesh, Mesh) and _has_axes(mesh):
      if mesh.axis_types != _AUTO:
        raise ValueError(
          f"the axes {AXES} of a model's mesh must be of type Auto; "
          "see partition.make_mesh"
        )
      return mesh
  return None


def _has_axes(mesh: Mesh | AbstractMesh) -> bool:
  return mesh.axis_names == AXES


def sharding_rule(
  mesh: Mesh, *, rules: Rules = RULES
) -> Callable[[tuple[str, ...], tuple[int, ...]], NamedSharding]:
  """A table as a function, such as `pretrained.load` takes.

  Args:
    mesh: of `make_mesh`.
    rules: the table of the model's family.

  Returns:
    `rule(path, shape) -> sharding`, which raises as `shardings` does.
  """

  def rule(path: tuple[str, ...], shape: tuple[int, ...]) -> NamedSharding:
    return NamedSharding(mesh, _spec(mesh, "/".join(path), shape, rules))

  return rule


def shardings(mesh: Mesh, tree: Any, *, rules: Rules = RULES) -> Any:
  """Where the arrays of a tree belong, by a table.

  Args:
    mesh: of `make_mesh`.
    tree: arrays, or whatever has a shape, in trees of parameters or adapters
      with anything around them, as in a training state with its optimiser's
      moments. Numbers without an axis go to every device.
    rules: the table of the model's family.

  Returns:
    A tree like it of shardings.

  Raises:
    ValueError: the table has no rule for an array, or an axis of it cannot be
      divided as the rule says; the message names the parameter.
  """
  return jax.tree_util.tree_map_with_path(
    lambda path, leaf: NamedSharding(
      mesh,
      _spec(
        mesh,
        jax.tree_util.keystr(path, simple=True, separator="/"),
        leaf.shape,
        rules,
      ),
    ),
    tree,
  )


def _spec(
  mesh: Mesh, path: str, shape: tuple[int, ...], rules: Rules
) -> PartitionSpec:
  if not shape:
    return PartitionSpec()
  spec = next(
    (
      spec
      for pattern, spec in rules
      if fnmatch.fnmatchcase("/" + path, "*/" + pattern)
    ),
    None,
  )
  if spec is None:
    raise ValueError(f"parameter {path} {list(shape)}: no partition rule")
  if len(spec) != len(shape):
    raise ValueError(
      f"parameter {path} {list(shape)}: its partition rule has {len(spec)} axes"
    )
  for axis, (name, size) in enumerate(zip(spec, shape, strict=True)):
    if name is not None and size % mesh.shape[name]:
      raise ValueError(
        f"parameter {path} {list(shape)}: axis {axis} of size {size} is no "
        f"multiple of {name}={mesh.shape[name]}, over which it is divided"
      )
  # As a compiled program writes the shardings of its results: else a state
  # would come back from its first update as something new to compile for.
  names = [name if name and mesh.shape[name] > 1 else None for name in spec]
  while names and names[-1] is None:
    names.pop()
  return PartitionSpec(*names)


def place(mesh: Mesh, tree: Any, *, rules: Rules = RULES) -> Any:
  """Puts parameters, or a state that holds them, where a table says."""
  return jax.device_put(tree, shardings(mesh, tree, rules=rules))


def num_row_parts(mesh: Mesh | None) -> int:
  """The number of parts that a batch's rows are divided into."""
  return 1 if mesh is None else mesh.shape[DATA] * mesh.shape[FSDP]


def row_shardings(mesh: Mesh, rows: Any) -> Any:
  """Divides arrays whose first axis is the batch over `data` and `fsdp`.

  Args:
    mesh: of `make_mesh`.
    rows: tree of arrays [R, ...].

  Returns:
    A tree like it of shardings.

  Raises:
    ValueError: R is no multiple of data x fsdp.
  """
  parts = num_row_parts(mesh)

  def sharding(leaf: Any) -> NamedSharding:
    if leaf.shape[0] % parts:
      raise ValueError(
        f"{leaf.shape[0]} rows are no multiple of data x fsdp = "
        f"{mesh.shape[DATA]} x {mesh.shape[FSDP]}"
      )
    return NamedSharding(mesh, ROWS)

  return jax.tree.map(sharding, rows)


def place_rows(mesh: Mesh, rows: Any) -> Any:
  """Puts arrays [R, ...] where `row_shardings` says."""
  return jax.device_put(rows, row_shardings(mesh, rows))


def within(mesh: Mesh | None) -> contextlib.AbstractContextManager[Any]:
  """Where a program for a mesh is traced, so that `constrain_rows` knows it."""
  if mesh is None:
    return contextlib.nullcontext()
  return jax.sharding.use_abstract_mesh(mesh.abstract_mesh)


def constrain_rows(array: chex.Array) -> chex.Array:
  """Divides an array [R, ...] over `data` and `fsdp`, and along no other axis.

  Without it the compiler may divide hidden states along their width, as `fsdp`
  does with the weights beside them, and then sums up every product.

  Args:
    array: traced inside of `within`, or under `jax.set_mesh` of such a mesh;
      elsewhere it stays as it is, and so it does where its rows cannot be
      divided.

  Returns:
    The array.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if not _has_axes(mesh):
    return array
  if array.shape[0] % (mesh.shape[DATA] * mesh.shape[FSDP]):
    return array
  return jax.lax.with_sharding_constraint(array, ROWS)


def constrain_vocabulary(weights: chex.Array, axis: int) -> chex.Array:
  """Divides an embedding table or a head over `tensor` by its words alone.

  Where `fsdp` keeps the width in parts they are put together here, once and
  not where they are used: a lookup would first be done in parts of the width,
  and the chunks of a long row would each gather them.

  Args:
    weights: [V, D] or [D, V]; as for `constrain_rows`.
    axis: the one that is V.

  Returns:
    The weights.
  """
  if not _has_axes(jax.sharding.get_abstract_mesh()):
    return weights
  spec = PartitionSpec(TENSOR) if axis == 0 else PartitionSpec(None, TENSOR)
  return jax.lax.with_sharding_constraint(weights, spec)


def constrain_cache(
  cache: kv_cache.KVCache, mesh: Mesh | None
) -> kv_cache.KVCache:
  """Divides a cache's rows over `data` and `fsdp`, its heads over `tensor`.

  Heads that `tensor` does not divide go to each of its devices: a cache is
  read whole for every token, so that parts of heads would be put together
  again and again.

  Args:
    cache: of N rows, a multiple of data x fsdp; concrete or traced.
    mesh: of `make_mesh`, or None to leave the cache as it is.

  Returns:
    The cache, there.
  """
  if mesh is None:
    return cache
  rows = slots = NamedSharding(mesh, ROWS)
  if not cache.key[0].shape[1] % mesh.shape[TENSOR]:
    slots = NamedSharding(mesh, PartitionSpec(*ROWS, TENSOR))
  return jax.lax.with_sharding_constraint(
    cache,
    kv_cache.KVCache(
      key=(slots,) * len(cache.key),
      value=(slots,) * len(cache.value),
      mask=rows,
      used=NamedSharding(mesh, PartitionSpec()),
      next_position=rows,
    ),
  )
