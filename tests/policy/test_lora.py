import dataclasses
import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.policy import language_model, lora, projection
from graphgpo_jax.policy import transformer_config as config_lib
from tests.policy import tiny_language_models as tiny

TOKENS = np.random.default_rng(0).integers(0, 64, (2, 7)).astype(np.int32)
MASK = np.ones((2, 7), bool)


def adapted(targets=lora.TARGETS, config=tiny.CONFIG):
  low_rank = lora.LoraConfig(rank=3, alpha=6.0, targets=targets)
  return dataclasses.replace(
    config,
    transformer=dataclasses.replace(config.transformer, lora=low_rank),
  )


@functools.cache
def build(targets=lora.TARGETS, config=tiny.CONFIG):
  """The adapted model, and variables whose adapters change something."""
  model = language_model.LanguageModel(adapted(targets, config))
  return model, tiny.random_variables(model)


def logits_of(model, variables):
  return jax.jit(model.apply)(variables, TOKENS, MASK)


def test_a_new_adapter_changes_nothing():
  model, variables = build()

  def forget(path, leaf):
    return 0 * leaf if path[-1].key == "b" else leaf

  new = jax.tree_util.tree_map_with_path(forget, variables)
  base = {"params": variables["params"]}
  expected = logits_of(tiny.build()[0], base)
  np.testing.assert_allclose(logits_of(model, new), expected, atol=1e-4)
  shapes = jax.eval_shape(tiny.build()[0].init, jax.random.key(0), TOKENS, MASK)
  chex.assert_trees_all_equal_shapes_and_dtypes(base, shapes)


def test_first_values():
  config = adapted(("q", "v")).transformer
  layer = projection.Projection(
    parts=config.projection_parts("qkv"),
    use_bias=False,
    dtype=jnp.float32,
    param_dtype=jnp.float32,
    kernel_init=nn.initializers.lecun_normal(),
    lora=dataclasses.replace(config.lora, rank=30),
  )
  variables = layer.init(jax.random.key(0), jnp.zeros((1, 32)))
  assert set(variables["lora"]) == {"q", "v"}
  query, value = variables["lora"]["q"], variables["lora"]["v"]
  assert query["a"].shape == value["a"].shape == (32, 30)
  assert query["b"].shape == (30, 32)
  assert value["b"].shape == (30, 16)
  np.testing.assert_array_equal(query["b"], 0.0)
  np.testing.assert_allclose(np.std(query["a"]), 32**-0.5, rtol=0.1)
  assert np.abs(query["a"] - value["a"]).max() > 0.1


@pytest.mark.parametrize("rows", [4, 200])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_adapted_product(rows, dtype):
  """Few rows and many are computed in different orders."""
  rng = np.random.default_rng(0)
  shapes = ((rows, 20), (20, 30), (20, 3), (3, 30))
  arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
  slope = rng.normal(size=(rows, 30)).astype(np.float32)

  def product(inputs, kernel, a, b):
    inputs, kernel = inputs.astype(dtype), kernel.astype(dtype)
    return lora.adapted_product(inputs, kernel, a, b, scale=0.5)

  def expected(inputs, kernel, a, b):
    return inputs @ (kernel + 0.5 * a @ b)

  def loss(function, *arrays):
    return jnp.sum(slope * function(*arrays))

  found, oracle = (
    jax.jit(jax.value_and_grad(functools.partial(loss, of), (0, 1, 2, 3)))(
      *arrays
    )
    for of in (product, expected)
  )
  assert product(*arrays).dtype == dtype
  tolerance = 1e-5 if dtype == jnp.float32 else 3e-2
  for one, other in zip(
    jax.tree.leaves(found), jax.tree.leaves(oracle), strict=True
  ):
    scale = np.abs(other).max()
    np.testing.assert_allclose(one, other, atol=tolerance * scale)


def test_a_small_correction_is_not_lost_beside_large_weights():
  kernel = jnp.full((8, 8), 256.0, jnp.bfloat16)
  inputs = jnp.zeros((100, 8), jnp.bfloat16).at[:, 0].set(1).at[:, 1].set(-1)
  a = jnp.zeros((8, 1)).at[0].set(1.0)
  output = lora.adapted_product(
    inputs, kernel, a, jnp.full((1, 8), 0.01), scale=1.0
  )
  np.testing.assert_allclose(output.astype(np.float32), 0.01, rtol=0.01)


@pytest.mark.parametrize("config", [tiny.CONFIG, tiny.OTHER])
def test_merged_weights_equal_adapters(config):
  model, variables = build(("q", "v", "out", "up", "down"), config)
  params = variables["params"]
  merged = lora.merge(params, variables["lora"], model.config.transformer)
  chex.assert_trees_all_equal_shapes_and_dtypes(merged, params)
  result = logits_of(model, variables)
  scale = np.abs(result).max()
  apply = jax.jit(tiny.build(config)[0].apply)
  np.testing.assert_allclose(
    result, apply({"params": merged}, TOKENS, MASK), atol=1e-5 * scale
  )
  base = apply({"params": params}, TOKENS, MASK)
  assert np.abs(result - base).max() > 0.01 * scale


