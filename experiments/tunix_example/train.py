"""Tunix's cluster and learner for the six rooms."""

from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from experiments.tunix_example import rooms, tiny
from graphgpo_jax import extras
from graphgpo_jax.integrations import token_credit
from graphgpo_jax.integrations.tunix import learner as learner_lib

_PURPOSE = "the Tunix example"
base_rollout: Any = extras.require(
  "tunix.rl.rollout.base_rollout", _PURPOSE, extra="tunix"
)
chat_parser: Any = extras.require(
  "tunix.rl.agentic.parser.chat_template_parser.parser",
  _PURPOSE,
  extra="tunix",
)
rl_cluster: Any = extras.require("tunix.rl.rl_cluster", _PURPOSE, extra="tunix")
tool_agent: Any = extras.require(
  "tunix.rl.agentic.agents.tool_agent", _PURPOSE, extra="tunix"
)

# Tokens of a conversation: what was said and answered, and its beginning.
_RESPONSE, _PROMPT = 96, 128


def make_cluster(*, steps: int, seed: int, **training) -> Any:
  """Tunix's cluster on one device: the actor, its sampler and its trainer.

  Args:
    steps: updates.
    seed: of the weights.
    **training: further settings of Tunix's RLTrainingConfig.

  Returns:
    The RLCluster.
  """
  words = tiny.Words()
  mesh = Mesh(np.asarray(jax.devices()[:1]).reshape(1, 1), ("fsdp", "tp"))
  role = rl_cluster.Role
  return rl_cluster.RLCluster(
    actor=tiny.make_model(words, seed),
    tokenizer=words,
    cluster_config=rl_cluster.ClusterConfig(
      role_to_mesh=dict.fromkeys(
        (role.ACTOR, role.ROLLOUT, role.REFERENCE), mesh
      ),
      rollout_engine=tiny.SeededRollout,
      training_config=rl_cluster.RLTrainingConfig(
        actor_optimizer=optax.adam(1e-2),
        eval_every_n_steps=steps + 1,
        max_steps=steps,
        **training,
      ),
      rollout_config=base_rollout.RolloutConfig(
        max_tokens_to_generate=_RESPONSE,
        max_prompt_length=_PROMPT,
        kv_cache_size=_PROMPT + _RESPONSE,
        temperature=1.0,
        return_logprobs=True,
      ),
    ),
  )


def make_learner(
  cluster: Any,
  *,
  rollouts: int,
  estimator: str = "graphgpo",
  state_key_fn: token_credit.StateKeyFn = rooms.state_key,
  **settings,
) -> learner_lib.GraphCreditLearner:
  """The learner: what a user of Tunix changes in their own script.

  Args:
    cluster: Tunix's RLCluster.
    rollouts: of a group.
    estimator: name of one of ours.
    state_key_fn: which messages tell of one state.
    **settings: further settings of Tunix's GRPOConfig.

  Returns:
    The learner.
  """
  return learner_lib.GraphCreditLearner(
    cluster,
    learner_lib.grpo_learner.GRPOConfig(
      num_generations=rollouts,
      max_response_length=_RESPONSE,
      max_concurrency=1,
      beta=0.0,
      **settings,
    ),
    chat_parser=chat_parser.QwenChatTemplateParser(cluster.tokenizer),
    state_key_fn=state_key_fn,
    estimator=estimator,
    agent_class=tool_agent.ToolAgent,
    agent_kwargs={"tool_map": rooms.TOOLS},
    env_class=rooms.RoomsEnvironment,
    env_kwargs={"max_steps": 8},
  )
