"""A Pallas kernel for the min-plus product, for TPU (Mosaic) and GPU (Triton).

Nothing uses it by default: nobody has measured it faster than
`min_plus.product`, and it has only run in interpret mode so far. Pass it in
where a product is asked for, and measure:

    all_pairs_distances(graph, product=min_plus_kernel.product)

One kernel serves both platforms. A program holds a tile of C and folds a panel
of terms into it, each the broadcast sum of a column of A and a row of B. They
differ in how a program gets through K. A GPU runs the programs of the grid in
any order, so each one walks through all of K itself. A TPU runs them one after
the other and holds their operands in its vector memory, so K is split into
panels along the grid's last axis, the tile of C stays where it is meanwhile,
and every index into an operand is static, as the lane axis of a TPU needs.
"""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pallas_tpu
from jax.experimental.pallas import triton as pallas_triton

from graphgpo_jax.credit import min_plus


class Blocks(NamedTuple):
  """How a product is cut up."""

  rows: int  # of a tile of C
  columns: int  # of a tile of C
  panel: int  # terms a program folds; 0 is all of K
  unroll: int  # terms written out per turn of the loop over a panel


# Guesses from the hardware's shapes, not measurements. TPU: whole tiles of 8
# sublanes by 128 lanes, 64 KiB each. GPU: 32 registers of C for each of 128
# threads.
DEFAULT_BLOCKS = {
  "tpu": Blocks(rows=128, columns=128, panel=128, unroll=128),
  "gpu": Blocks(rows=64, columns=64, panel=0, unroll=8),
}


def _kernel(left_ref, right_ref, out_ref, *, unroll: int, num_panels: int):
  """Folds one panel, [rows, panel] and [panel, columns], into a tile."""
  num_turns = left_ref.shape[1] // unroll

  def fold(turn, cheapest):
    for offset in range(unroll):
      at = turn * unroll + offset
      column = left_ref[:, pl.ds(at, 1)]
      row = right_ref[pl.ds(at, 1), :]
      cheapest = jnp.minimum(cheapest, column + row)
    return cheapest

  cheapest = jnp.full(out_ref.shape, jnp.inf, jnp.float32)
  if num_panels > 1:
    # What stands in the tile before its first panel is undefined.
    cheapest = jnp.where(pl.program_id(3) == 0, cheapest, out_ref[...])
  if num_turns == 1:
    cheapest = fold(0, cheapest)
  else:
    cheapest = jax.lax.fori_loop(0, num_turns, fold, cheapest)
  out_ref[...] = cheapest


def _platform(platform: str | None) -> str:
  """The platform to build for: "tpu" or "gpu"."""
  if platform is None:
    platform = "tpu" if jax.default_backend() == "tpu" else "gpu"
  if platform not in DEFAULT_BLOCKS:
    raise ValueError(f'platform must be "tpu" or "gpu", got {platform!r}')
  return platform


def _blocks(platform: str, inner: int, **given: int | None) -> Blocks:
  """The platform's blocks with those `given`, for K = `inner` terms."""
  blocks = DEFAULT_BLOCKS[platform]
  for name, value in given.items():
    if value is None:
      continue
    if value < 1:
      raise ValueError(f"{name} must be at least 1, got {value}")
    blocks = blocks._replace(**{name: value})
  if not blocks.panel:
    turns = pl.cdiv(inner, blocks.unroll)
    blocks = blocks._replace(panel=turns * blocks.unroll)
  if blocks.panel % blocks.unroll:
    raise ValueError(
      "panel must be a multiple of unroll, got"
      f" panel={blocks.panel}, unroll={blocks.unroll}"
    )
  if platform == "gpu" and blocks.panel < inner:
    raise ValueError(
      f"panel must hold all {inner} terms on a GPU, got {blocks.panel}: its"
      " programs run in any order, so two must not share a tile"
    )
  return blocks


