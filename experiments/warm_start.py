"""Imitates an expert in a text world, for a policy to start from.

python -m experiments.warm_start --config=experiments/configs/text_alfworld.py \
  --workdir=runs/warm --episodes=200

python -m experiments.train --config=experiments/configs/text_alfworld.py \
  --config.init_from=runs/warm --workdir=runs/alfworld

Plays tasks of the training side with the world's own expert, raises the
probability of the expert's commands, plays the panel before and after, and
writes a checkpoint. ALFWorld has its planner; TextWorldExpress its gold paths,
with --config.environment.gold_paths=True. With --stray=0.2 every fifth command
or so is another one, so that the lessons tell the way back; a gold path, once
left, cannot be asked for again. Which config keys must agree with the
training's: the policy and `text.reading`.
"""

import contextlib
import json
import pathlib
import time

import jax
import optax
from absl import flags
from ml_collections import config_flags

from experiments import running
from graphgpo_jax.training import text_experiment, warm_start

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Config file of a text world.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder for config, numbers, checkpoint.", required=True
)
_EPISODES = flags.DEFINE_integer(
  "episodes", 200, "Tasks that the expert plays, each once.", lower_bound=1
)
_STRAY = flags.DEFINE_float(
  "stray", 0.0, "Share of commands that are not the expert's."
)
_EPOCHS = flags.DEFINE_integer("epochs", 10, "Passes.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer(
  "batch_size", 64, "Lessons of a step.", lower_bound=1
)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 1e-3, "Of Adam.")


def main(argv):
  """Runs the binary."""
  running.refuse_arguments(argv)
  config = _CONFIG.value
  running.split_cpu(config)
  if _LEARNING_RATE.value <= 0:
    raise ValueError(f"--learning_rate={_LEARNING_RATE.value} must be positive")
  experiment = text_experiment.make_experiment(config)
  if not isinstance(experiment, text_experiment.TextExperiment):
    raise ValueError(
      f"environment {config.environment.name!r} is no text world: it has no "
      "expert to imitate"
    )
  started = time.monotonic()
  with contextlib.closing(experiment):
    found = warm_start.imitate_expert(
      experiment,
      _WORKDIR.value,
      config,
      episodes=_EPISODES.value,
      stray=_STRAY.value,
      epochs=_EPOCHS.value,
      batch_size=_BATCH_SIZE.value,
      optimizer=optax.adam(_LEARNING_RATE.value),
      report=print,
    )
  found["seconds"] = time.monotonic() - started
  path = pathlib.Path(_WORKDIR.value) / "warm_start.json"
  path.write_text(json.dumps(found, indent=1) + "\n")
  before, after = found["before"], found["after"]
  print(
    f"success on the panel: {before['eval/success']:.3f} before, "
    f"{after['eval/success']:.3f} after (greedy "
    f"{after['eval/success_greedy']:.3f}); {found['seconds']:.0f} s on "
    f"{jax.default_backend()}\ncheckpoint and {path.name} in {_WORKDIR.value}"
  )


if __name__ == "__main__":
  flags.mark_flag_as_required("config")
  running.run(main)
