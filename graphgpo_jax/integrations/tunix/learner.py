"""Tunix's agentic GRPO learner with per-token advantages by the graph.

Tunix's registry of advantage estimators hands an estimator the rewards alone,
so the step that makes training examples is overridden instead. Tunix's loss
takes advantages [batch, length] as they are.
"""

import dataclasses
import threading
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from graphgpo_jax import extras
from graphgpo_jax.credit import estimators
from graphgpo_jax.integrations import conversations, token_credit
from graphgpo_jax.tables import table_options

_PURPOSE = "GraphCreditLearner"
grpo_learner: Any = extras.require(
  "tunix.rl.agentic.agentic_grpo_learner", _PURPOSE, extra="tunix"
)
rl_cluster_lib: Any = extras.require(
  "tunix.rl.rl_cluster", _PURPOSE, extra="tunix"
)

_SUCCEEDED = "SUCCEEDED"
# Tunix leaves the last answer in the messages, but its tokens out.
_BROKEN_OFF = "ENV_TIMEOUT"


class GraphCreditLearner(grpo_learner.GRPOLearner):
  """GRPOLearner whose turns have advantages of their own.

  Everything but the advantages is Tunix's: rollouts, rewards, loss, trainer.
  `algo_config.advantage_estimator` is still computed and logged by Tunix under
  `rewards/advantage/`, and is what its `metric_fns` are given, but nothing is
  trained with it. What is trained with is logged under `graphgpo/`, and by
  Tunix's loss under `advantage/`.
  """

  def __init__(
    self,
    rl_cluster: Any,
    algo_config: Any,
    reward_fns: Any = None,
    chat_parser: Any = None,
    *,
    state_key_fn: token_credit.StateKeyFn,
    estimator: str | estimators.Estimator = "graphgpo",
    success_fn: token_credit.SuccessFn | None = None,
    credit_options: Mapping[str, Any] | None = None,
    **kwargs,
  ):
    """Checks what would go wrong without a word, then builds Tunix's learner.

    Args:
      rl_cluster: Tunix's RLCluster.
      algo_config: Tunix's GRPOConfig.
      reward_fns: as Tunix's; their sum and the environment's rewards are the
        rollout's reward.
      chat_parser: as Tunix's; needed, for turns have no tokens without it.
      state_key_fn: as in `token_credit.token_advantages`.
      estimator: as in `token_credit.token_advantages`.
      success_fn: as in `token_credit.token_advantages`.
      credit_options: options of `assign_credit`, as omega.
      **kwargs: what else Tunix's learner takes: agent_class, env_class, ...

    Raises:
      ValueError: sequence packing, masking of degenerate groups or no
        chat_parser; an unknown estimator or option.
    """
    self._credit = {
      "state_key_fn": state_key_fn,
      "estimator": estimator,
      "success_fn": success_fn,
      **(credit_options or {}),
    }
    _check(rl_cluster, algo_config, chat_parser)
    _check_options(estimator, credit_options or {})
    # Tunix makes training examples in one thread, those of evaluation in
    # another.
    self._computed = threading.local()
    super().__init__(rl_cluster, algo_config, reward_fns, chat_parser, **kwargs)

  def _compute_rewards(self, *args, **kwargs):
    """Tunix's rewards, kept for the step that asks for them."""
    rewards = super()._compute_rewards(*args, **kwargs)
    self._computed.rewards = np.asarray(rewards, np.float64)
    return rewards

  def _process_results(
    self,
    trajectories: list[Any],
    mode: Any = rl_cluster_lib.Mode.TRAIN,
    expected_step: int | None = None,
  ) -> list[Any]:
    """Tunix's training examples with advantages [batch, length]."""
    (example,) = super()._process_results(trajectories, mode, expected_step)
    told = [
      _conversation(item, reward)
      for item, reward in zip(trajectories, self._computed.rewards, strict=True)
    ]
    credit = token_credit.token_advantages(
      told, length=example.completion_mask.shape[1], **self._credit
    )
    if not np.array_equal(
      np.asarray(example.completion_mask) > 0, credit.token_mask
    ):
      raise RuntimeError(
        "Tunix's completion mask is not the one of its trajectories: this "
        "learner follows google-tunix 0.1.7, another version may pad otherwise"
      )
    self.rl_cluster.buffer_metrics_async(
      credit_metrics(credit, trajectories), mode=mode, step=expected_step
    )
    return [
      dataclasses.replace(example, advantages=jnp.asarray(credit.advantages))
    ]


def credit_metrics(
  credit: token_credit.TokenCredit, trajectories: list[Any]
) -> dict[str, tuple[Any, Any]]:
  """What Tunix logs of a credit: name to value and how values are joined.

  Args:
    credit: of the trajectories.
    trajectories: Tunix's items.

  Returns:
    Shares of steps, states and rollouts are averaged; counts are summed.
  """
  turns = np.concatenate([*credit.turn_advantages, np.zeros(0, np.float32)])
  steps = turns if turns.size else np.zeros(1, np.float32)
  statuses = [item.traj.get("status") for item in trajectories]
  return {
    "graphgpo/advantage_mean": (float(steps.mean()), np.mean),
    "graphgpo/advantage_abs_mean": (float(np.abs(steps).mean()), np.mean),
    "graphgpo/nonzero_share": (float((steps != 0).mean()), np.mean),
    "graphgpo/turns": (turns.size / len(trajectories), np.mean),
    "graphgpo/success_share": (float(credit.success.mean()), np.mean),
    "graphgpo/states": (credit.states, np.mean),
    "graphgpo/reachable_share": (
      credit.reachable_states / max(credit.states, 1),
      np.mean,
    ),
    "graphgpo/truncated_rollouts": (
      sum(status != _SUCCEEDED for status in statuses),
      np.sum,
    ),
    "graphgpo/without_turns": (credit.without_turns, np.sum),
    "graphgpo/masked_out": (credit.masked_out, np.sum),
    "graphgpo/empty_turns": (credit.empty_turns, np.sum),
    "graphgpo/cut_turns": (credit.cut_turns, np.sum),
  }


def _conversation(item: Any, reward: float) -> conversations.Conversation:
  traj = item.traj
  return conversations.Conversation(
    messages=traj.get("conversation_text") or (),
    mask=np.asarray(traj["conversation_masks"]),
    reward=float(reward),
    group=item.group_id,
    broken_off=traj.get("status") == _BROKEN_OFF,
    name=f"group {item.group_id}, rollout {item.pair_index}",
  )


def _check(rl_cluster: Any, algo_config: Any, chat_parser: Any) -> None:
  training = rl_cluster.cluster_config.training_config
  if training.max_seq_token_per_tpu is not None:
    raise ValueError(
      f"max_seq_token_per_tpu={training.max_seq_token_per_tpu}: Tunix's "
      "sequence packing cuts a rollout to as many tokens as its mask has ones, "
      "and so drops the later turns of every rollout of several turns; set it "
      "to None"
    )
  if algo_config.degenerate_group_masking:
    raise ValueError(
      "degenerate_group_masking=True looks at Tunix's own advantages, by which "
      "nothing is trained here: a group of equal rewards may well have steps "
      "that differ; set it to False"
    )
  if chat_parser is None:
    raise ValueError(
      "chat_parser is missing: without it Tunix gives turns no tokens, and "
      "there is nothing to train"
    )


def _check_options(
  estimator: str | estimators.Estimator, options: Mapping[str, Any]
) -> None:
  # These two say which texts are one state; the others are the estimator's.
  own = {"state_similarity", "state_similarity_by"}
  table_options.read_options(
    estimator,
    {name: value for name, value in options.items() if name not in own},
  )
