"""Trains a language model that thinks and acts in a text world.

python -m experiments.train_lm --workdir=runs/alfworld_lm \
  --config=experiments/configs/text_alfworld_qwen_1_5b.py \
  --config.model.path=DIR_OF_QWEN2.5_1.5B_INSTRUCT

Any key of the config can be set on the command line. The same command goes on
with a run that was stopped. The work directory holds `config.json`,
`metrics.jsonl`, checkpoints and `rollouts/`, every step that was played as JSON
lines: experiments.assign_credit reads them.
"""

import json

from absl import flags, logging
from ml_collections import config_flags

from experiments import run_flags, running
from graphgpo_jax.training import language_trainer, profiling

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "The run's config file.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
  "workdir",
  None,
  "Folder of the run: config, metrics, checkpoints, rollouts.",
  required=True,
)
_EVALUATE = flags.DEFINE_bool(
  "evaluate",
  False,
  "Play the panel with the newest checkpoint of the workdir and train nothing.",
)
# So that --helpshort shows them.
flags.adopt_module_key_flags(run_flags)


def main(argv):
  """Runs the binary."""
  running.refuse_arguments(argv)
  profiling.parse_steps(run_flags.PROFILE_STEPS.value)
  if _EVALUATE.value:
    print(json.dumps(language_trainer.evaluate(_CONFIG.value, _WORKDIR.value)))
    return
  running.cache_compiled(_WORKDIR.value, run_flags.COMPILE_CACHE_DIR.value)
  last = language_trainer.train(
    _CONFIG.value,
    _WORKDIR.value,
    resume_from=run_flags.RESUME_FROM.value,
    profile_steps=profiling.parse_steps(run_flags.PROFILE_STEPS.value),
  )
  logging.info("last update: %s", json.dumps(last))
  if "rollout/success" in last:
    told = f"success in training: {last['rollout/success']:.3f}"
    if "eval/success" in last:
      told += f", on the panel: {last['eval/success']:.3f}"
    print(f"{told}; metrics, checkpoint and rollouts in {_WORKDIR.value}")


if __name__ == "__main__":
  flags.mark_flag_as_required("config")
  running.run(main)
