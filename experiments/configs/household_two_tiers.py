"""Household, two tiers: pick and place, and look in light.

python -m experiments.train \
  --config=experiments/configs/household_two_tiers.py \
  --workdir=runs/household_two_tiers

Wall time: @@.
To expect: @@.
"""

from experiments.configs import household


def get_config():
  """The run's config."""
  config = household.get_config()
  # The sizes that the tier has by itself.
  del config.environment.num_receptacles, config.environment.num_objects
  config.num_updates = 60
  config.eval_every = 2
  config.environment.tier = 2
  return config
