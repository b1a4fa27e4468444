"""How the devices of a mesh share the work of an update.

Rollouts and credit of one task need nothing of another's, so both run under
`jax.shard_map` without any communication, in as many parts as `data` and `fsdp`
make together. The optimiser's devices each take a part of every chunk of steps
and add up their gradients. What the update carries lies cut over `fsdp` and
`tensor` as `policy.partition_rules` says.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from graphgpo_jax.policy import partition, partition_rules

DATA = partition.DATA
FSDP = partition.FSDP
TENSOR = partition.TENSOR

# Fields of a train state that are shaped like the parameters; the others are
# small, and every device holds them whole.
_LIKE_PARAMETERS = ("params", "reference_params", "opt_state")


def count_devices(
  data: int, *, fsdp: int = 1, tensor: int = 1, divides: dict[str, int]
) -> int:
  """How long the data axis is.

  Args:
    data: what the config asks for; 0 for as many devices as there are and as
      divide the batch. Several processes use all of their devices or none.
    fsdp: devices that share out the parameters; they divide the batch, too.
    tensor: devices that compute each product together.
    divides: by config key, the sizes that data x fsdp has to divide.

  Returns:
    The length of the axis, at least 1.

  Raises:
    ValueError: there are too few devices, or data x fsdp does not divide a
      size, or one of several processes would be left out; the message names the
      key.
  """
  present = jax.device_count()
  if jax.process_count() > 1:
    data = _all_devices(data, fsdp, tensor)
  least = max(data, 1) * fsdp * tensor
  if least > present:
    raise ValueError(
      f"{_keys(data, fsdp, tensor)}, but there are {present} devices "
      f"({jax.default_backend()}); on a CPU, config.mesh.cpu_devices splits it"
    )
  for name, size in divides.items():
    if size % (max(data, 1) * fsdp):
      raise ValueError(
        f"config.{name}={size} must be a multiple of {_keys(data, fsdp, 1)}"
      )
  if data:
    return data
  common = math.gcd(*divides.values()) // fsdp
  most = present // (fsdp * tensor)
  return max(n for n in range(1, most + 1) if common % n == 0)


def _all_devices(data: int, fsdp: int, tensor: int) -> int:
  """The data axis that takes the devices of every process."""
  present = jax.device_count()
  wanted, rest = divmod(present, fsdp * tensor)
  if rest or data not in (0, wanted):
    asked = f"config.mesh.data={data} x fsdp={fsdp} x tensor={tensor}"
    raise ValueError(
      f"{asked} must be the {present} devices of all {jax.process_count()} "
      "processes, none of which can be left out; config.mesh.data=0 takes as "
      "many as there are"
    )
  return wanted


def _keys(data: int, fsdp: int, tensor: int) -> str:
  """The config's keys of the axes that are there, and their product."""
  sizes = {DATA: data, FSDP: fsdp, TENSOR: tensor}
  named = {axis: size for axis, size in sizes.items() if size > 1}
  text = " x ".join(
    f"config.mesh.{axis}={size}" for axis, size in named.items()
  )
  return text if len(named) < 2 else f"{text} = {math.prod(named.values())}"


def make_mesh(data: int, fsdp: int = 1, tensor: int = 1) -> Mesh | None:
  """Mesh of `policy.partition`, or None for a single device.

  Args:
    data: parts of the batch, each with all of the parameters.
    fsdp: parts of the batch that share out the parameters.
    tensor: devices that compute each product together.

  Returns:
    The mesh. A single device has none: it then runs the plain functions.

  Raises:
    ValueError: a size is not positive, or there are too few devices.
  """
  if data == fsdp == tensor == 1:
    return None
  return partition.make_mesh(data, fsdp, tensor)


def split_groups(
  function: Callable[..., Any], mesh: Mesh | None, *, num_shared: int = 0
) -> Callable[..., Any]:
  """Runs a function of a batch of groups on each device's part of the batch.

  Args:
    function: of arrays whose leading axis is the batch, and so are its
      results'; what it makes of a group depends on that group alone.
    mesh: of `make_mesh`. The devices of `tensor` do the same.
    num_shared: the first so many arguments go to every device as they are,
      put together there where they lie in parts.

  Returns:
    The function of the whole batch, to be called under jit.
  """
  if mesh is None:
    return function
  shared, split = PartitionSpec(), partition.ROWS

  def spread(*args):
    specs = (shared,) * num_shared + (split,) * (len(args) - num_shared)
    # Unchecked: loops inside start from constants, which the check takes for
    # values that all devices share.
    return jax.shard_map(
      function, mesh=mesh, in_specs=specs, out_specs=split, check_vma=False
    )(*args)

  return spread


