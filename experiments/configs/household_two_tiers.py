"""Household, two tiers: pick and place, and look in light.

python -m experiments.train \
  --config=experiments/configs/household_two_tiers.py \
  --workdir=runs/household_two_tiers
"""

from experiments.configs import household


def get_config():
  """The run's config."""
  config = household.get_config()
  config.num_updates = 60
  config.environment.tier = 2
  return config
