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
    step = self.latest_step()
    if step is None:
      raise ValueError(
        f"no checkpoint in {self._checkpointer.directory}; train first"
      )
    tree = _as_tree(like)
    loaded = self._checkpointer.load(step, jax.tree.map(_abstract, tree))
    return TrainState(**loaded)

  def close(self) -> None:
    """Waits for what is being written."""
    self._checkpointer.close()


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _as_tree(state: TrainState) -> dict[str, Any]:
  return {
    field.name: getattr(state, field.name)
    for field in dataclasses.fields(TrainState)  # type: ignore[arg-type]
  }
