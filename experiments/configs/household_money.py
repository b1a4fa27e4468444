"""Household, easiest tier, with a courier: cost is money, the courier is dear.

python -m experiments.train --config=experiments/configs/household_money.py \
  --workdir=runs/household_money

As household_time.py, but the courier costs 8 and every other step 1: the
cheapest way is to go and take the object oneself, in two or three steps. The
reward does not tell: it is 1 for the finished chore, whatever was spent.

Wall time: not measured on a quiet machine.
To expect: 0.86 of the episodes call the courier before training and 0.31 at
update 40, where a success costs 6.5; the least there is is 4.7, and 10.4 with
the courier always (seed 0, the only one tried). The courier is still called
about as often as the object lies behind a shut door (0.30 of the panel): it
seems that opening doors is not explored once the courier works.
"""

from experiments.configs import household_time


def get_config():
  """The run's config."""
  config = household_time.get_config()
  config.environment.fast_cost = 8.0
  return config
