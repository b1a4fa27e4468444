"""What a config says of each estimator's options, unless it is changed."""

from typing import Any


def default_options() -> dict[str, dict[str, Any]]:
  """Options of every estimator by its name, as `config.estimator_options`.

  The rest keep the estimator's own defaults.
  """
  # In a group without success the penalty would be all that differs.
  penalty = {"invalid_penalty": 0.1, "penalty_only_with_success": True}
  return {
    "graphgpo": {"omega": 0.8, **penalty},
    "gigpo": {"discount": 0.95, **penalty},
    "grpo": dict(penalty),
    "rloo": dict(penalty),
    "hgpo": {"discount": 0.95, "history_length": 2, **penalty},
    # The environments' reward of a success is 1: V(SUCCESS) must not differ.
    "g2po": {"discount": 0.95, "success_reward": 1.0, **penalty},
    "pgpo": {"discount": 0.95, "alpha": 2.0, **penalty},
    "gagpo": {"discount": 0.95, "gae_lambda": 0.95, **penalty},
    "salt": dict(penalty),
    "rewardflow": {"discount": 0.9, "success_reward": 1.0, **penalty},
    "graphhca": {"discount": 0.95, "power": 1.0, **penalty},
    # Published is -1. Where failing means running out of time, and values are
    # discounted, that rewards whatever puts the end off: nothing was learnt.
    "crbc": {
      "discount": 0.98,
      "fail_value": 0.0,
      "floor": 0.1,
      "step_weight": 5.0,
      **penalty,
    },
    "graft": {"discount": 0.95, "gae_lambda": 0.95, **penalty},
    "tigpo": {"omega": 0.8, **penalty},
  }
