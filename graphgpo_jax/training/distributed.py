"""Several hosts: one program in many processes, all of one mind.

Every process runs the same binary with the same flags and config; jax makes one
mesh of all their devices. What each does beside the shared programs (files,
metrics) is done by process 0 alone.
"""

import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import ml_collections
import numpy as np
from jax.experimental import multihost_utils

MODES = ("auto", "on", "off")
_T = TypeVar("_T")

# What each of jax's three values is called in the environment.
_ADDRESS, _NUMBER, _INDEX = (
  "JAX_COORDINATOR_ADDRESS",
  "JAX_NUM_PROCESSES",
  "JAX_PROCESS_ID",
)
# Another version of one of these may compute other numbers.
_PACKAGES = (
  "jax",
  "jaxlib",
  "flax",
  "optax",
  "numpy",
  "graphgpo-jax",
  # What all of them save and restore together, and how they read the config.
  "orbax-checkpoint",
  "ml_collections",
  # Engines of text worlds, which few installations have.
  "alfworld",
  "fast-downward-textworld",
  "scienceworld",
  "textworld",
  "textworld-express",
)
# What jax says where it finds no cluster; anything else is a real failure.
_NO_CLUSTER = "coordinator_address should be defined"


def initialize(
  mode: str = "auto",
  *,
  coordinator_address: str = "",
  num_processes: int | None = None,
  process_id: int | None = None,
) -> bool:
  """Joins the other processes; to be called before anything else of jax.

  What is not given is taken from the environment (`JAX_COORDINATOR_ADDRESS`,
  `JAX_NUM_PROCESSES`, `JAX_PROCESS_ID`), and else jax finds it by itself on TPU
  slices, under Slurm, Open MPI and Kubernetes.

  Args:
    mode: "on" joins, "off" does not, "auto" joins where an address is known or
      jax finds a cluster.
    coordinator_address: host and port of process 0.
    num_processes: how many processes there are.
    process_id: which one this is, from 0.

  Returns:
    Whether this process is one of several that joined.

  Raises:
    ValueError: there is no such mode; with "on", nothing says where the
      coordinator is; or some of the three are given and others cannot be found.
  """
  if mode not in MODES:
    raise ValueError(
      f"--distributed={mode!r}: expected one of {', '.join(MODES)}"
    )
  if mode == "off":
    return False
  if jax.distributed.is_initialized():
    return jax.process_count() > 1
  address = coordinator_address or os.environ.get(_ADDRESS, "")
  number = _whole_number(_NUMBER, num_processes)
  index = _whole_number(_INDEX, process_id)
  try:
    jax.distributed.initialize(
      coordinator_address=address or None,
      num_processes=number,
      process_id=index,
    )
  except ValueError as error:
    if mode == "auto" and not address and _NO_CLUSTER in str(error):
      return False
    raise ValueError(
      f"--distributed={mode}: {error} Set --coordinator_address, "
      f"--num_processes and --process_id, or {_ADDRESS}, {_NUMBER} and {_INDEX}"
    ) from error
  return jax.process_count() > 1


def _whole_number(name: str, value: int | None) -> int | None:
  if value is not None:
    return value
  text = os.environ.get(name)
  if text is None:
    return None
  if not (text.isascii() and text.isdecimal()):
    raise ValueError(f"{name}={text!r} must be a whole number")
  return int(text)


def is_main() -> bool:
  """Whether this process writes what is written once."""
  return jax.process_index() == 0


def facts(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """What all processes must agree on: the config and the versions.

  Args:
    config: of the run.

  Returns:
    Values by name: `config.<key>` for every key, the packages' versions ("not
    installed" where there is none) and Python's.
  """
  found: dict[str, Any] = {"python": platform.python_version()}
  for package in _PACKAGES:
    try:
      found[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      found[package] = "not installed"
  found.update(_flat("config", json.loads(config.to_json(sort_keys=True))))
  return found


def _flat(path: str, value: Any) -> dict[str, Any]:
  if not isinstance(value, dict):
    return {path: value}
  flat: dict[str, Any] = {}
  for name, inner in value.items():
    flat.update(_flat(f"{path}.{name}", inner))
  return flat


def check_agreement(own: Mapping[str, Any]) -> None:
  """Checks that every process has the same facts as process 0.

  All processes call this, and all of them raise the same error.

  Args:
    own: this process's facts, JSON values by name.

  Raises:
    ValueError: a process differs; the message names it, the facts that differ
      and both values.
  """
  if jax.process_count() == 1:
    return
  first, *others = gather(dict(own))
  complaints = []
  for index, other in enumerate(others, start=1):
    differing = [
      f"{name} ({other.get(name)!r} there, {first.get(name)!r} here)"
      for name in sorted(first.keys() | other.keys())
      if first.get(name) != other.get(name)
    ]
    if differing:
      complaints.append(
        f"process {index} differs from process 0 in {', '.join(differing)}"
      )
  if complaints:
    raise ValueError("; ".join(complaints))


def gather(value: Any) -> list[Any]:
  """What every process says, to all of them.

  Args:
    value: a JSON value.

  Returns:
    The values in the order of the processes.
  """
  if jax.process_count() == 1:
    return [value]
  content = json.dumps(value, sort_keys=True).encode()
  lengths = multihost_utils.process_allgather(np.int32(len(content)))
  padded = np.zeros(int(np.max(lengths)), np.uint8)
  padded[: len(content)] = np.frombuffer(content, np.uint8)
  rows = np.asarray(multihost_utils.process_allgather(padded))
  return [
    json.loads(rows[index, :length].tobytes())
    for index, length in enumerate(np.ravel(lengths).tolist())
  ]


def together(function: Callable[[], _T]) -> _T:
  """Does what may fail; where it fails in one process, all of them fail.

  Otherwise the others would wait for that one for ever.

  Args:
    function: called in every process; where it talks to the others it must
      fail in all of them or in none.

  Returns:
    What it returns here.

  Raises:
    Exception: what it raised here.
    ValueError: it failed in another process; the message says in which and how.
  """
  try:
    result = function()
  except Exception as error:
    gather(_first_line(error) or type(error).__name__)
    raise
  problems = gather("")
  for index, problem in enumerate(problems):
    if problem:
      raise ValueError(f"process {index}: {problem}")
  return result


def _first_line(error: Exception) -> str:
  lines = str(error).strip().splitlines()
  return lines[0][:300] if lines else ""


def barrier(name: str) -> None:
  """Waits until every process has come here.

  Args:
    name: of the place; all must come to the same one.
  """
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)
