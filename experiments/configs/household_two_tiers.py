"""Household, two tiers: pick and place, and look in light.

python -m experiments.train \
  --config=experiments/configs/household_two_tiers.py \
  --workdir=runs/household_two_tiers

Wall time: about a minute for the 60 updates on two CPU cores, with
compilation.
To expect: 90 % on the panel at update 30 to 38 with graphgpo, for three seeds
in five; the others stood at 0.6 to 0.7 after 60 updates. Within these, one seed
in five with gigpo and one with grpo got there.
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
