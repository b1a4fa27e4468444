"""Household's easiest tier, as short as it can be and still learn.

python -m experiments.train --config=experiments/configs/smoke.py \
  --workdir=runs/smoke

Wall time: 34 s on two CPU cores, compilation and start included.
To expect: success on the panel over 0.9 at the end.
"""

from experiments.configs import household


def get_config():
  """The run's config."""
  config = household.get_config()
  config.num_updates = 16
  return config
