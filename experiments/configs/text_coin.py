"""TextWorldExpress: coin collector and Simon says in turns, from scratch.

python -m experiments.train --config=experiments/configs/text_coin.py \
  --workdir=runs/text_coin

The coin lies in one of eight rooms; Simon says what to do twice, each time one
of five commands. A new transformer chooses among the commands that are
admissible; it is evaluated on games that it was not trained on.

Wall time: 3 to 8 minutes on two cores that had other work beside.
To expect: on the panel of 64 unseen games success from 0.16 at the start over
0.73 at update 10 to 0.90 at update 40; means of three seeds, see "Text worlds"
in BUILD_NOTES.md.
"""

from graphgpo_jax.training import settings


def get_config():
  """The run's config."""
  config = settings.default_config()
  config.num_updates = 40
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
      "numLocations": 8,
      "includeDoors": 0,
      "numDistractorItems": 10,
      "limitInventorySize": 0,
    },
  }
  config.text.tasks.simonsays = {
    "game": "simonsays",
    "parameters": {"gameLength": 2, "numDistractors": 3},
  }
  # Where the ways lead stands at the end of a room's description.
  config.text.reading.max_tokens = 64
  config.text.reading.keep_last_words = True
  config.text.reading.history = 8
  config.text.reading.max_commands = 16
  config.policy.width = 64
  config.rollout.tasks_per_update = 16
  config.loss.num_minibatches = 16
  config.loss.chunk_size = 64
  config.loss.entropy_coefficient = 0.02
  config.estimator_options.graphgpo.omega = 0.5
  return config
