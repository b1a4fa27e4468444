"""Panels: fixed sets of evaluation tasks, the same on every machine."""

import functools
import hashlib
from typing import Any, Protocol

import chex
import jax
import jax.numpy as jnp
import numpy as np

Task = Any

# Draws made at once: for speed only, since a draw depends on its own key alone.
_DRAWS_PER_ROUND = 64
# A panel that still lacks tasks after this many draws per task asks for more
# distinct tasks than the environment has.
_MOST_DRAWS_PER_TASK = 50


class PanelEnvironment(Protocol):
  """What a panel needs of an environment."""

  def sample_evaluation_task(self, key: chex.PRNGKey) -> Task:
    """Draws a task of the evaluation side."""
    ...

  def task_fingerprint(self, task: Task) -> chex.Array:
    """uint32 [2] of the task's layout."""
    ...


@functools.partial(jax.jit, static_argnums=0)
def _draw(environment, root, first):
  """Tasks of the draws from `first` on, and their fingerprints."""
  indices = first + jnp.arange(_DRAWS_PER_ROUND, dtype=jnp.uint32)
  keys = jax.vmap(lambda index: jax.random.fold_in(root, index))(indices)
  tasks = jax.vmap(environment.sample_evaluation_task)(keys)
  return tasks, jax.vmap(environment.task_fingerprint)(tasks)


def make_panel(environment: PanelEnvironment, *, seed: int, size: int) -> Task:
  """Draws distinct evaluation tasks.

  Draw k uses `fold_in(key(seed), k)`, and the panel keeps the first `size`
  draws with distinct fingerprints: a longer panel of the same seed begins with
  the shorter one.

  Args:
    environment: gives `sample_evaluation_task` and `task_fingerprint`; it must
      be hashable.
    seed: seed of the panel.
    size: number of tasks, positive.

  Returns:
    A task pytree whose leaves have a leading axis [size].

  Raises:
    ValueError: `size` is not positive, or the environment gave fewer than
      `size` distinct tasks in 50 draws per task.
  """
  if size < 1:
    raise ValueError(f"size must be positive, got {size}")
  # This and the flag below are named so that a program's own settings cannot
  # change a panel.
  root = jax.random.key(seed, impl="threefry2x32")

  seen: set[bytes] = set()
  kept: list[Task] = []
  for first in range(0, size * _MOST_DRAWS_PER_TASK, _DRAWS_PER_ROUND):
    with jax.threefry_partitionable(True):
      drawn = _draw(environment, root, jnp.uint32(first))
    tasks, fingerprints = jax.device_get(drawn)
    rows = []
    for row, task_fingerprint in enumerate(fingerprints):
      name = task_fingerprint.tobytes()
      if name not in seen and len(seen) < size:
        seen.add(name)
        rows.append(row)
    kept.append(jax.tree.map(lambda leaf, rows=rows: leaf[rows], tasks))
    if len(seen) == size:
      return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *kept)
  raise ValueError(
    f"found only {len(seen)} distinct evaluation tasks of the {size} asked "
    f"for; ask for a smaller panel"
  )


def panel_sha256(panel: Task) -> str:
  """SHA-256 of a panel: dtype, shape and bytes of each leaf, in tree order.

  Args:
    panel: pytree of arrays, such as `make_panel` returns.

  Returns:
    64 hexadecimal digits, equal on little- and big-endian machines.
  """
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(panel):
    array = np.asarray(leaf)
    digest.update(f"{array.dtype.name}{array.shape}".encode())
    digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
  return digest.hexdigest()
