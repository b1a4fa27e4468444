"""ALFWorld with Qwen2.5-1.5B-Instruct, by the published recipe.

python -m experiments.train_lm --workdir=runs/alfworld_qwen_1_5b \
  --config=experiments/configs/text_alfworld_qwen_1_5b.py \
  --config.model.path=DIR_OF_QWEN2.5_1.5B_INSTRUCT

Needs the extras [lm] and [text], the games that ALFWORLD_DATA points to, and an
accelerator of about 80 GB by estimate; --config.text.tasks.all.source=generated
plays the project's own games instead, which are other tasks.

Wall time: not measured; nobody has run this config yet.
To expect: the published result is 92.7 % success (GraphGPO, arXiv 2605.26684).
It is the number to reach, not one that was reached here.
"""

from graphgpo_jax.training import language_settings


def get_config():
  """The run's config."""
  config = language_settings.default_config()
  config.num_updates = 150
  config.environment.name = "alfworld"
  config.environment.max_steps = 50
  config.text.max_steps = 50
  config.text.tasks.all = {"source": "downloaded"}
  config.text.num_workers = 16
  config.text.environments_per_worker = 8
  config.rollout.tasks_per_update = 16
  config.rollout.rollouts_per_task = 8
  config.prompt.introduction = (
    "You are an agent in a household, a world of text."
  )
  config.prompt.history = 2
  config.prompt.max_tokens = 2048
  config.response.max_tokens = 512
  config.response.require_thought = True
  config.estimator_options.graphgpo.omega = 0.1
  for options in config.estimator_options.values():
    # As the recipe has it: in groups without success, too.
    options.invalid_penalty = 0.1
    options.penalty_only_with_success = False
  config.optimizer.learning_rate = 1e-6
  config.loss.kl_coefficient = 0.01
  config.loss.kl = "low_var_kl"
  # Not among the published numbers that this follows: steps of an optimiser
  # step, and what one device holds at once.
  config.loss.minibatch_rows = 256
  config.loss.microbatch_rows = 4
  config.sampler.batch_size = 128
  config.model.dtype = "bfloat16"
  config.model.remat = True
  return config