@pytest.mark.parametrize("targets", [lora.TARGETS, ("k",), ("gate", "v")])
def test_merged_columns(targets):
  model, variables = build(targets)
  params = variables["params"]
  config = model.config.transformer
  merged = lora.merge(params, variables["lora"], config)
  for layer, name in (
    ("attention", "qkv"),
    ("attention", "out"),
    ("mlp", "gate_up"),
    ("mlp", "down"),
  ):
    block = params["transformer"]["block_1"][layer][name]["kernel"]
    change = merged["transformer"]["block_1"][layer][name]["kernel"] - block
    start = 0
    for part, size in config.projection_parts(name):
      columns = np.asarray(change[:, start : start + size])
      start += size
      if part in targets:
        adapters = variables["lora"]["transformer"]["block_1"][layer][name]
        product = adapters[part]["a"] @ adapters[part]["b"]
        np.testing.assert_allclose(columns, 2.0 * product, atol=1e-5)
      else:
        np.testing.assert_array_equal(columns, 0.0)
    assert start == block.shape[1]


def test_adapters_stay_float32_beside_bfloat16_weights():
  config = adapted()
  config = dataclasses.replace(
    config,
    transformer=dataclasses.replace(
      config.transformer, param_dtype=jnp.bfloat16, dtype=jnp.bfloat16
    ),
  )
  model = language_model.LanguageModel(config)
  shapes = jax.eval_shape(model.init, jax.random.key(0), TOKENS, MASK)
  types = {
    name: {leaf.dtype for leaf in jax.tree.leaves(tree)}
    for name, tree in shapes.items()
  }
  low, high = np.dtype(jnp.bfloat16), np.dtype(jnp.float32)
  assert types == {"params": {low}, "lora": {high}}
  merged = jax.eval_shape(
    lambda: lora.merge(
      jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes["params"]),
      jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes["lora"]),
      config.transformer,
    )
  )
  assert {leaf.dtype for leaf in jax.tree.leaves(merged)} == {low}


@pytest.mark.slow
def test_gradient_computes_no_weight_gradient():
  """The products of a step: 2 of 3 are left, and the small ones of rank r."""
  transformer = dataclasses.replace(
    tiny.CONFIG.transformer,
    num_layers=1,
    width=128,
    mlp_width=384,
    lora=lora.LoraConfig(rank=2, alpha=2.0),
  )
  config = language_model.LanguageModelConfig(512, transformer)
  model = language_model.LanguageModel(config)
  tokens = jax.ShapeDtypeStruct((4, 32), jnp.int32)
  mask = jax.ShapeDtypeStruct((4, 32), bool)
  variables = jax.eval_shape(model.init, jax.random.key(0), tokens, mask)

  def loss(params, adapters, tokens, mask):
    both = {"params": params, "lora": adapters}
    return jnp.mean(model.apply(both, tokens, mask) ** 2)

  def flops(argument):
    gradient = jax.jit(jax.grad(loss, argnums=argument))
    compiled = gradient.lower(
      variables["params"], variables["lora"], tokens, mask
    ).compile(tiny.QUICK)
    return compiled.cost_analysis()["flops"]

  forward = (
    2 * 4 * 32 * sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  )
  assert flops(0) > 2.8 * forward
  assert flops(1) < 0.75 * flops(0)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"rank": 0}, "rank"),
    ({"alpha": 0.0}, "alpha"),
    ({"targets": ("q", "qkv")}, "targets"),
    ({"targets": ()}, "targets"),
  ],
)
def test_config_errors_name_the_field(changes, message):
  with pytest.raises(ValueError, match=message):
    lora.LoraConfig(**{"rank": 2, "alpha": 2.0, **changes})


def test_a_list_of_targets_can_be_hashed():
  config = lora.LoraConfig(rank=2, alpha=2.0, targets=["q", "v"])
  assert hash(config) == hash(lora.LoraConfig(2, 2.0, ("q", "v")))


def test_what_merge_refuses():
  _, variables = build()
  params, trained = variables["params"], variables["lora"]
  with pytest.raises(ValueError, match="config.lora"):
    lora.merge(params, trained, tiny.CONFIG.transformer)
  shallow = {"transformer": {"block_0": params["transformer"]["block_0"]}}
  with pytest.raises(ValueError, match="transformer/block_1"):
    lora.merge(shallow, trained, adapted().transformer)


def test_parts_cover_the_columns():
  config = config_lib.TransformerConfig(
    num_layers=1, width=12, num_heads=6, num_kv_heads=2, mlp_width=20
  )
  assert config.projection_parts("qkv") == (("q", 12), ("k", 4), ("v", 4))
  assert config.projection_parts("gate_up") == (("gate", 20), ("up", 20))
