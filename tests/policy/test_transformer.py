import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.policy import attention, transformer

CONFIG = transformer.TransformerConfig(num_layers=1, width=16, num_heads=4)
LANGUAGE = dataclasses.replace(
  CONFIG,
  num_layers=2,
  causal=True,
  rope=True,
  num_kv_heads=2,
  qkv_bias=True,
  qk_norm=True,
)
LENGTH = 7


@functools.cache
def build(config):
  model = transformer.Transformer(config)
  key = jax.random.key(0)
  embeddings = jax.random.normal(key, (3, LENGTH, config.width))
  params = jax.jit(model.init)(key, embeddings, jnp.ones((3, LENGTH), bool))
  return jax.jit(model.apply), params, embeddings


@pytest.mark.parametrize("config", [CONFIG, LANGUAGE])
class TestBothKinds:
  def test_padding_changes_nothing(self, config):
    apply, params, embeddings = build(config)
    expected = apply(params, embeddings, jnp.ones((3, LENGTH), bool))
    for left, right in ((0, 3), (3, 0), (1, 2)):
      widths = ((0, 0), (left, right))
      # NaN, so that a leak cannot go unseen.
      padded = np.pad(embeddings, (*widths, (0, 0)), constant_values=np.nan)
      mask = np.pad(np.ones((3, LENGTH), bool), widths)
      hidden = apply(params, padded, mask)
      chex.assert_tree_all_finite(hidden)
      np.testing.assert_allclose(
        hidden[:, left : left + LENGTH], expected, atol=2e-5
      )

  def test_batch_axes(self, config):
    apply, params, embeddings = build(config)
    mask = jnp.arange(LENGTH) < jnp.array([[7], [4], [1]])
    expected = apply(params, embeddings, mask)
    single = apply(params, embeddings[1], mask[1])
    np.testing.assert_allclose(single, expected[1], atol=2e-5)
    nested = apply(
      params, embeddings.reshape(1, 3, 1, LENGTH, -1), mask[None, :, None]
    )
    np.testing.assert_allclose(nested[0, :, 0], expected, atol=2e-5)
    mapped = jax.vmap(apply, (None, 0, 0))(params, embeddings, mask)
    np.testing.assert_allclose(mapped, expected, atol=2e-5)

  def test_nothing_valid_is_finite(self, config):
    apply, params, embeddings = build(config)
    mask = jnp.zeros((3, LENGTH), bool).at[1].set(True)

    def loss(params, embeddings):
      return jnp.sum(jnp.square(apply(params, embeddings, mask)))

    slope = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    result = slope(params, embeddings)
    chex.assert_tree_all_finite(result)

  def test_bfloat16_keeps_float32_parameters(self, config):
    low = dataclasses.replace(config, dtype=jnp.bfloat16)
    apply, params, embeddings = build(low)
    mask = jnp.ones((3, LENGTH), bool)
    hidden = apply(params, embeddings, mask)
    assert hidden.dtype == jnp.bfloat16
    for leaf in jax.tree.leaves(params):
      assert leaf.dtype == jnp.float32
    reference, _, _ = build(config)
    np.testing.assert_allclose(
      hidden.astype(jnp.float32),
      reference(params, embeddings, mask),
      atol=0.1,
    )


@pytest.mark.slow
def test_remat_changes_nothing():
  mask = jnp.arange(LENGTH) < jnp.array([[7], [4], [1]])
  results = []
  for remat in (False, True):
    apply, params, embeddings = build(
      dataclasses.replace(LANGUAGE, num_layers=1, remat=remat)
    )

    @jax.jit
    @jax.value_and_grad
    def loss(params, apply=apply, embeddings=embeddings):
      hidden = jnp.sin(apply(params, embeddings, mask))
      return jnp.mean(jnp.where(mask[..., None], hidden, 0.0))

    results.append((params, *loss(params)))
  chex.assert_trees_all_close(*results, rtol=1e-4, atol=1e-5)


