"""The learner inside Tunix: needs the extra, in an environment of its own."""

import types

import numpy as np
import pytest

_REASON = "google-tunix has an environment of its own: make test-all"
pytest.importorskip("tunix", reason=_REASON)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from flax import nnx  # noqa: E402
from tunix.rl import algo_core, common  # noqa: E402
from tunix.rl import utils as tunix_utils  # noqa: E402

from experiments.tunix_example import rooms, tiny, train  # noqa: E402
from graphgpo_jax.integrations import (  # noqa: E402
  conversations,
  token_credit,
)
from tests.integrations import chats  # noqa: E402

pytestmark = [pytest.mark.extra("tunix"), pytest.mark.slow]

ROLLOUTS = 3


@pytest.fixture(scope="module")
def learner():
  """A learner that is handed trajectories, but plays none."""
  return train.make_learner(
    train.make_cluster(steps=1, seed=0), rollouts=ROLLOUTS
  )


def item(group, index, lines, mask, reward, status="SUCCEEDED"):
  """A trajectory as Tunix hands it over."""
  mask = np.array([int(one) for one in mask], np.int32)
  return types.SimpleNamespace(
    group_id=group,
    pair_index=index,
    traj={
      "conversation_text": chats.messages(*lines.split()),
      "prompt_tokens": np.array([2, 9, 1, 4]),
      "conversation_tokens": np.full(len(mask), 6),
      "conversation_masks": mask,
      "old_logprobs": -np.ones(len(mask), np.float32) * mask,
      "policy_version": 0,
      "status": status,
      "trajectory_reward": reward,
      "original_input": {"prompts": np.array(["find the study"])},
      "group_id": group,
    },
  )


def group(number, goal="study"):
  """Three rollouts, of which the first succeeds."""
  return [
    item(number, 0, f"u:hall a:e u:kitchen a:s u:{goal}", "1100111", 1.0),
    item(number, 1, "u:hall a:s u:garden a:n u:hall a:e u:b", "1010110", 0.0),
    item(number, 2, "u:hall a:e u:kitchen a:e u:cellar", "1011", 0.0),
  ]


def expected(items, length):
  return token_credit.token_advantages(
    [
      conversations.Conversation(
        one.traj["conversation_text"],
        one.traj["conversation_masks"],
        one.traj["trajectory_reward"],
        one.group_id,
      )
      for one in items
    ],
    rooms.state_key,
    length=length,
  )


def test_examples_have_advantages_by_token(learner):
  items = group(0)
  (example,) = learner._process_results(items, expected_step=0)
  assert example.advantages.shape == example.completion_ids.shape
  credit = expected(items, example.completion_ids.shape[1])
  np.testing.assert_array_equal(example.advantages, credit.advantages)
  first, second = example.advantages[0, 0], example.advantages[0, 4]
  assert first != second
  assert not example.advantages[~credit.token_mask].any()


def test_several_groups_at_once_are_kept_apart(learner):
  one, two = group(0), group(1)
  two[2] = item(1, 2, "u:hall a:e u:x", "1", 1.0)
  (both,) = learner._process_results([*one, *two], expected_step=0)
  for rows, items in ((slice(0, 3), one), (slice(3, 6), two)):
    (alone,) = learner._process_results(items, expected_step=0)
    np.testing.assert_allclose(
      both.advantages[rows], alone.advantages, atol=1e-6
    )


def test_metrics_come_out(learner):
  buffers = learner.rl_cluster._buffered_train_metrics
  buffers.clear()
  items = group(0)
  items[1] = item(0, 1, "u:hall a:x u:b a:y", "10", 0.0, "ENV_TIMEOUT")
  items[2] = item(0, 2, "u:hall", "", 0.0, "MAX_CONTEXT_LIMIT_REACHED")
  learner._process_results(items, expected_step=0)
  logged = {
    name: float(join(np.asarray(values)))
    for name, (values, join) in buffers[-1].metrics.items()
    if name.startswith("graphgpo/")
  }
  assert logged["graphgpo/truncated_rollouts"] == 2
  assert logged["graphgpo/without_turns"] == 1
  assert logged["graphgpo/turns"] == 1  # 2 + 1 + 0 of three rollouts
  assert logged["graphgpo/success_share"] == pytest.approx(1 / 3)
  assert logged["graphgpo/nonzero_share"] > 0


def test_a_mask_that_does_not_fit_is_named(learner):
  items = group(5)
  items[1] = item(5, 1, "u:hall a:e u:b a:w u:c", "1111", 0.0)
  with pytest.raises(ValueError, match="group 5, rollout 1: its mask has 1"):
    learner._process_results(items, expected_step=0)


