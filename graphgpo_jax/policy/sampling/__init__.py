"""Sampling from language models, with a key-value cache on the device."""

from graphgpo_jax.policy.sampling.episode import Episode
from graphgpo_jax.policy.sampling.options import Sample, SamplingOptions
from graphgpo_jax.policy.sampling.sampler import Sampler

__all__ = ["Episode", "Sample", "Sampler", "SamplingOptions"]
