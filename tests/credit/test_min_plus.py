import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.credit import min_plus, min_plus_kernel

SHAPES = (
  (1, 1, 1),
  (17, 33, 20),
  (40, 7, 70),
)
# Small tiles, so that small matrices have several of them.
SMALL = {
  "tpu": {"rows": 8, "columns": 16, "panel": 16, "unroll": 16},
  "gpu": {"rows": 16, "columns": 8, "unroll": 4},
}


def costs(seed, shape, missing=0.4):
  rng = np.random.default_rng(seed)
  matrix = rng.uniform(0, 3, shape).astype(np.float32)
  matrix[rng.random(shape) < 0.1] = 0.0
  matrix[rng.random(shape) < missing] = np.inf
  return matrix


def expected_product(left, right):
  """By the definition, term by term."""
  *batch, height, inner = left.shape
  width = right.shape[-1]
  result = np.full((*batch, height, width), np.inf, np.float32)
  for i, k, j in itertools.product(range(height), range(inner), range(width)):
    through = left[..., i, k] + right[..., k, j]
    result[..., i, j] = np.minimum(result[..., i, j], through)
  return result


def kernel(platform, **blocks):
  return functools.partial(
    min_plus_kernel.product, platform=platform, interpret=True, **blocks
  )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("block", [1, 4, 16])
def test_product_is_its_definition(shape, block):
  height, inner, width = shape
  left = costs(0, (2, height, inner))
  right = costs(1, (2, inner, width))
  function = jax.jit(functools.partial(min_plus.product, block=block))
  found = function(left, right)
  expected = expected_product(left, right)
  np.testing.assert_array_equal(found, expected)
  if shape == (17, 33, 20):
    assert np.isfinite(expected).any() and np.isinf(left).any()


def test_nothing_connects():
  missing = np.full((3, 4), np.inf, np.float32)
  right = costs(0, (4, 5), missing=0.0)
  assert np.isinf(min_plus.product(missing, right)).all()
  empty = jnp.zeros((3, 0))
  assert np.isinf(min_plus.product(empty, empty.T)).all()
  assert min_plus.product(empty, empty.T).shape == (3, 3)
  found = min_plus_kernel.product(empty, empty.T, interpret=True)
  assert np.isinf(found).all() and found.shape == (3, 3)


@pytest.mark.parametrize(
  "product", [min_plus.product, kernel("gpu", **SMALL["gpu"])]
)
def test_leading_dimensions_broadcast(product):
  left, right = costs(0, (3, 1, 6, 5)), costs(1, (2, 5, 4))
  found = product(left, right)
  assert found.shape == (3, 2, 6, 4)
  for at, other in itertools.product(range(3), range(2)):
    np.testing.assert_array_equal(
      found[at, other], expected_product(left[at, 0], right[other])
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("platform", ["tpu", "gpu"])
def test_kernel_equals_product_bit_for_bit(platform, shape):
  height, inner, width = shape
  left = costs(2, (2, height, inner))
  right = costs(3, (2, inner, width))
  found = jax.jit(kernel(platform, **SMALL[platform]))(left, right)
  expected = min_plus.product(left, right)
  np.testing.assert_array_equal(
    np.asarray(found).view(np.uint32), np.asarray(expected).view(np.uint32)
  )


@pytest.mark.parametrize("platform", ["tpu", "gpu"])
def test_kernel_with_default_blocks(platform):
  left, right = costs(4, (130, 140)), costs(5, (140, 129))
  found = jax.jit(kernel(platform))(left, right)
  np.testing.assert_array_equal(found, min_plus.product(left, right))


def test_kernel_under_vmap():
  left, right = costs(6, (4, 9, 20)), costs(7, (4, 20, 10))
  found = jax.jit(jax.vmap(kernel("tpu", **SMALL["tpu"])))(left, right)
  np.testing.assert_array_equal(found, min_plus.product(left, right))


@pytest.mark.parametrize(
  ("platform", "target", "call"),
  [("tpu", "tpu", "tpu_custom_call"), ("gpu", "cuda", "triton")],
)
@pytest.mark.parametrize("shape", [(256, 256, 256), (100, 300, 70)])
def test_kernel_lowers_for_its_platform(platform, target, call, shape):
  """The kernel's language accepts it; its compiler is not at hand here."""
  height, inner, width = shape
  function = functools.partial(min_plus_kernel.product, platform=platform)
  traced = jax.jit(function).trace(
    jax.ShapeDtypeStruct((2, height, inner), jnp.float32),
    jax.ShapeDtypeStruct((2, inner, width), jnp.float32),
  )
  text = traced.lower(lowering_platforms=(target,)).as_text()
  assert call in text


def test_vector_product():
  matrix, vector = costs(8, (3, 12, 7)), costs(9, (3, 7))
  found = jax.jit(min_plus.vector_product)(matrix, vector)
  expected = min_plus.product(matrix, vector[..., None])[..., 0]
  np.testing.assert_array_equal(found, expected)
  np.testing.assert_array_equal(
    found, np.min(matrix + vector[:, None, :], axis=-1)
  )


def test_no_intermediate_of_all_terms():
  """What is held beside the factors and the product is far below N K M."""
  size = 256
  shape = jax.ShapeDtypeStruct((size, size), jnp.float32)
  compiled = jax.jit(min_plus.product).lower(shape, shape).compile()
  held = compiled.memory_analysis().temp_size_in_bytes
  assert held < 4 * 4 * size**2


@pytest.mark.parametrize(
  ("left", "right"),
  [((2, 3), (4, 2)), ((3,), (3, 2)), ((2, 3, 4), (3, 4, 5))],
)
@pytest.mark.parametrize("product", [min_plus.product, kernel("gpu")])
def test_shapes_that_do_not_fit(product, left, right):
  with pytest.raises(ValueError, match=r"\[\.\.\., N, K\]"):
    product(jnp.zeros(left), jnp.zeros(right))


def test_bad_arguments():
  square = jnp.zeros((4, 4))
  with pytest.raises(ValueError, match="block must be at least 1, got 0"):
    min_plus.product(square, square, block=0)
  with pytest.raises(ValueError, match="rows must be at least 1, got -8"):
    kernel("gpu", rows=-8)(square, square)
  with pytest.raises(ValueError, match="panel=10, unroll=4"):
    kernel("tpu", panel=10, unroll=4)(square, square)
  with pytest.raises(ValueError, match="all 4 terms on a GPU, got 2"):
    kernel("gpu", panel=2, unroll=2)(square, square)
  with pytest.raises(ValueError, match="'rocket'"):
    kernel("rocket")(square, square)
  with pytest.raises(ValueError, match="matrix and vector"):
    min_plus.vector_product(square, jnp.zeros(3))
  with pytest.raises(AssertionError):
    min_plus.product(square, square.astype(int))
