import chex
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.policy import partition
from graphgpo_jax.policy.pretrained import config_files, names, placing
from tests.policy.pretrained import made_models


class Source:
  """Tensors in memory; notes what is read."""

  where = "memory"

  def __init__(self, tensors):
    self.tensors = tensors
    self.read_blocks = []

  def names(self):
    return self.tensors.keys()

  def shape(self, name):
    return self.tensors[name].shape

  def check_type(self, name):
    if self.tensors[name].dtype.kind != "f":
      raise ValueError(f"tensor {name!r} is no float")

  def read(self, name, index):
    block = self.tensors[name][index]
    self.read_blocks.append((name, block.size))
    return block


def load(source, family, **options):
  fields = made_models.config_fields(family)
  config = config_files.parse_config(fields, where="config.json")
  table = names.parameter_table(config, names.HUGGING_FACE)
  options = {"dtype": jnp.float32, **options}
  return placing.load_params(
    source, table, naming=names.HUGGING_FACE, **options
  )


@pytest.mark.parametrize("family", made_models.FAMILIES)
def test_equals_the_tree_built_by_hand(family):
  tensors = made_models.random_tensors(family)
  params = load(Source(tensors), family)
  chex.assert_trees_all_equal(params, made_models.expected_params(tensors))


def test_every_number_is_read_once_and_little_at_a_time(monkeypatch):
  monkeypatch.setattr(placing, "_CHUNK", 50)
  tensors = made_models.random_tensors("qwen2")
  source = Source(tensors)
  params = load(source, "qwen2")
  chex.assert_trees_all_equal(params, made_models.expected_params(tensors))
  assert max(size for _, size in source.read_blocks) <= 50
  total = sum(values.size for values in tensors.values())
  assert sum(size for _, size in source.read_blocks) == total


def test_large_parameters_come_first():
  sizes = []

  def rule(path, shape):
    sizes.append(np.prod(shape))
    return jax.sharding.SingleDeviceSharding(jax.devices()[1])

  params = load(
    Source(made_models.random_tensors("llama")), "llama", sharding=rule
  )
  assert sizes == sorted(sizes, reverse=True)
  assert all(
    leaf.devices() == {jax.devices()[1]} for leaf in jax.tree.leaves(params)
  )


def test_dtype():
  tensors = made_models.random_tensors("llama")
  params = load(Source(tensors), "llama", dtype=jnp.bfloat16)
  expected = jax.tree.map(
    lambda values: jnp.asarray(values).astype(jnp.bfloat16),
    made_models.expected_params(tensors),
  )
  chex.assert_trees_all_equal_dtypes(params, expected)
  chex.assert_trees_all_equal(params, expected)


def test_each_device_reads_its_own_part():
  mesh = jax.make_mesh(
    (2, 4), ("rows", "columns"), axis_types=(jax.sharding.AxisType.Auto,) * 2
  )
  seen = {}

  def rule(path, shape):
    seen[path] = shape
    spec = ("rows", "columns") if len(shape) == 2 else ()
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))

  tensors = made_models.random_tensors("qwen2")
  source = Source(tensors)
  params = load(source, "qwen2", sharding=rule)
  expected = made_models.expected_params(tensors)
  chex.assert_trees_all_equal(params, expected)
  flat = flax.traverse_util.flatten_dict(expected)
  assert seen == {path: values.shape for path, values in flat.items()}
  kernel = params["transformer"]["block_0"]["mlp"]["gate_up"]["kernel"]
  # A quarter of the merged columns lies within one of the two tensors.
  assert kernel.addressable_shards[0].data.shape == (8, 12)
  gates = [
    size for name, size in source.read_blocks if "0.mlp.gate_proj" in name
  ]
  assert gates == [8 * 12] * 4


@pytest.mark.parametrize("shape", [(8, 1, 1), (2, 4, 1), (2, 2, 2)])
@pytest.mark.parametrize("family", ["qwen3", "llama_bias"])
def test_a_mesh_reads_every_number_once(family, shape):
  """Into the place of the table, although `data` holds each part twice."""
  mesh = partition.make_mesh(*shape)
  tensors = made_models.random_tensors(family)
  source = Source(tensors)
  params = load(source, family, sharding=partition.sharding_rule(mesh))
  chex.assert_trees_all_equal(params, made_models.expected_params(tensors))
  for leaf, sharding in zip(
    jax.tree.leaves(params),
    jax.tree.leaves(partition.shardings(mesh, params)),
    strict=True,
  ):
    assert leaf.sharding == sharding
  total = sum(values.size for values in tensors.values())
  assert sum(size for _, size in source.read_blocks) == total


def test_a_mesh_that_does_not_fit_is_refused():
  source = Source(made_models.random_tensors("llama"))
  rule = partition.sharding_rule(partition.make_mesh(1, 1, 7))
  with pytest.raises(ValueError, match=r"qkv/kernel \[16, 48\]: .*tensor=7"):
    load(source, "llama", sharding=rule)


def test_one_sharding_for_all():
  mesh = jax.make_mesh((8,), ("all",))
  everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  tensors = made_models.random_tensors("llama")
  params = load(Source(tensors), "llama", sharding=everywhere)
  chex.assert_trees_all_equal(params, made_models.expected_params(tensors))
  for leaf in jax.tree.leaves(params):
    assert leaf.sharding.is_equivalent_to(everywhere, leaf.ndim)


@pytest.mark.parametrize("rows", [slice(0, 16), slice(3, 9)])
@pytest.mark.parametrize("columns", [slice(None), slice(0, 24), slice(20, 41)])
def test_any_block_of_a_merged_parameter(rows, columns):
  tensors = made_models.random_tensors("llama")
  config = config_files.parse_config(
    made_models.config_fields("llama"), where=""
  )
  path = ("transformer", "block_1", "attention", "qkv", "kernel")
  parameter = names.parameter_table(config, names.HUGGING_FACE)[path]
  block = placing.assemble(
    Source(tensors), parameter, (rows, columns), np.float32
  )
  expected = made_models.expected_params(tensors)
  whole = flax.traverse_util.flatten_dict(expected)[path]
  np.testing.assert_array_equal(block, whole[rows, columns])


def test_nothing_is_read_before_all_is_checked():
  tensors = made_models.random_tensors("llama")
  name = "model.layers.1.mlp.down_proj.weight"
  tensors[name] = tensors[name].T
  source = Source(tensors)
  with pytest.raises(
    ValueError, match=rf"memory: tensor '{name}' .*\[24, 16\].*\[16, 24\]"
  ):
    load(source, "llama")
  tensors[name] = tensors[name].T.astype(np.int8)
  with pytest.raises(ValueError, match=f"'{name}' is no float"):
    load(source, "llama")
  assert not source.read_blocks
