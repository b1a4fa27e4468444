"""One checkpoint read from the disk, and whether it is what was written."""

import pathlib
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from graphgpo_jax.training import checksums, distributed, run_record

RunRecord = run_record.RunRecord


class AnotherPolicyError(ValueError):
  """A checkpoint is sound, and of other shapes than what is asked for."""


def read_record(path: pathlib.Path) -> RunRecord | None:
  """The record of a checkpoint; None for one of an older version.

  Raises:
    Exception: of many types, where something is damaged.
  """
  known = _known(path)
  return None if known is None else known[0]


def read_tree(
  path: pathlib.Path, like: dict[str, Any]
) -> tuple[dict[str, Any], RunRecord | None]:
  """Reads all of a checkpoint.

  Args:
    path: its folder.
    like: a tree of arrays of the same names, shapes and types; what is read is
      placed as they are.

  Returns:
    The tree, and its record; None for one of an older version, whose arrays
    have no checksums.

  Raises:
    AnotherPolicyError: it is sound, but of other arrays; one is named.
    Exception: of many types, where something is damaged.
  """
  known = distributed.together(lambda: _known(path))
  if known is not None:
    # From here on a difference is another policy and no damage.
    leaves = {
      name: jax.ShapeDtypeStruct(tuple(shape), np.dtype(dtype))
      for name, (dtype, shape, _) in known[1].items()
    }
    _compare(path, leaves, checksums.by_path(like))
  loaded: Any = distributed.together(
    lambda: ocp.load(path, jax.tree.map(_abstract, like))
  )
  if known is None:
    return loaded, None
  _verify(loaded, known[1])
  return loaded, known[0]


def read_params(path: pathlib.Path, like: Any) -> Any:
  """Reads the parameters of a checkpoint, and nothing else of it.

  Args:
    path: its folder.
    like: parameters of the same names, shapes and types.

  Returns:
    The parameters, placed as those of `like`.

  Raises:
    AnotherPolicyError: its parameters are others; one is named.
    ValueError: an array is not the one that was written.
  """
  stored: Any = distributed.together(lambda: ocp.metadata(path).metadata)
  _compare(path, checksums.by_path(stored["params"]), checksums.by_path(like))
  # A placeholder is not read: the optimiser may well be another.
  partial = jax.tree.map(lambda _: ocp.PLACEHOLDER, stored)
  partial["params"] = jax.tree.map(_abstract, like)
  loaded: Any = distributed.together(lambda: ocp.load(path, partial))
  params = loaded["params"]
  known = distributed.together(lambda: _known(path))
  if known is not None:
    _verify({"params": params}, known[1])
  return params


def _known(path: pathlib.Path) -> Any:
  return run_record.from_json(ocp.metadata(path).custom_metadata)


def _compare(
  path: pathlib.Path, found: dict[str, Any], wanted: dict[str, Any]
) -> None:
  for name in sorted(found.keys() ^ wanted.keys()):
    where = "the checkpoint" if name in found else "the policy"
    raise AnotherPolicyError(
      f"{path} is of another policy: only {where} has a parameter {name}"
    )
  for name, leaf in wanted.items():
    if (leaf.shape, leaf.dtype) != (found[name].shape, found[name].dtype):
      raise AnotherPolicyError(
        f"{path} is of another policy: parameter {name} is "
        f"{found[name].dtype}{list(found[name].shape)} there, "
        f"{leaf.dtype}{list(leaf.shape)} here"
      )


def _verify(tree: Any, known: dict[str, list[Any]]) -> None:
  """Raises a ValueError that names an array which is not as it was saved."""
  for name, checksum in checksums.tree_checksums(tree).items():
    if known[name][2] != checksum:
      raise ValueError(f"its array {name} is not the one that was written")


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