def test_causal_mask_hides_the_future():
  apply, params, embeddings = build(LANGUAGE)
  mask = jnp.ones((3, LENGTH), bool)
  before = apply(params, embeddings, mask)
  after = apply(params, embeddings.at[:, 4].add(1.0), mask)
  np.testing.assert_array_equal(before[:, :4], after[:, :4])
  assert np.all(np.abs(before - after)[:, 4:].max(-1) > 1e-4)


def test_without_rope_tokens_are_a_set():
  apply, params, embeddings = build(CONFIG)
  mask = jnp.ones((3, LENGTH), bool)
  order = np.random.default_rng(0).permutation(LENGTH)
  np.testing.assert_allclose(
    apply(params, embeddings[:, order], mask),
    apply(params, embeddings, mask)[:, order],
    atol=2e-5,
  )


def test_rope_depends_on_relative_position_only():
  rng = np.random.default_rng(0)
  query, key = rng.normal(size=(2, 1, LENGTH, 2, 8)).astype("float32")

  @jax.jit
  def scores(shift):
    positions = jnp.arange(LENGTH, dtype=jnp.int32)[None] + shift
    turned = [
      transformer.rotate_by_position(x, positions, base=100.0)
      for x in (query, key)
    ]
    return jnp.einsum("nlhk,nshk->nhls", *turned)

  np.testing.assert_allclose(scores(0), scores(50), atol=1e-4)
  unturned = jnp.einsum("nlhk,nshk->nhls", query, key)
  assert np.abs(scores(0) - unturned).max() > 0.1
  np.testing.assert_allclose(
    np.diagonal(scores(0), axis1=2, axis2=3),
    np.diagonal(unturned, axis1=2, axis2=3),
    atol=1e-4,
  )


def test_rope_matches_complex_rotation():
  heads = np.random.default_rng(0).normal(size=(1, 3, 1, 6)).astype("float32")
  positions = np.array([[0, 2, 9]], np.int32)
  angle = positions[0][:, None] * 50.0 ** (-np.arange(3) / 3)
  pairs = (heads[..., :3] + 1j * heads[..., 3:]) * np.exp(
    1j * angle[None, :, None]
  )
  np.testing.assert_allclose(
    transformer.rotate_by_position(heads, positions, base=50.0),
    np.concatenate([pairs.real, pairs.imag], -1),
    atol=1e-5,
  )


def test_positions_are_respected():
  apply, params, embeddings = build(LANGUAGE)
  mask = jnp.ones((3, LENGTH), bool)
  counted = jnp.broadcast_to(jnp.arange(LENGTH, dtype=jnp.int32), mask.shape)
  default = apply(params, embeddings, mask)
  np.testing.assert_array_equal(
    default, apply(params, embeddings, mask, counted)
  )
  stretched = apply(params, embeddings, mask, 3 * counted)
  assert np.abs(stretched - default).max() > 1e-3


ATTENTIONS = (
  attention.dot_product_attention,
  attention.grouped_attention,
  attention.in_causal_blocks(attention.grouped_attention),
)


@pytest.mark.parametrize("attend", ATTENTIONS[:2])
def test_grouped_queries_equal_repeated_heads(attend):
  rng = np.random.default_rng(0)
  query = rng.normal(size=(2, 5, 6, 4)).astype("float32")
  pair = rng.normal(size=(2, 2, 5, 3, 4)).astype("float32")
  mask = rng.random((2, 1, 5, 5)) < 0.7
  attend = jax.jit(attend)
  np.testing.assert_allclose(
    attend(query, *pair, mask),
    attend(query, *np.repeat(pair, 2, axis=3), mask),
    atol=1e-6,
  )


