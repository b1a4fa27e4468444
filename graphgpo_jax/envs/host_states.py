"""States of environments in a form that NumPy holds, and back."""

from typing import Any

import jax
import jax.numpy as jnp


def to_host_form(state: Any) -> Any:
  """A state with the data of PRNG keys in place of the keys.

  Args:
    state: pytree of arrays.

  Returns:
    The same tree, whose leaves NumPy can hold.
  """
  return jax.tree.map(
    lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, state
  )


def to_states(model: Any, data: Any) -> Any:
  """Undoes `to_host_form`, for any number of states.

  Args:
    model: a state, which tells where there are PRNG keys.
    data: such a tree in host form, with any leading axes.

  Returns:
    The states.
  """
  return jax.tree.map(
    lambda leaf, values: (
      jax.random.wrap_key_data(values, impl=jax.random.key_impl(leaf))
      if _is_key(leaf)
      else values
    ),
    model,
    data,
  )


def _is_key(leaf: Any) -> bool:
  return jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key)
