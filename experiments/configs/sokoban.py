"""Sokoban, 6x6 rooms with one box.

python -m experiments.train --config=experiments/configs/sokoban.py \
  --workdir=runs/sokoban

Wall time: @@.
To expect: @@.
"""

import ml_collections

from experiments.configs import household


def get_config():
  """The run's config."""
  config = household.get_config()
  config.num_updates = 60
  config.eval_every = 5
  config.environment = ml_collections.ConfigDict(
    {
      "name": "sokoban",
      "height": 6,
      "width": 6,
      "num_boxes": 1,
      "horizon": 30,
    }
  )
  return config
