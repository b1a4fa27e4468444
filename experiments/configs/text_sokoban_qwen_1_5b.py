"""Sokoban in text with Qwen2.5-1.5B-Instruct, by the published recipe.

python -m experiments.train_lm --workdir=runs/sokoban_qwen_1_5b \
  --config=experiments/configs/text_sokoban_qwen_1_5b.py \
  --config.model.path=DIR_OF_QWEN2.5_1.5B_INSTRUCT

Needs the extra [lm] and an accelerator of about 80 GB by estimate. Rooms of 6x6
with two boxes, of the project's own generator; an episode has 15 steps, as many
as the longest known solution.

Wall time: not measured; nobody has run this config yet.
To expect: the published result is 87.0 % success (GraphGPO, arXiv 2605.26684).
It is the number to reach, not one that was reached here. By a summary of the
paper it is of Qwen2.5-VL-3B, which sees pictures, in rooms of gym-sokoban: of
another model, in other rooms, shown in another way.
"""

from experiments.configs import text_alfworld_qwen_1_5b


def get_config():
  """The run's config."""
  config = text_alfworld_qwen_1_5b.get_config()
  config.environment = {"name": "sokoban_text", "max_steps": 15}
  config.text.max_steps = 15
  config.text.tasks = {
    "all": {"height": 6, "width": 6, "boxes": 2, "solution": 15, "count": 8192}
  }
  config.text.panel = "sokoban_text"
  config.prompt.introduction = (
    "You are a warehouse keeper in Sokoban, a puzzle in text."
  )
  config.prompt.max_tokens = 2048
  config.estimator_options.graphgpo.omega = 0.8
  config.loss.minibatch_rows = 64
  return config
