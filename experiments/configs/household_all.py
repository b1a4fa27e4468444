"""Household, all six tiers, with what shut receptacles hold unknown.

python -m experiments.train --config=experiments/configs/household_all.py \
  --workdir=runs/household_all

Wall time: about a minute and a half for the 60 updates on two CPU cores.
To expect: success on the panel reaches 0.34 with graphgpo, 0.16 with grpo and
0.01 with gigpo (one seed each): groups without any success are the rule at
first, since even among admissible actions random play succeeds in 1.7 % of
episodes.
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
