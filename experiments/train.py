"""Trains a policy, or evaluates what was trained.

python -m experiments.train --config=experiments/configs/household.py \
  --workdir=runs/household

Any key of the config can be set on the command line, for instance
--config.estimator=gigpo or --config.estimator_options.graphgpo.omega=0.5. The
same command goes on with a run that was stopped, be it by Ctrl-C, SIGTERM, a
preemption or kill -9. On several hosts each runs the same command, see
--distributed and experiments/launch; --config.mesh.data=0 takes all of their
devices.
"""

import json

from absl import flags, logging
from ml_collections import config_flags

from experiments import joining, run_flags, running
from graphgpo_jax.training import distributed, profiling, settings, trainer

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
# So that --helpshort shows them.
flags.adopt_module_key_flags(run_flags)


def main(argv):
  """Runs the binary."""
  running.refuse_arguments(argv)
  # Before anything else of jax. What is not sound is refused once all agree.
  joining.join(
    _CONFIG.value,
    workdir=_WORKDIR.value,
    evaluate=_EVALUATE.value,
    resume_from=run_flags.RESUME_FROM.value,
  )
  settings.check_config(_CONFIG.value)
  if _EVALUATE.value:
    found = trainer.evaluate(_CONFIG.value, _WORKDIR.value)
    if distributed.is_main():
      print(json.dumps(found))
    return
  running.cache_compiled(_WORKDIR.value, run_flags.COMPILE_CACHE_DIR.value)
  last = trainer.train(
    _CONFIG.value,
    _WORKDIR.value,
    resume_from=run_flags.RESUME_FROM.value,
    profile_steps=profiling.parse_steps(run_flags.PROFILE_STEPS.value),
  )
  logging.info("last update: %s", json.dumps(last))
  # A run that was asked to stop may not have played it.
  if "eval/success" in last and distributed.is_main():
    print(
      f"success on the panel: {last['eval/success']:.3f} sampled, "
      f"{last['eval/success_greedy']:.3f} greedy; metrics, TensorBoard events "
      f"and checkpoint in {_WORKDIR.value}"
    )


if __name__ == "__main__":
  flags.mark_flag_as_required("config")
  running.run(main)