@pytest.mark.parametrize(
  ("training", "settings", "match"),
  [
    ({"max_seq_token_per_tpu": 512}, {}, "drops the later turns"),
    ({}, {"degenerate_group_masking": True}, "degenerate_group_masking"),
    ({}, {"estimator": "no such"}, "unknown estimator"),
    ({}, {"credit_options": {"omega": 3.0}}, "option 'omega'"),
    ({}, {"chat_parser": None}, "chat_parser is missing"),
  ],
)
def test_settings_that_would_go_wrong_are_refused(training, settings, match):
  from graphgpo_jax.integrations.tunix import learner as learner_lib

  cluster = types.SimpleNamespace(
    cluster_config=types.SimpleNamespace(
      training_config=types.SimpleNamespace(
        **{"max_seq_token_per_tpu": None} | training
      )
    )
  )
  masking = settings.pop("degenerate_group_masking", False)
  config = types.SimpleNamespace(degenerate_group_masking=masking)
  arguments = {"chat_parser": object(), "state_key_fn": rooms.state_key}
  with pytest.raises(ValueError, match=match):
    learner_lib.GraphCreditLearner(cluster, config, **arguments | settings)


def test_packing_still_drops_turns():
  # Why packing is refused: once this fails, it need not be.
  mask = jnp.array([[1, 1, 0, 0, 1, 1]])
  example = common.TrainExample(
    prompt_ids=jnp.ones((1, 2), int),
    prompt_mask=jnp.ones((1, 2), bool),
    completion_ids=jnp.arange(1, 7)[None],
    completion_mask=mask,
    advantages=jnp.arange(6.0)[None],
    ref_per_token_logps=None,
    old_per_token_logps=None,
  )
  (unpadded,) = tunix_utils.unpad_train_example(example)
  assert unpadded["completion_mask"].sum() < mask.sum()


def test_the_loss_takes_an_advantage_for_each_token(learner):
  (example,) = learner._process_results(group(0), expected_step=0)
  example = example.replace(old_per_token_logps=None)
  model = tiny.make_model(tiny.Words(), seed=1)
  loss, _ = algo_core.grpo_loss_fn(
    model, example, learner.algo_config, pad_id=0, eos_id=1
  )
  # Without an older policy every ratio is 1.
  mask = np.asarray(example.completion_mask)
  each = (np.asarray(example.advantages) * mask).sum(1) / mask.sum(1)
  np.testing.assert_allclose(loss, -each.mean(), rtol=1e-4)


@pytest.fixture(scope="module")
def trained():
  """Examples, metrics and parameters of three updates of the example."""
  cluster = train.make_cluster(steps=3, seed=0)
  learner = train.make_learner(cluster, rollouts=8)
  examples, buffers = [], []
  process = learner._process_results

  def kept(*args, **kwargs):
    made = process(*args, **kwargs)
    examples.extend(made)
    return made

  learner._process_results = kept
  cluster.with_external_metrics_logger(buffers.append)

  def parameters():
    state = nnx.state(cluster.actor_trainer.model)
    return [np.array(leaf) for leaf in jax.tree.leaves(state)]

  before = parameters()
  learner.train([{"prompts": ["find the study"] * 2}] * 3)
  return examples, buffers, before, parameters(), cluster


def test_turns_of_a_played_rollout_differ(trained):
  examples, *_ = trained
  assert len(examples) == 6
  differ = 0
  for example in examples:
    for row, mask in zip(
      np.asarray(example.advantages),
      np.asarray(example.completion_mask),
      strict=True,
    ):
      spans = conversations.turn_spans(mask)
      for start, end in spans:
        assert (row[start:end] == row[start]).all()
      assert not row[mask == 0].any()
      differ += len({row[start] for start, _ in spans}) > 1
  assert differ > 0


def test_training_moves_the_parameters(trained):
  *_, before, after, cluster = trained
  assert cluster.actor_trainer.train_steps == 3
  assert all(np.isfinite(leaf).all() for leaf in after)
  for one, other in zip(before, after, strict=True):
    assert not np.array_equal(one, other)


def test_an_update_logs_its_credit(trained):
  _, buffers, *_ = trained
  updates = [one for one in buffers if "graphgpo/turns" in one.metrics]
  assert [one.global_steps for one in updates] == [0, 1, 2]
  for one in updates:
    values, _ = one.metrics["graphgpo/turns"]
    assert len(values) == 2 and min(values) > 1  # two groups, several turns


def test_a_state_without_a_key_ends_training():
  cluster = train.make_cluster(steps=1, seed=0)
  learner = train.make_learner(
    cluster, rollouts=2, state_key_fn=lambda message: None
  )
  with pytest.raises(ValueError, match="state_key_fn gave None"):
    learner.train([{"prompts": ["find the study"]}])
