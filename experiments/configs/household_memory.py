"""Household, two tiers, on a pool of tasks that come back and are remembered.

python -m experiments.train --config=experiments/configs/household_memory.py \
  --workdir=runs/household_memory

The pool's 64 tasks are drawn by the run's seed and each comes back every four
updates. The estimator, tigpo, takes its distances from what all visits of a
task have seen, and compares a visit's returns with the last one's. For
GraphGPO on the same tasks: --config.estimator=graphgpo.

Wall time: under a minute for the 60 updates on two CPU cores, and a minute of
compilation before.
To expect: success on the panel passes 0.9 at update 18 to 32 in four of five
runs, and stands at 0.86 at update 60 (five seeds); graphgpo passes it in one.
"""

from experiments.configs import household_two_tiers


def get_config():
  """The run's config."""
  config = household_two_tiers.get_config()
  config.estimator = "tigpo"
  config.memory.pool_size = 64
  # More than the distinct steps of a task in a run of this length. The world
  # stays as it is, so nothing has to be forgotten.
  config.memory.max_edges = 1024
  return config