@pytest.mark.parametrize("attend", ATTENTIONS)
@pytest.mark.parametrize("length", [5, 300])
def test_attention_matches_numpy(attend, length):
  """A causal mask, since blocks ask for one; 300 takes three of them."""
  rng = np.random.default_rng(0)
  query, key, value = rng.normal(size=(3, 2, length, 2, 4)).astype("float32")
  mask = np.tril(rng.random((2, 1, length, length)) < 0.6)
  mask[:, :, :, 0] = True
  scores = np.einsum("nlhk,nshk->nhls", query, key) / 2.0
  weights = np.where(mask, np.exp(scores), 0.0)
  weights /= weights.sum(-1, keepdims=True)
  np.testing.assert_allclose(
    jax.jit(attend)(query, key, value, mask),
    np.einsum("nhls,nshk->nlhk", weights, value),
    atol=1e-5,
  )


@pytest.mark.parametrize("attend", ATTENTIONS[1:])
def test_attention_gradients_equal_the_librarys(attend):
  """Some queries may attend nowhere: finite, whatever they are."""
  rng = np.random.default_rng(0)
  query = rng.normal(size=(2, 200, 6, 4)).astype("float32")
  pair = rng.normal(size=(2, 2, 200, 3, 4)).astype("float32")
  mask = np.tril(rng.random((2, 1, 200, 200)) < 0.3)
  some = mask.any(-1)[:, 0, :, None, None]
  assert not some.all()

  def loss(function, *arrays):
    return jnp.sum(jnp.sin(function(*arrays, mask)) * some)

  found, expected = (
    jax.jit(jax.grad(functools.partial(loss, function), (0, 1, 2)))(
      query, *pair
    )
    for function in (attend, attention.dot_product_attention)
  )
  chex.assert_trees_all_close(found, expected, atol=1e-5)
  chex.assert_tree_all_finite(jax.jit(attend)(query, *pair, mask))


def test_attention_in_bfloat16_sums_in_float32():
  rng = np.random.default_rng(0)
  arrays = rng.normal(size=(3, 2, 200, 2, 8)).astype(jnp.bfloat16)
  mask = np.tril(np.ones((2, 1, 200, 200), bool))

  def gradients(function, arrays):
    def loss(*arrays):
      return jnp.sum(jnp.sin(function(*arrays, mask).astype(jnp.float32)))

    return jax.jit(jax.grad(loss, (0, 1, 2)))(*arrays)

  found = gradients(attention.grouped_attention, arrays)
  assert {leaf.dtype for leaf in found} == {np.dtype(jnp.bfloat16)}
  exact = gradients(attention.dot_product_attention, arrays.astype(np.float32))
  for one, other in zip(found, exact, strict=True):
    error = np.abs(one.astype(np.float32) - other).max()
    assert error < 0.02 * np.abs(other).max()


def test_default_sizes():
  assert CONFIG.resolved_num_kv_heads == 4
  assert CONFIG.resolved_head_dim == 4
  assert CONFIG.resolved_mlp_width == 48  # 8 / 3 * 16 = 42.7
  wide = transformer.TransformerConfig(
    num_layers=1, width=10, num_heads=3, head_dim=6
  )
  assert wide.resolved_head_dim == 6
  params = jax.eval_shape(
    transformer.Transformer(wide).init,
    jax.random.key(0),
    jnp.zeros((LENGTH, 10)),
    jnp.ones(LENGTH, bool),
  )
  qkv = params["params"]["block_0"]["attention"]["qkv"]["kernel"]
  assert qkv.shape == (10, 3 * 3 * 6)


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("num_layers", 0),
    ("width", -1),
    ("width", 18),
    ("num_heads", 0),
    ("num_kv_heads", 3),
    ("head_dim", 0),
    ("mlp_width", 0),
    ("rope_base", 1.0),
    ("norm_epsilon", 0.0),
    ("dtype", jnp.int32),
  ],
)
def test_config_errors_name_the_field(field, value):
  with pytest.raises(ValueError, match=field):
    dataclasses.replace(CONFIG, **{field: value})


def test_rope_needs_even_heads():
  with pytest.raises(ValueError, match="head_dim"):
    dataclasses.replace(CONFIG, rope=True, head_dim=5)


def test_wrong_width_is_refused():
  apply, params, embeddings = build(CONFIG)
  with pytest.raises(AssertionError):
    apply(params, embeddings[..., :8], jnp.ones((3, LENGTH), bool))
