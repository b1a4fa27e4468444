"""Gradients that are not finite: refused, counted, and at last an end."""

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils

from graphgpo_jax.training import checksums

# Never to be reached: a gradient that is not finite is never applied.
_ALWAYS = 2**31 - 1
_PARTS = ("loss/policy", "loss/entropy", "loss/reference_kl")


class NotFiniteError(ValueError):
  """So many updates in a row had no finite gradient that training stopped."""


def refuse_not_finite(
  optimizer: optax.GradientTransformation,
) -> optax.GradientTransformation:
  """An optimiser that leaves out steps whose gradient is not finite.

  Parameters and optimiser then stay as they were; `count_refused` counts.
  """
  return optax.apply_if_finite(optimizer, max_consecutive_errors=_ALWAYS)


def poison_unless_finite(
  gradients: Any, metrics: Mapping[str, chex.Array]
) -> Any:
  """Makes gradients NaN where a loss is not finite, so that they are refused.

  A minimum or a `where` can hide a NaN of the loss from its gradient.

  Args:
    gradients: tree of arrays.
    metrics: float32 [] by name; the loss's parts are among them.

  Returns:
    The gradients, unchanged where all parts of the loss are finite.
  """
  parts = [metrics[name] for name in _PARTS if name in metrics]
  finite = jnp.all(jnp.isfinite(jnp.stack(parts)))
  return jax.tree.map(lambda leaf: jnp.where(finite, leaf, jnp.nan), gradients)


def count_refused(opt_state: Any) -> int:
  """Steps that were left out since training began; 0 without the guard."""

  def is_guard(node):
    return isinstance(node, optax.ApplyIfFiniteState)

  nodes = jax.tree.leaves(opt_state, is_leaf=is_guard)
  return sum(int(node.total_notfinite) for node in nodes if is_guard(node))


class RefusedUpdates:
  """Counts updates that refused a gradient, and stops after some in a row.

  Attributes:
    in_a_row: how many there were up to now.
  """

  def __init__(
    self, folder: str | os.PathLike, *, limit: int, in_a_row: int = 0
  ):
    """Starts to count.

    Args:
      folder: takes the batch of the last one.
      limit: how many in a row end the run.
      in_a_row: how many there were before a restart.
    """
    self._folder = pathlib.Path(folder)
    self._limit = limit
    self.in_a_row = in_a_row

  def check(self, step: int, refused: int, batch: Callable[[], Any]) -> None:
    """Counts one update.

    Args:
      step: updates done, this one among them.
      refused: its steps that were left out.
      batch: gives the tree of arrays that it learned from.

    Raises:
      NotFiniteError: it is one too many; the message names the file that holds
        the batch.
    """
    self.in_a_row = self.in_a_row + 1 if refused else 0
    if self.in_a_row < self._limit:
      return
    path = self._folder / f"not_finite_batch_{step:06d}.npz"
    save_batch(path, batch())  # In every process: each has parts of it.
    raise NotFiniteError(
      f"{self.in_a_row} updates in a row, the last one update {step}, had "
      "losses or gradients that are not finite and were not applied; the batch "
      f"of the last one is {path}. A lower optimizer.learning_rate may help; "
      "the same command goes on from the last checkpoint"
    )


def save_batch(path: str | os.PathLike, batch: Any) -> None:
  """Writes a tree of arrays to an npz file that `np.load` opens as it is.

  Of several processes all call it, and the first one writes.

  Args:
    path: of the file.
    batch: arrays; random keys are written as their numbers.
  """
  arrays = {}
  for name, leaf in checksums.by_path(batch).items():
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    if isinstance(leaf, jax.Array) and not (
      leaf.is_fully_addressable or leaf.is_fully_replicated
    ):
      leaf = multihost_utils.process_allgather(leaf, tiled=True)
    array = np.asarray(leaf)
    if array.dtype.kind not in "biufc":  # bfloat16 is no type of NumPy's own.
      array = array.astype(np.float32)
    arrays[name] = array
  if jax.process_index():
    return
  temporary = pathlib.Path(f"{path}.partial")
  with temporary.open("wb") as file:
    np.savez_compressed(file, allow_pickle=False, **arrays)
  os.replace(temporary, path)
