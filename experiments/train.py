"""Trains a policy, or evaluates what was trained.

python -m experiments.train --config=experiments/configs/household.py \
  --workdir=runs/household

Any key of the config can be set on the command line, for instance
--config.estimator=gigpo or --config.estimator_options.graphgpo.omega=0.5. The
same command goes on with a run that was stopped.
"""

import json

from absl import flags, logging
from ml_collections import config_flags

from experiments import running
from graphgpo_jax.training import settings, trainer

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "The run's config file.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
  "workdir",
  None,
  "Folder of the run: config, metrics, checkpoints.",
  required=True,
)
_EVALUATE = flags.DEFINE_bool(
  "evaluate",
  False,
  "Play the panel with the newest checkpoint of the workdir and train nothing.",
)


def main(argv):
  """Runs the binary."""
  running.refuse_arguments(argv)
  settings.check_config(_CONFIG.value)
  running.split_cpu(_CONFIG.value)
  if _EVALUATE.value:
    print(json.dumps(trainer.evaluate(_CONFIG.value, _WORKDIR.value)))
    return
  last = trainer.train(_CONFIG.value, _WORKDIR.value)
  if last:
    logging.info("last update: %s", json.dumps(last))
    print(
      f"success on the panel: {last['eval/success']:.3f} sampled, "
      f"{last['eval/success_greedy']:.3f} greedy; metrics, TensorBoard events "
      f"and checkpoint in {_WORKDIR.value}"
    )


if __name__ == "__main__":
  flags.mark_flag_as_required("config")
  running.run(main)