def add_parts(
  function: Callable[..., tuple[Any, Any]],
  mesh: Mesh | None,
  *,
  rules: partition_rules.Rules,
) -> Callable[..., tuple[Any, Any]]:
  """Adds up what the parts of a batch give: gradients and metrics.

  Args:
    function: `(part, params, *args) -> (gradients like params, metrics)`, with
      int32 [] `part` in [0, data x fsdp).
    mesh: of `make_mesh`. Over `tensor` the compiler divides the function's
      products, as the parameters are cut.
    rules: table of the parameters.

  Returns:
    `(params, *args) -> (gradients, metrics)`, to be called under jit. The
    arguments lie anywhere, the gradients where the parameters belong.
  """
  if mesh is None or partition.num_row_parts(mesh) == 1:
    return lambda *args: function(0, *args)

  def spread(params, *args):
    specs = jax.tree.map(
      lambda sharding: sharding.spec,
      partition.shardings(mesh, params, rules=rules),
    )
    cut = jax.tree.map(_over_fsdp, specs, is_leaf=_is_spec)

    def add(leaf, spec):
      if FSDP not in spec:
        return jax.lax.psum(leaf, partition.ROW_AXES)
      leaf = jax.lax.psum_scatter(
        leaf, FSDP, scatter_dimension=spec.index(FSDP), tiled=True
      )
      # The compiler refuses a sum over one device beside a divided product.
      return leaf if mesh.shape[DATA] == 1 else jax.lax.psum(leaf, DATA)

    def own(params, *args):
      part = jax.lax.axis_index(partition.ROW_AXES)
      gradients, metrics = function(part, params, *args)
      metrics = jax.lax.psum(metrics, partition.ROW_AXES)
      return jax.tree.map(add, gradients, cut), metrics

    return jax.shard_map(
      own,
      mesh=mesh,
      # Not over `tensor`: there the compiler does it.
      axis_names=frozenset(partition.ROW_AXES),
      in_specs=PartitionSpec(),
      out_specs=(cut, PartitionSpec()),
      check_vma=False,
    )(params, *args)

  return spread


def _is_spec(value: Any) -> bool:
  return isinstance(value, PartitionSpec)


def _over_fsdp(spec: PartitionSpec) -> PartitionSpec:
  return PartitionSpec(*(name if name == FSDP else None for name in spec))


def replicated(mesh: Mesh | None) -> NamedSharding | None:
  """Sharding of arrays that every device holds; None without a mesh."""
  if mesh is None:
    return None
  return NamedSharding(mesh, PartitionSpec())


def on_every_device(tree: Any, mesh: Mesh | None) -> Any:
  """Puts the arrays of a tree whole on every device; also under jit."""
  if mesh is None:
    return tree
  return jax.lax.with_sharding_constraint(tree, replicated(mesh))


def state_shardings(
  mesh: Mesh | None, state: Any, *, rules: partition_rules.Rules
) -> Any:
  """Where the arrays of a train state belong.

  Parameters, a reference of theirs and the optimiser's moments by the table,
  everything else on every device.

  Args:
    mesh: of `make_mesh`.
    state: TrainState; shapes suffice.
    rules: table of the parameters.

  Returns:
    A tree like it of shardings; None without a mesh.

  Raises:
    ValueError: a parameter cannot be divided as the table says; the message
      names it and the axis of the mesh.
  """
  if mesh is None:
    return None

  def place(path, leaf):
    if path[0].name in _LIKE_PARAMETERS:
      name = jax.tree_util.keystr(path, simple=True, separator="/")
      rule = partition.sharding_rule(mesh, rules=rules)
      return rule((name,), leaf.shape)
    return NamedSharding(mesh, PartitionSpec())

  return jax.tree_util.tree_map_with_path(place, state)


def compiler_options(mesh: Mesh | None) -> dict[str, Any] | None:
  """Compiler options for programs on a mesh, to be passed to `jax.jit`.

  A CPU that is split has a device per core; threads that each device would
  start for a single product only get into each other's way.
  """
  if mesh is None or jax.default_backend() != "cpu":
    return None
  return {"xla_cpu_multi_thread_eigen": False}
