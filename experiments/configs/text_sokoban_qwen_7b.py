"""Sokoban in text with Qwen2.5-7B-Instruct, by the published recipe.

python -m experiments.train_lm --workdir=runs/sokoban_qwen_7b \
  --config=experiments/configs/text_sokoban_qwen_7b.py \
  --config.model.path=DIR_OF_QWEN2.5_7B_INSTRUCT

Needs what text_sokoban_qwen_1_5b.py needs, on eight devices of one process.

Wall time: not measured; nobody has run this config yet.
To expect: the published result is 87.0 % success (GraphGPO, arXiv 2605.26684).
It is the number to reach, not one that was reached here; of another model, see
text_sokoban_qwen_1_5b.py.
"""

from experiments.configs import text_sokoban_qwen_1_5b


def get_config():
  """The run's config."""
  config = text_sokoban_qwen_1_5b.get_config()
  # Weights, gradients and moments of float32 are more than a device holds.
  config.mesh.fsdp = 8
  config.loss.microbatch_rows = 8
  return config
