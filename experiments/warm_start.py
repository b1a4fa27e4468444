"""Imitates an expert in a text world, for a policy to start from.

python -m experiments.warm_start --config=experiments/configs/text_alfworld.py \
  --workdir=runs/warm --episodes=200

python -m experiments.train --config=experiments/configs/text_alfworld.py \
  --config.init_from=runs/warm --workdir=runs/alfworld

And of a language model, which learns the expert's answers in the prompts of its
training (all parameters, or adapters with --config.model.lora_rank):

python -m experiments.warm_start --workdir=runs/warm_lm --episodes=200 \
  --config=experiments/configs/text_sokoban_qwen_1_5b.py --epochs=2 \
  --config.model.path=DIR_OF_QWEN2.5_1.5B_INSTRUCT

python -m experiments.train_lm --workdir=runs/sokoban_lm \
  --config=experiments/configs/text_sokoban_qwen_1_5b.py \
  --config.init_from=runs/warm_lm --config.model.path=...

Plays tasks of the training side with the world's own expert, raises the
probability of the expert's commands, plays the panel before and after, and
writes a checkpoint. ALFWorld has its planner, Sokoban its shortest solutions,
TextWorldExpress its gold paths, with --config.environment.gold_paths=True. With
--stray=0.2 every fifth command or so is another one, so that the lessons tell
the way back; a gold path, once left, cannot be asked for again, and a box of
Sokoban in a corner has no way back. Which config keys must agree with the
training's: the policy and `text.reading`; of a language model `model`, `prompt`
and `response`. Where prompts ask for thoughts (`prompt.think`), the expert's
are empty.
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
from graphgpo_jax.training import (
  language_settings,
  language_warm_start,
  text_experiment,
  warm_start,
)

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
_LEARNING_RATE = flags.DEFINE_float(
  "learning_rate",
  None,
  "Of Adam. Without it 1e-3; of a language model 1e-4 for adapters, 1e-5 for "
  "all parameters.",
)


def _imitate_with_chooser(config, options):
  """For a policy that chooses commands."""
  running.split_cpu(config)
  experiment = text_experiment.make_experiment(config)
  if not isinstance(experiment, text_experiment.TextExperiment):
    raise ValueError(
      f"environment {config.environment.name!r} is no text world: it has no "
      "expert to imitate"
    )
  rate = 1e-3 if _LEARNING_RATE.value is None else _LEARNING_RATE.value
  with contextlib.closing(experiment):
    return warm_start.imitate_expert(
      experiment,
      _WORKDIR.value,
      config,
      optimizer=optax.adam(rate),
      **options,
    )


def _imitate_with_language_model(config, options):
  """For a language model."""
  rate = _LEARNING_RATE.value
  if rate is None:
    rate = 1e-4 if config.model.lora_rank else 1e-5
  return language_warm_start.imitate_expert(
    config, _WORKDIR.value, learning_rate=rate, **options
  )


def main(argv):
  """Runs the binary."""
  running.refuse_arguments(argv)
  config = _CONFIG.value
  if _LEARNING_RATE.value is not None and _LEARNING_RATE.value <= 0:
    raise ValueError(f"--learning_rate={_LEARNING_RATE.value} must be positive")
  options = {
    "episodes": _EPISODES.value,
    "stray": _STRAY.value,
    "epochs": _EPOCHS.value,
    "batch_size": _BATCH_SIZE.value,
    "report": print,
  }
  started = time.monotonic()
  if language_settings.is_language_model(config):
    found = _imitate_with_language_model(config, options)
  else:
    found = _imitate_with_chooser(config, options)
  found["seconds"] = time.monotonic() - started
  path = pathlib.Path(_WORKDIR.value) / "warm_start.json"
  path.write_text(json.dumps(found, indent=1) + "\n")
  before, after = found["before"], found["after"]
  if after:
    greedy = after.get("eval/success_greedy")
    print(
      f"success on the panel: {before['eval/success']:.3f} before, "
      f"{after['eval/success']:.3f} after"
      + ("" if greedy is None else f" (greedy {greedy:.3f})")
    )
  print(
    f"{found['seconds']:.0f} s on {jax.default_backend()}; checkpoint and "
    f"{path.name} in {_WORKDIR.value}"
  )


if __name__ == "__main__":
  flags.mark_flag_as_required("config")
  running.run(main)
