"""Household, easiest tier, with a courier: cost is money, the courier is dear.

python -m experiments.train --config=experiments/configs/household_money.py \
  --workdir=runs/household_money

As household_time.py, but the courier costs 8 and every other step 1: the
cheapest way is to go and take the object oneself, in two or three steps. The
reward does not tell: it is 1 for the finished chore, whatever was spent.

Wall time: half a minute for the 40 updates on two busy CPU cores.
To expect: 0.69 to 0.79 of the episodes call the courier before training and
0.25, 0.23, 0.22, 0.20 and 0 at update 40, where a success costs 6.2 to 5.2 and
0.98 to 1.00 of the episodes succeed (seeds 1 to 5, panel 2028, as in
household_time.py). Who still calls it seems not to have explored doors: about a
third of the objects lie behind a shut one.
"""

from experiments.configs import household_time


def get_config():
  """The run's config."""
  config = household_time.get_config()
  config.environment.fast_cost = 8.0
  return config