def _padded(matrix: chex.Array, rows: int, columns: int) -> chex.Array:
  """float32 [B, N, M] with +inf up to multiples of `rows` and `columns`."""
  _, height, width = matrix.shape
  return jnp.pad(
    matrix,
    ((0, 0), (0, -height % rows), (0, -width % columns)),
    constant_values=jnp.inf,
  )


def product(
  left: chex.Array,
  right: chex.Array,
  *,
  rows: int | None = None,
  columns: int | None = None,
  panel: int | None = None,
  unroll: int | None = None,
  platform: str | None = None,
  interpret: bool = False,
) -> chex.Array:
  """Min-plus matrix product by a Pallas kernel.

  C[i, j] = min over k of (A[i, k] + B[k, j])

  The same bits as `min_plus.product`. Shapes that do not divide into blocks
  are padded with +inf. No gradient is defined.

  Args:
    left: float32 [..., N, K], in cost units, +inf where there is no edge.
    right: float32 [..., K, M], likewise; leading dimensions broadcast.
    rows: rows of a tile of C; a power of 2 on GPU, a multiple of 8 on TPU.
    columns: columns of a tile of C; a power of 2 on GPU, a multiple of 128 on
      TPU.
    panel: terms a program folds, a multiple of `unroll`; on GPU all of K, on
      TPU a multiple of 128.
    unroll: terms written out per turn; on TPU the same as `panel`.
    platform: "tpu" or "gpu", whose form is built; the one that JAX runs on
      without it, and "gpu" on CPU. What the sizes above default to, too.
    interpret: run the kernel's steps as plain JAX, on any platform.

  Returns:
    float32 [..., N, M], in cost units; +inf where no k connects the two.

  Raises:
    ValueError: the shapes or the block sizes do not fit, or `platform` is
      unknown.
  """
  batch = min_plus.check_factors(left, right)
  platform = _platform(platform)
  height, inner = left.shape[-2:]
  width = right.shape[-1]
  blocks = _blocks(
    platform, inner, rows=rows, columns=columns, panel=panel, unroll=unroll
  )
  shape = (*batch, height, width)
  if 0 in (*shape, inner):
    return jnp.full(shape, jnp.inf, jnp.float32)
  left = jnp.broadcast_to(left, (*batch, height, inner))
  right = jnp.broadcast_to(right, (*batch, inner, width))
  left = _padded(left.reshape(-1, height, inner), blocks.rows, blocks.panel)
  right = _padded(right.reshape(-1, inner, width), blocks.panel, blocks.columns)
  tiled = _call(left, right, blocks, platform, interpret)
  return tiled[:, :height, :width].reshape(shape)


def _call(
  left: chex.Array,
  right: chex.Array,
  blocks: Blocks,
  platform: str,
  interpret: bool,
) -> chex.Array:
  """Runs the kernel over [B, N, K] and [B, K, M] that the blocks divide."""
  batch, height, inner = left.shape
  width = right.shape[-1]
  num_panels = inner // blocks.panel
  params: object
  if platform == "tpu":
    params = pallas_tpu.CompilerParams(
      dimension_semantics=("parallel", "parallel", "parallel", "arbitrary")
    )
  else:
    params = pallas_triton.CompilerParams(num_warps=4, num_stages=2)
  tile = (None, blocks.rows, blocks.columns)
  return pl.pallas_call(
    functools.partial(_kernel, unroll=blocks.unroll, num_panels=num_panels),
    grid=(batch, height // blocks.rows, width // blocks.columns, num_panels),
    in_specs=[
      pl.BlockSpec(
        (None, blocks.rows, blocks.panel), lambda b, i, j, p: (b, i, p)
      ),
      pl.BlockSpec(
        (None, blocks.panel, blocks.columns), lambda b, i, j, p: (b, p, j)
      ),
    ],
    out_specs=pl.BlockSpec(tile, lambda b, i, j, p: (b, i, j)),
    out_shape=jax.ShapeDtypeStruct((batch, height, width), jnp.float32),
    compiler_params=params,
    interpret=interpret,
    name="min_plus_product",
  )(left, right)
