"""Household, easiest tier: pick an object up and place it, reward at success.

python -m experiments.train --config=experiments/configs/household.py \
  --workdir=runs/household
"""

from graphgpo_jax.training import settings


def get_config():
  """The run's config."""
  config = settings.default_config()
  config.num_updates = 40
  config.environment.tier = 1
  config.policy.width = 32
  config.loss.num_minibatches = 16
  config.loss.entropy_coefficient = 0.02
  config.optimizer.learning_rate = 2e-3
  return config
