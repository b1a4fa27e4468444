"""Sokoban, 6x6 rooms with two boxes.

python -m experiments.train \
  --config=experiments/configs/sokoban_two_boxes.py \
  --workdir=runs/sokoban_two_boxes

Wall time: 8 minutes for the 240 updates on two CPU cores.
To expect: success on the panel rises from 0.05 to 0.28 with graphgpo (one seed)
and is still rising. The settings are those of one box, with a longer horizon
and twice the updates; none was chosen on this world.
"""

from experiments.configs import sokoban


def get_config():
  """The run's config."""
  config = sokoban.get_config()
  config.num_updates = 240
  config.eval_every = 10
  config.optimizer.decay_steps = 240 * config.loss.num_minibatches
  config.environment.num_boxes = 2
  config.environment.horizon = 50
  return config
