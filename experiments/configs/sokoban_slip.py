"""Sokoban, 6x6 rooms with one box, where one move in ten goes astray.

python -m experiments.train --config=experiments/configs/sokoban_slip.py \
  --workdir=runs/sokoban_slip

--config.environment.slip=0.3 makes it three in ten, 0.0 none;
--config.environment.slip_mode=fail lets nothing happen in place of a move.

Wall time: as sokoban.py.
To expect: success on the panel 0.6 to 0.7 after 120 updates, 0.4 to 0.5 with
slip 0.3 (one seed each of graphgpo, graphhca and crbc): a box that slips into a
corner stays there.
"""

from experiments.configs import sokoban


def get_config():
  """The run's config."""
  config = sokoban.get_config()
  config.environment.slip = 0.1
  config.environment.slip_mode = "other"
  return config
