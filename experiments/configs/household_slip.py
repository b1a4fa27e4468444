"""Household, easiest tier, where one action in ten fails.

python -m experiments.train --config=experiments/configs/household_slip.py \
  --workdir=runs/household_slip

--config.environment.slip=0.3 makes it three in ten, 0.0 none;
--config.environment.slip_mode=other lets another admissible action happen.

Wall time: as household.py, with somewhat longer episodes.
To expect: at slip 0.3 success on the panel passes 0.9 at update 15 to 26 with
graphgpo, 15 to 27 with graphhca and 9 to 14 with crbc (5 seeds).
"""

from experiments.configs import household


def get_config():
  """The run's config."""
  config = household.get_config()
  config.environment.slip = 0.1
  config.environment.slip_mode = "fail"
  return config
