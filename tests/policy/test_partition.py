"""A language model on a mesh against the same on one device."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from graphgpo_jax.policy import language_model, lora, partition
from graphgpo_jax.policy import transformer_config as config_lib
from tests.policy import tiny_language_models as tiny

MESHES = [(8, 1, 1), (2, 4, 1), (2, 2, 2)]
# Whatever the models of `tiny` leave out.
BIASED = dataclasses.replace(
  tiny.OTHER,
  transformer=dataclasses.replace(
    tiny.OTHER.transformer,
    out_bias=True,
    lora=lora.LoraConfig(rank=3, alpha=2.0),
  ),
)
CONFIGS = {"tied": tiny.CONFIG, "biased": BIASED}


@functools.cache
def batch():
  rng = np.random.default_rng(1)
  mask = np.arange(12) >= rng.integers(0, 9, size=(8, 1))
  return rng.integers(0, 64, size=mask.shape).astype(np.int32), mask


@functools.cache
def logits(name, shape=None):
  """Logits on a mesh, or on one device, where there is a token."""
  model, variables = tiny.build(CONFIGS[name])
  # Logits of size 1, so that 1e-5 says how they differ and not how they round.
  variables = jax.tree.map(lambda leaf: 0.6 * leaf, variables)
  tokens, mask = batch()
  if shape is None:
    found = jax.jit(model.apply)(variables, tokens, mask)
  else:
    mesh = partition.make_mesh(*shape)
    variables = partition.place(mesh, variables)
    rows = partition.place_rows(mesh, (tokens, mask))
    with jax.set_mesh(mesh):
      found = jax.jit(model.apply)(variables, *rows)
    assert len(found.sharding.device_set) == 8
  return np.asarray(found)[mask]


@pytest.mark.parametrize("shape", MESHES)
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_those_of_one_device(name, shape):
  expected = logits(name)
  assert np.std(expected) > 0.3
  np.testing.assert_allclose(logits(name, shape), expected, atol=1e-5)


def specs(tree):
  """The specification of each array, by its path."""
  flat, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): sharding.spec
    for path, sharding in flat
  }


def test_every_parameter_has_its_place():
  mesh = partition.make_mesh(2, 2, 2)
  _, variables = tiny.build(BIASED)
  found = specs(partition.shardings(mesh, variables))
  assert len(found) == len(jax.tree.leaves(variables))
  for path, expected in {
    "params/embedding/table": ("tensor", "fsdp"),
    "params/head/kernel": ("fsdp", "tensor"),
    "params/transformer/final_norm/scale": (),
    "params/transformer/block_0/attention_norm/scale": (),
    "params/transformer/block_1/attention/qkv/kernel": ("fsdp", "tensor"),
    "params/transformer/block_1/attention/qkv/bias": ("tensor",),
    "params/transformer/block_1/attention/out/kernel": ("tensor", "fsdp"),
    "params/transformer/block_1/attention/out/bias": (),
    "params/transformer/block_1/mlp/gate_up/kernel": ("fsdp", "tensor"),
    "params/transformer/block_1/mlp/down/kernel": ("tensor", "fsdp"),
    "lora/transformer/block_0/attention/qkv/v/a": ("fsdp",),
    "lora/transformer/block_0/attention/qkv/v/b": (),
    "lora/transformer/block_0/mlp/down/down/a": ("tensor",),
    "lora/transformer/block_0/mlp/down/down/b": (None, "fsdp"),
  }.items():
    assert found[path] == PartitionSpec(*expected), path
  assert "params/transformer/block_0/attention/q_norm/scale" in specs(
    partition.shardings(mesh, tiny.build(tiny.CONFIG)[1])
  )


def test_an_optimiser_follows_its_parameters():
  mesh = partition.make_mesh(2, 2, 2)
  _, variables = tiny.build(tiny.CONFIG)
  state = jax.eval_shape(optax.adamw(1e-3).init, variables)
  found = specs(partition.shardings(mesh, state))
  parameters = specs(partition.shardings(mesh, variables))
  moments = {
    path: spec for path, spec in found.items() if re.search("/[mn]u/", path)
  }
  assert len(moments) == 2 * len(parameters)
  for path, spec in moments.items():
    assert spec == parameters[re.split("/[mn]u/", path)[1]]
  assert set(found.values()) >= {PartitionSpec()}


def test_weights_are_divided_and_not_copied():
  mesh = partition.make_mesh(2, 2, 2)
  _, variables = tiny.build(tiny.CONFIG)
  placed = partition.place(mesh, variables)
  assert partition.mesh_of(placed) == mesh
  assert partition.mesh_of(variables) is None
  mlp = placed["params"]["transformer"]["block_0"]["mlp"]
  for name, shape in (("gate_up", (16, 48)), ("down", (24, 16))):
    shards = mlp[name]["kernel"].addressable_shards
    assert {shard.data.shape for shard in shards} == {shape}
    assert len({str(shard.index) for shard in shards}) == 4


def test_fsdp_gathers_weights_and_sums_no_products():
  mesh = partition.make_mesh(2, 4, 1)
  model, variables = tiny.build(tiny.CONFIG)
  variables = partition.place(mesh, variables)
  rows = partition.place_rows(mesh, batch())
  apply = functools.partial(model.apply, method="hidden")
  with jax.set_mesh(mesh):
    compiled = jax.jit(apply).lower(variables, *rows).compile()
  text = compiled.as_text()
  assert "all-gather" in text and "all-reduce" not in text


def test_outside_of_a_mesh_nothing_is_constrained():
  array = jnp.zeros((8, 2))
  assert partition.constrain_rows(array) is array
  assert partition.constrain_vocabulary(array, axis=0) is array
  with jax.set_mesh(jax.make_mesh((8,), ("data",))):
    assert partition.constrain_rows(array) is array
  # One row cannot be divided: it stays whole.
  with jax.set_mesh(partition.make_mesh(2, 2, 2)):
    assert partition.constrain_rows(array[:1]).shape == (1, 2)


@pytest.mark.parametrize(
  ("sizes", "message"),
  [
    ((2, 0, 1), "fsdp=0 of a mesh must be at least 1"),
    ((2, 4, 2), "data=2, fsdp=4, tensor=2 needs 16 devices, but there are 8"),
  ],
)
def test_meshes_that_cannot_be(sizes, message):
  with pytest.raises(ValueError, match=message):
    partition.make_mesh(*sizes)


def model_of(**changes):
  """Shapes of the variables of a changed model."""
  inner = {
    field.name: getattr(tiny.CONFIG.transformer, field.name)
    for field in dataclasses.fields(config_lib.TransformerConfig)
  }
  words = changes.pop("vocabulary_size", 64)
  config = language_model.LanguageModelConfig(
    words, config_lib.TransformerConfig(**{**inner, **changes})
  )
  tokens = jnp.zeros((1, 2), jnp.int32)
  init = language_model.LanguageModel(config).init
  return jax.eval_shape(init, jax.random.key(0), tokens, tokens == 0)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      {"vocabulary_size": 63},
      r"params/embedding/table \[63, 32\]: axis 0 of size 63 is no multiple "
      "of tensor=2",
    ),
    ({"mlp_width": 7}, r"mlp/down/kernel \[7, 32\]: .*size 7 .*tensor=2"),
    (
      {"width": 30, "head_dim": 8},
      r"embedding/table \[64, 30\]: axis 1 of size 30 .*multiple of fsdp=4",
    ),
  ],
)
def test_what_cannot_be_divided_is_named(changes, message):
  mesh = partition.make_mesh(1, 4, 2)
  with pytest.raises(ValueError, match=message):
    partition.shardings(mesh, model_of(**changes))


def test_what_the_table_does_not_know_is_named():
  mesh = partition.make_mesh(2, 2, 2)
  with pytest.raises(ValueError, match=r"params/mixer/kernel \[4\]: no part"):
    partition.shardings(mesh, {"params": {"mixer": {"kernel": np.zeros(4)}}})
  with pytest.raises(ValueError, match=r"table \[4\]: its .* rule has 2 axes"):
    partition.shardings(mesh, {"embedding": {"table": np.zeros(4)}})


def test_rows_that_cannot_be_divided():
  mesh = partition.make_mesh(2, 2, 2)
  with pytest.raises(ValueError, match="6 rows are no .*fsdp = 2 x 2"):
    partition.place_rows(mesh, {"tokens": np.zeros((6, 3))})


def test_a_mesh_of_another_type_is_refused():
  mesh = jax.make_mesh((2, 2, 2), partition.AXES)
  array = jax.device_put(
    np.zeros(8), jax.sharding.NamedSharding(mesh, PartitionSpec("data"))
  )
  with pytest.raises(ValueError, match="must be of type Auto"):
    partition.mesh_of({"array": array})
