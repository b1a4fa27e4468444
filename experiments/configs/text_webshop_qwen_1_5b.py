"""WebShop with Qwen2.5-1.5B-Instruct, by the published recipe.

python -m experiments.train_lm --workdir=runs/webshop_qwen_1_5b \
  --config=experiments/configs/text_webshop_qwen_1_5b.py \
  --config.model.path=DIR_OF_QWEN2.5_1.5B_INSTRUCT \
  --config.environment.data_folder=DIR_OF_WEBSHOP_FILES

Needs the extras [lm] and [text] and an accelerator of about 80 GB by estimate.
Without a data folder it plays the project's small catalogue, which is another
task.

Wall time: not measured; nobody has run this config yet.
To expect: the published result is 78.7 (GraphGPO, arXiv 2605.26684). It is the
number to reach, not one that was reached here.
"""

from ml_collections import config_dict

from experiments.configs import text_alfworld_qwen_1_5b


def get_config():
  """The run's config."""
  config = text_alfworld_qwen_1_5b.get_config()
  folder = config_dict.FieldReference(None, field_type=str)
  config.environment = {
    "name": "webshop",
    "data_folder": folder,
    "max_steps": 15,
  }
  config.text.max_steps = 15
  config.text.tasks = {"all": {"data_folder": folder}}
  config.prompt.introduction = (
    "You are a shopper in a web shop, a world of text."
  )
  config.prompt.hint = (
    "A search may be for any words, in the form search[words]; links are "
    "clicked as they are listed."
  )
  config.prompt.max_tokens = 5120
  config.response.free_commands = (r"search\[.+\]",)
  config.estimator_options.graphgpo.omega = 0.2
  config.loss.minibatch_rows = 64
  config.loss.microbatch_rows = 2
  # Caches of so long prompts are large.
  config.sampler.batch_size = 64
  return config
