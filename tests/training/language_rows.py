"""A tiny language model and rows of its episodes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax import losses
from graphgpo_jax.policy import language_model, lora, transformer
from graphgpo_jax.rollouts import packing, turns
from graphgpo_jax.training import language_loss
from tests.rollouts import made_episodes

VOCABULARY = 64
# Of all rows, whatever their form, so that they share what is compiled.
SHAPE = (12, 64)
AGGREGATIONS = [
  (losses.token_mean, language_loss.token_mean_weights),
  (
    losses.sequence_mean_token_mean,
    language_loss.sequence_mean_token_mean_weights,
  ),
  (
    losses.sequence_mean_token_sum,
    language_loss.sequence_mean_token_sum_weights,
  ),
]
WEIGHS = [weigh for _, weigh in AGGREGATIONS]
OPTIONS = {"dual_clip": 1.5, "kl_coefficient": 0.1, "entropy_coefficient": 0.02}


@functools.cache
def model(rank=0, tied=True):
  config = transformer.TransformerConfig(
    num_layers=2,
    width=32,
    num_heads=4,
    num_kv_heads=2,
    causal=True,
    rope=True,
    lora=lora.LoraConfig(rank=rank, alpha=2.0 * rank) if rank else None,
  )
  return language_model.LanguageModel(
    language_model.LanguageModelConfig(VOCABULARY, config, tied)
  )


@functools.cache
def start(rank, tied):
  """Random variables, so far from uniform that a token's context matters."""
  tokens = jnp.zeros((1, 4), jnp.int32)
  shapes = jax.eval_shape(
    model(rank, tied).init, jax.random.key(0), tokens, tokens == 0
  )
  random = np.random.default_rng(5)

  def draw(path, leaf):
    drawn = random.normal(0, 0.25, leaf.shape)
    return drawn + 1 if path[-1].key == "scale" else drawn

  return jax.tree_util.tree_map_with_path(draw, shapes)


def variables(rank=0, tied=True):
  """The variables on buffers of their own, since updates take them over."""
  return jax.tree.map(jnp.float32, start(rank, tied))


@functools.cache
def log_probs(rank=0, tied=True, temperature=1.0, chunk=8):
  return jax.jit(
    language_loss.make_log_probs(
      model(rank, tied), chunk=chunk, temperature=temperature
    )
  )


@functools.cache
def episodes():
  return made_episodes.random_episodes(
    np.random.default_rng(1), (3, 1, 4, 2), vocabulary=VOCABULARY
  )


def pad(rows):
  """The rows among rows and columns of padding."""
  padded = turns.empty_rows(*SHAPE)
  for name, value in rows.items():
    padded[name][: len(value), : value.shape[1]] = value
  return padded


def pack(rows):
  packed = packing.pack_rows(rows, budget=SHAPE[1], rows_multiple_of=SHAPE[0])
  assert packed.mask.shape == SHAPE
  assert packed.mask.any(1).sum() < rows.mask.any(1).sum()
  return packed


@functools.cache
def make_rows():
  """Rows of steps whose old log-probabilities are near those of the model."""
  rows = pad(turns.step_rows(*episodes()).rows)
  log_prob, _ = log_probs()(variables(), rows)
  noise = np.random.default_rng(2).normal(0, 0.2, log_prob.shape)
  old = np.where(rows.loss_mask, log_prob + noise, 0.0).astype(np.float32)
  return dataclasses.replace(rows, old_log_prob=old)


def make_episode_rows():
  """The same tokens, one row per episode, packed."""
  rows = pad(turns.episode_rows(*episodes()).rows)
  old = of_tokens(make_rows(), make_rows().old_log_prob)
  ranks = {}
  for row, column in np.argwhere(rows.loss_mask):
    key = (int(rows.episode[row, column]), int(rows.step[row, column]))
    ranks[key] = ranks.get(key, -1) + 1
    rows.old_log_prob[row, column] = old[*key, ranks[key]]
  return pack(rows)


def of_tokens(rows, values):
  """What `values` says of each token of the agent's, by its key."""
  marked = dataclasses.replace(
    rows, advantage=np.where(rows.loss_mask, values, 0.0)
  )
  return {
    key: found[1] for key, found in made_episodes.by_token(marked).items()
  }


def score(weigh, log_prob, entropy, rows, *arrays, **options):
  return language_loss.rows_loss(
    log_prob,
    entropy,
    rows,
    weigh(rows.loss_mask, rows.segment),
    language_loss.token_mean_weights(rows.loss_mask, rows.segment),
    *arrays,
    **options,
  )


def assert_same_by_token(found, expected, atol):
  assert found.keys() == expected.keys()
  for key, value in expected.items():
    assert found[key] == pytest.approx(value, abs=atol)
