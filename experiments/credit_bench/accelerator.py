"""Credit on a GPU or TPU against the least time that its memory allows.

The floor of a form is the greater of two times: the bytes that it must move at
the rate at which the device copies a large array, and its additions and minima
at the rate at which the device does them on numbers that are already loaded.
Both rates are measured in the same run.
"""

import functools
import math
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import bench_machine
from experiments.credit_bench import generated
from experiments.credit_bench.options import Size
from graphgpo_jax.credit import distances, estimators, graph

SIZE = Size(1024, 8, 50)
COMMAND = (
  "python -m experiments.bench_credit --sections=distances,accelerator "
  "--output=bench_accelerator.json"
)
_COPY_ENTRIES = 2**28  # float32: 1 GiB
_CHAIN = 256  # additions and minima per loaded entry
_CHAIN_ENTRIES = 2**24
_CALLS = 200


def device_steps(size: Size) -> tuple[graph.Steps, int]:
  """Random walks as Steps on the device, node ids given.

  Args:
    size: B groups of M rollouts of up to T steps.

  Returns:
    Steps of [B, M * T] arrays, padding included, and N, the nodes that
    `merge_rollouts` allows for: M * (T + 1) + 1.
  """
  walks = generated.random_walks(size.groups, size.rollouts, size.horizon)
  ends = np.zeros((len(walks.task), 1), bool)
  last = walks.mask & ~np.concatenate([walks.mask[:, 1:], ends], 1)
  won = last & walks.success[:, None]
  nodes = (walks.path + 1).astype(np.int32)
  total = np.where(walks.success, 10.0, 0.0).astype(np.float32)
  columns = {
    "source": np.where(walks.mask, nodes[:, :-1], graph.NO_NODE),
    "target": np.where(
      walks.mask, np.where(won, graph.SUCCESS, nodes[:, 1:]), graph.NO_NODE
    ),
    "cost": walks.mask.astype(np.float32),
    "reward": np.where(won, np.float32(10.0), np.float32(0.0)),
    "episode_return": np.where(walks.mask, total[:, None], np.float32(0.0)),
    "success": walks.mask & walks.success[:, None],
    "last": last,
    "action_valid": walks.valid,
    "mask": walks.mask,
  }
  steps = graph.Steps(
    **{
      name: jnp.asarray(values.reshape(size.groups, -1))
      for name, values in columns.items()
    }
  )
  return steps, size.rollouts * (size.horizon + 1) + 1


def measure_here(size: Size, *, calls: int, scale: int = 1) -> dict[str, Any]:
  """Times dense and sparse credit on whatever JAX runs on.

  Args:
    size: of the batch.
    calls: timed calls of each form.
    scale: divides the arrays by which the device's rates are measured.

  Returns:
    `bytes_per_second` and `operations_per_second` of the device, and `forms`,
    by name: seconds (median of `calls`, each waited for), floor in seconds,
    what it rests on, and `fraction`, floor by seconds.
  """
  steps, nodes = device_steps(size)
  copy_rate = _bytes_per_second(_COPY_ENTRIES // scale, calls)
  vector_rate = _operations_per_second(_CHAIN_ENTRIES // scale, calls)
  forms = {}
  for name, backup in (
    ("sparse", distances.edge_distances),
    ("dense", distances.dense_distances),
  ):
    one = functools.partial(
      estimators.credit_group, max_nodes=nodes, backup=backup
    )
    run = jax.jit(jax.vmap(lambda group, one=one: one(group)[0]))
    credit = jax.block_until_ready(run(steps))
    # The sweeps of the deepest group, under `vmap` those of all: as many as
    # its longest shortest path has edges, and one that changes nothing.
    sweeps = _sweeps(steps, nodes)
    moved = sum(
      leaf.nbytes for tree in (steps, credit) for leaf in jax.tree.leaves(tree)
    )
    matrix = 4 * size.groups * nodes**2
    terms = steps.mask.size if name == "sparse" else size.groups * nodes**2
    operations = 2 * terms * sweeps
    # Written once and read once, were it kept on the chip in between.
    moved += 2 * matrix if name == "dense" else 0
    floor = max(moved / copy_rate, operations / vector_rate)
    seconds = _median(lambda run=run: run(steps), calls)
    forms[name] = {
      "seconds": seconds,
      "floor_seconds": floor,
      "fraction": floor / seconds,
      "bytes": moved,
      "operations": operations,
      "sweeps": sweeps,
      "calls": calls,
    }
  return {
    "size": str(size),
    "nodes": nodes,
    "device": jax.devices()[0].device_kind,
    "bytes_per_second": copy_rate,
    "operations_per_second": vector_rate,
    "forms": forms,
  }


def measure(options: Any) -> dict[str, Any]:
  """`measure_here` on an accelerator; the command that does it on a CPU.

  Args:
    options: quick.
  """
  if jax.default_backend() == "cpu":
    return {"missing": True, "command": COMMAND}
  return measure_here(SIZE, calls=5 if options.quick else _CALLS)


def _sweeps(steps, nodes):
  def farthest(group):
    built = graph.build_graph(group, max_nodes=nodes)
    found = distances.edge_distances(built)
    return jnp.max(jnp.where(jnp.isfinite(found), found, 0.0))

  return int(jnp.max(jax.jit(jax.vmap(farthest))(steps))) + 1


def _median(call, calls):
  jax.block_until_ready(call())
  seconds = []
  for _ in range(calls):
    started = time.perf_counter()
    jax.block_until_ready(call())
    seconds.append(time.perf_counter() - started)
  return statistics.median(seconds)


def _bytes_per_second(entries, calls):
  """Reads and writes of a copy that changes every entry."""
  values = jnp.zeros((entries,), jnp.float32)
  copy = jax.jit(lambda values: values + 1.0)
  return 8 * entries / _median(lambda: copy(values), max(calls // 10, 3))


def _operations_per_second(entries, calls):
  """Additions and minima, `_CHAIN` of each on an entry that is loaded once."""
  values = jnp.ones((entries,), jnp.float32)

  @jax.jit
  def chain(values):
    least = values
    for index in range(_CHAIN):
      least = jnp.minimum(least + 0.5, values + index)
    return least

  # Three operations a turn: two additions and a minimum.
  seconds = _median(lambda: chain(values), max(calls // 10, 3))
  return 3 * _CHAIN * entries / seconds


def table(found: dict[str, Any]) -> str:
  """Time, floor and fraction of each form, or how to measure them."""
  if found.get("missing"):
    return f"no accelerator here; on one: {found['command']}"
  rows = [["credit on the device", "ms", "floor, ms", "fraction", "MB", "Gop"]]
  for name, form in found["forms"].items():
    rows.append(
      [
        name,
        f"{1000 * form['seconds']:.3f}",
        f"{1000 * form['floor_seconds']:.4f}",
        f"{form['fraction']:.3f}",
        f"{form['bytes'] / 1e6:.1f}",
        f"{form['operations'] / 1e9:.3f}",
      ]
    )
  digits = max(0, 1 - math.floor(math.log10(found["bytes_per_second"] / 1e9)))
  return (
    f"{found['size']}, {found['nodes']} nodes, {found['device']}: copies "
    f"{found['bytes_per_second'] / 1e9:.{digits}f} GB/s, "
    f"{found['operations_per_second'] / 1e9:.{digits}f} Gop/s\n"
    + bench_machine.table(rows)
  )
