"""From one group to many: how a function of one group is batched."""

from collections.abc import Callable
from typing import Any

import jax


def map_groups(function: Callable[..., Any], *groups: Any) -> Any:
  """Applies a function of one group to every group of a batch.

  On CPU by `jax.lax.map`: each group's loop stops on its own and its arrays
  stay in cache, several times faster than `jax.vmap`, which iterates all groups
  until the slowest is done. Elsewhere by `jax.vmap`, which fills the device.

  Args:
    function: function of one group's arrays, with static shapes.
    *groups: pytrees whose leaves have a leading axis [B].

  Returns:
    The results, with a leading axis [B] on each leaf.
  """
  return jax.lax.platform_dependent(
    *groups,
    cpu=lambda *args: jax.lax.map(lambda group: function(*group), args),
    default=jax.vmap(function),
  )
