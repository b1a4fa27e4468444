"""Samples drawn on a mesh against those of one device."""

import functools

import jax
import numpy as np
import pytest

from graphgpo_jax.policy import partition, sampling
from graphgpo_jax.policy.sampling import generate
from tests.policy import tiny_language_models as tiny

# With the last one `tensor` divides the query heads, but not the key heads.
MESHES = [(8, 1, 1), (2, 4, 1), (2, 2, 2), (2, 1, 4)]
KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
# A number of rows that no mesh divides.
PROMPTS = [RNG.integers(0, 64, n).tolist() for n in (5, 1, 11)]
MORE = [RNG.integers(0, 64, n).tolist() for n in (7, 40, 2)]
OPTIONS = [
  sampling.SamplingOptions(temperature=0.0, max_tokens=10),
  sampling.SamplingOptions(temperature=0.8, top_k=20, top_p=0.9, max_tokens=10),
]


@functools.cache
def turns(shape, config=tiny.SHALLOW):
  """Two turns of an episode, greedy then not, and the episode."""
  model, variables = tiny.build(config)
  if shape is not None:
    variables = partition.place(partition.make_mesh(*shape), variables)
  sampler = sampling.Sampler(model, variables, segment=4, prefill_chunk=8)
  episode = sampler.episode(len(PROMPTS))
  first = episode.sample(PROMPTS, KEY, OPTIONS[0])
  # Longer than the cache: it grows on the mesh.
  prompts = [
    prompt + sample.tokens + more
    for prompt, sample, more in zip(PROMPTS, first, MORE, strict=True)
  ]
  second = episode.sample(prompts, KEY, OPTIONS[1], indices=[4, 2, 9])
  return first, second, episode


def assert_same(shape, config):
  *found, episode = turns(shape, config)
  *expected, one = turns(None, config)
  for samples, others in zip(found, expected, strict=True):
    assert len(samples) == len(PROMPTS)
    for sample, other in zip(samples, others, strict=True):
      assert sample.tokens == other.tokens
      np.testing.assert_allclose(sample.log_probs, other.log_probs, atol=1e-5)
  assert episode.num_slots == one.num_slots > 16
  assert episode.tokens_reused == one.tokens_reused > 0


@pytest.mark.slow
@pytest.mark.parametrize("shape", MESHES)
def test_tokens_are_those_of_one_device(shape):
  assert_same(shape, tiny.SHALLOW)


@pytest.mark.slow
def test_a_model_with_its_own_head_and_biases():
  assert_same((2, 2, 2), tiny.OTHER)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("shape", "heads"), [((2, 2, 2), "tensor"), ((2, 1, 4), None)]
)
def test_the_cache_is_divided_and_stays_so(shape, heads, monkeypatch):
  seen = []

  def spy(*args, **options):
    seen.append(args[2])
    result = original(*args, **options)
    seen.append(result[0])
    return result

  original = generate.generate
  monkeypatch.setattr(generate, "generate", spy)
  turns.__wrapped__(shape)
  assert len(seen) > 4
  mesh = partition.make_mesh(*shape)
  rows = jax.sharding.PartitionSpec(("data", "fsdp"))
  slots = jax.sharding.PartitionSpec(("data", "fsdp"), heads)
  for cache in seen:
    for leaves, spec in (
      ((*cache.key, *cache.value), slots),
      ((cache.mask, cache.next_position), rows),
    ):
      for leaf in leaves:
        expected = jax.sharding.NamedSharding(mesh, spec)
        assert leaf.sharding.is_equivalent_to(expected, leaf.ndim)
  # Updated in place: what went in is gone.
  assert all(leaf.is_deleted() for leaf in seen[0].key)
