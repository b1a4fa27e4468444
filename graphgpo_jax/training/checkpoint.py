"""Checkpoints of a run, by Orbax."""

import dataclasses
import os
import pathlib
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from graphgpo_jax.training import state as state_lib

TrainState = state_lib.TrainState

# One to go on from, and some in case it cannot be read.
_KEPT = 3


class Checkpoints:
  """The checkpoints of one work directory, by the number of updates done."""

  def __init__(self, workdir: str | os.PathLike):
    """Opens `workdir/checkpoints`; the newest few of them are kept."""
    folder = pathlib.Path(workdir).absolute() / "checkpoints"
    self._checkpointer = ocp.training.Checkpointer(
      folder,
      preservation_policy=ocp.training.preservation_policies.LatestN(_KEPT),
    )

  def latest_step(self) -> int | None:
    """Updates done at the newest checkpoint, or None where there is none."""
    latest = self._checkpointer.latest
    return None if latest is None else int(latest.step)

  def save(self, step: int, state: TrainState) -> None:
    """Writes a checkpoint, atomically, unless that step has one."""
    if self.latest_step() != step:
      self._checkpointer.save(step, _as_tree(state), force=True)

  def restore(self, like: TrainState) -> TrainState:
    """Reads the newest checkpoint.

    Args:
      like: a state of the same shapes and types.

    Returns:
      The state.

    Raises:
      ValueError: there is no checkpoint.
    """
    tree = _as_tree(like)
    loaded = self._checkpointer.load(
      self._newest(), jax.tree.map(_abstract, tree)
    )
    return TrainState(**loaded)

  def restore_params(self, like: TrainState) -> Any:
    """Reads the parameters of the newest checkpoint, and nothing else of it.

    Args:
      like: a state whose parameters have the same names, shapes and types.

    Returns:
      The parameters, placed as those of `like`.

    Raises:
      ValueError: there is no checkpoint, or its parameters are others; the
        message names one.
    """
    step = self._newest()
    stored: Any = self._checkpointer.metadata(step).metadata
    # Who saved it is told of all it saved, who opens it of the state alone.
    stored = stored.get("state", stored)
    found, wanted = _by_path(stored["params"]), _by_path(like.params)
    for name in sorted(found.keys() ^ wanted.keys()):
      where = "the checkpoint" if name in found else "the policy"
      raise ValueError(
        f"{self._checkpointer.directory} is of another policy: only {where} "
        f"has a parameter {name}"
      )
    for name, leaf in wanted.items():
      if (leaf.shape, leaf.dtype) != (found[name].shape, found[name].dtype):
        raise ValueError(
          f"{self._checkpointer.directory} is of another policy: parameter "
          f"{name} is {found[name].dtype}{list(found[name].shape)} there, "
          f"{leaf.dtype}{list(leaf.shape)} here"
        )
    # A placeholder is not read: the optimiser may well be another.
    partial = jax.tree.map(lambda _: ocp.PLACEHOLDER, stored)
    partial["params"] = jax.tree.map(_abstract, like.params)
    return self._checkpointer.load(step, partial)["params"]

  def _newest(self) -> int:
    step = self.latest_step()
    if step is None:
      raise ValueError(
        f"no checkpoint in {self._checkpointer.directory}; train first"
      )
    return step

  def close(self) -> None:
    """Waits for what is being written."""
    self._checkpointer.close()


def _name(path: Any) -> str:
  return jax.tree_util.keystr(path, simple=True, separator="/")


def _by_path(tree: Any) -> dict[str, Any]:
  """Leaves by the names on the way to them."""
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {_name(path): leaf for path, leaf in leaves}


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _as_tree(state: TrainState) -> dict[str, Any]:
  return {
    field.name: getattr(state, field.name)
    for field in dataclasses.fields(TrainState)  # type: ignore[arg-type]
  }
