"""One update of a language model."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest

from graphgpo_jax.training import language_loss, language_update
from tests.training.language_rows import (
  OPTIONS,
  WEIGHS,
  log_probs,
  make_episode_rows,
  make_rows,
  pack,
  variables,
)

# The first step moves the parameters by the gradient.
SGD = optax.sgd(1.0, momentum=0.9)


@functools.cache
def make_update(rank=0, parts=1, weigh=WEIGHS[0], **options):
  return language_update.make_update(
    log_probs(rank), SGD, num_microbatches=parts, weigh=weigh, **options
  )


def step(update, rows, *arrays, rank=0):
  """State, on the host, and metrics after an update of fresh variables."""
  state = language_update.create_state(
    variables(rank), SGD, train="lora" if rank else "params"
  )
  return jax.device_get(update(state, rows, *arrays))


def assert_close(one, other, atol=1e-5):
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=0, atol=atol), one, other
  )


# The mean over sequences: the aggregation that needs the segments most.
PER_SEQUENCE = language_loss.sequence_mean_token_mean_weights


@functools.cache
def whole_batch():
  """State and metrics after a step on rows of steps, none packed."""
  update = make_update(weigh=PER_SEQUENCE, **OPTIONS)
  rows = make_rows()
  return step(update, rows, None, rows.old_log_prob - 0.1)


@pytest.mark.parametrize("parts", [1, 3])
def test_neither_packing_nor_microbatches_change_the_update(parts):
  packed = pack(make_rows())
  update = make_update(parts=parts, weigh=PER_SEQUENCE, **OPTIONS)
  state, metrics = step(update, packed, None, packed.old_log_prob - 0.1)
  expected, numbers = whole_batch()
  assert_close(metrics, numbers)
  assert_close(state.trained, expected.trained)
  assert numbers["loss/gradient_norm"] > 0.01
  assert numbers["sampler/difference_max"] > 0.1


def test_a_row_per_episode_trains_as_rows_of_steps_do():
  (state, metrics), (other, found) = (
    step(make_update(), rows) for rows in (make_rows(), make_episode_rows())
  )
  assert_close(found, metrics)
  assert_close(other.trained, state.trained)
  assert metrics["loss/gradient_norm"] > 0.01


def test_lora_leaves_the_weights_alone():
  rows = make_rows()
  before = variables(3)
  state, metrics = step(make_update(3), rows, rank=3)
  assert set(state.trained) == {"lora"} and set(state.frozen) == {"params"}
  jax.tree.map(
    np.testing.assert_array_equal, state.frozen["params"], before["params"]
  )
  moved = [
    np.any(one != other)
    for one, other in zip(
      *map(jax.tree.leaves, (state.trained["lora"], before["lora"])),
      strict=True,
    )
  ]
  assert all(moved) and moved
  assert state.variables.keys() == {"params", "lora"}
  assert metrics["optimiser/skipped"] == 0 and state.step == 1


def test_sampled_tokens_follow_their_advantage():
  rows = make_rows()
  rows = dataclasses.replace(
    rows,
    # Small, since the rate is not.
    advantage=0.01 * rows.advantage,
    old_log_prob=log_probs()(variables(), rows)[0],
  )
  update = make_update()
  state = language_update.create_state(variables(), SGD)
  for _ in range(3):
    state, _ = update(state, rows)
  assert state.step == 3
  moved = log_probs()(state.variables, rows)[0] - rows.old_log_prob
  gain = np.asarray(moved * rows.advantage)[rows.loss_mask]
  assert gain.mean() > 0.01 and np.mean(gain > 0) > 0.8


def test_without_an_advantage_only_the_step_goes_on():
  update = make_update()
  state = language_update.create_state(variables(), SGD)
  state, metrics = update(state, make_rows())
  assert metrics["optimiser/skipped"] == 0
  before = jax.device_get(state)
  still = dataclasses.replace(
    make_rows(), advantage=np.zeros_like(make_rows().advantage)
  )
  state, metrics = jax.device_get(update(state, still))
  assert metrics["optimiser/skipped"] == 1 and state.step == 2
  for name in ("trained", "opt_state"):
    jax.tree.map(np.testing.assert_array_equal, state[name], before[name])


def test_the_states_buffers_are_taken_over():
  state = language_update.create_state(variables(3), SGD, train="lora")
  make_update(3)(state, make_rows())
  for tree in (state.trained, state.frozen):
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(tree))


def test_bad_updates_are_refused():
  with pytest.raises(ValueError, match="num_microbatches=0 must be"):
    make_update(parts=0)
  with pytest.raises(ValueError, match="12 rows are no multiple of .*=5"):
    step(make_update(parts=5), make_rows())
  with pytest.raises(ValueError, match=r"collections are \['params'\]"):
    language_update.create_state(variables(), SGD, train="lora")
  with pytest.raises(ValueError, match="merge it into params"):
    language_update.create_state(variables(3), SGD)
