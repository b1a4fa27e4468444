"""TextWorldExpress, coin collector: find and take the coin in a house.

python -m experiments.train --config=experiments/configs/text_coin.py \
  --workdir=runs/text_coin

Two games in turns, coin collector and Simon says; the policy is new.

Wall time: not measured on a quiet machine.
To expect: not measured. With longer games, success on the panel of the choices
rose from 0.19 to 0.36 in 30 updates (one seed; BUILD_NOTES.md).
"""

from graphgpo_jax.training import settings


def get_config():
  """The run's config."""
  config = settings.default_config()
  config.num_updates = 60
  config.eval_every = 5
  config.environment.name = "textworld_express"
  config.environment.max_steps = 15
  # For experiments.warm_start: the expert is the game's gold path.
  config.environment.gold_paths = False
  config.panel.size = 64
  config.text.max_steps = 15
  config.text.tasks.coin = {
    "game": "coin",
    "parameters": {
      "numLocations": 5,
      "includeDoors": 1,
      "numDistractorItems": 10,
      "limitInventorySize": 0,
    },
  }
  config.text.tasks.simonsays = {
    "game": "simonsays",
    "parameters": {"gameLength": 2, "numDistractors": 3},
  }
  config.text.reading.max_tokens = 64
  config.text.reading.history = 4
  config.text.reading.facts = ("look",)
  config.text.reading.show_observation = True
  config.policy.width = 64
  config.rollout.tasks_per_update = 16
  config.loss.num_minibatches = 16
  config.loss.chunk_size = 64
  config.loss.entropy_coefficient = 0.02
  config.estimator_options.graphgpo.omega = 0.5
  return config
