"""What the device can do at most, measured: bytes moved, products computed."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

_COPY_ENTRIES = 2**28  # float32: 1 GiB
_MATRIX = 8192


def median_seconds(call: Callable[[], Any], calls: int) -> float:
  """Median time of a call that is waited for; one more comes first."""
  jax.block_until_ready(call())
  seconds = []
  for _ in range(calls):
    started = time.perf_counter()
    jax.block_until_ready(call())
    seconds.append(time.perf_counter() - started)
  return statistics.median(seconds)


def bytes_per_second(*, calls: int, scale: int = 1) -> float:
  """Reads and writes of a copy that changes every entry.

  Args:
    calls: timed ones.
    scale: divides the array's 1 GiB.
  """
  entries = _COPY_ENTRIES // scale
  values = jnp.zeros((entries,), jnp.float32)
  copy = jax.jit(lambda values: values + 1.0)
  return 8 * entries / median_seconds(lambda: copy(values), calls)


def flops_per_second(dtype: Any, *, calls: int, scale: int = 1) -> float:
  """Operations of a product of two square matrices of width 8192.

  Args:
    dtype: of the matrices; products are added up in float32.
    calls: timed ones.
    scale: divides the width.
  """
  width = _MATRIX // scale
  # Not zeros: a chip draws less power on them, and may run faster.
  matrix = jax.random.normal(jax.random.key(0), (width, width), dtype)
  multiply = jax.jit(
    lambda one, other: jnp.matmul(
      one, other, preferred_element_type=jnp.float32
    ).astype(dtype)
  )
  return 2 * width**3 / median_seconds(lambda: multiply(matrix, matrix), calls)
