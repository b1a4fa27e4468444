"""Household, all six tiers, with what shut receptacles hold unknown.

python -m experiments.train --config=experiments/configs/household_all.py \
  --workdir=runs/household_all

Wall time: not measured; an update has 128 rollouts of 50 steps at most.
To expect: not measured. Even among admissible actions random play succeeds in
1.7 % of episodes, so groups without any success are the rule at first.
"""

from experiments.configs import household


def get_config():
  """The run's config."""
  config = household.get_config()
  # The sizes that the tier has by itself.
  del config.environment.num_receptacles, config.environment.num_objects
  config.num_updates = 60
  config.eval_every = 5
  config.environment.tier = 6
  return config
