"""ALFWorld's generated games, all six types; best after a warm start.

python -m experiments.warm_start --config=experiments/configs/text_alfworld.py \
  --workdir=runs/warm --episodes=200

python -m experiments.train --config=experiments/configs/text_alfworld.py \
  --config.init_from=runs/warm --workdir=runs/alfworld

Wall time: not measured.
To expect: not measured.
"""

from graphgpo_jax.training import settings


def get_config():
  """The run's config."""
  config = settings.default_config()
  config.num_updates = 60
  config.eval_every = 5
  config.environment.name = "alfworld"
  config.environment.max_steps = 50
  config.panel.size = 64
  config.text.max_steps = 50
  config.text.panel = "alfworld"
  # The recipe's key takes states for one now and then, this one never did.
  config.text.state_key = "true"
  config.text.tasks.generated = {"source": "generated"}
  config.text.reading.max_tokens = 128
  config.text.reading.max_commands = 64
  config.text.reading.facts = ("location", "holdings")
  config.policy.width = 64
  config.rollout.tasks_per_update = 16
  config.loss.num_minibatches = 16
  config.loss.chunk_size = 64
  config.loss.entropy_coefficient = 0.02
  config.estimator_options.graphgpo.omega = 0.5
  return config
