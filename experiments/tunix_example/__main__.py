"""Graph credit in Tunix, end to end on a CPU.

Command (pip install graphgpo-jax[tunix]):

  python -m experiments.tunix_example --steps=3 --estimator=graphgpo

A model of two layers that knows nothing walks through six rooms by calling a
tool, in Tunix's own tool environment and agent; Tunix's GRPO trainer updates it
with advantages that the graph of its rollouts gives each turn. Expect lines of
numbers, about a minute, and no skill: it is here to be copied from.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags, logging

from experiments import running
from experiments.tunix_example import rooms, train

_STEPS = flags.DEFINE_integer("steps", 3, "Updates.", lower_bound=1)
_TASKS = flags.DEFINE_integer("tasks", 2, "Groups of an update.", lower_bound=1)
_ROLLOUTS = flags.DEFINE_integer("rollouts", 8, "Of a group.", lower_bound=2)
_ESTIMATOR = flags.DEFINE_string("estimator", "graphgpo", "Any of ours.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the weights.")


def show(buffer: Any) -> None:
  """Prints what Tunix logs of an update's credit."""
  named = {
    name: float(join(np.asarray(values)))
    for name, (values, join) in buffer.metrics.items()
    if name.startswith("graphgpo/")
  }
  if named:
    print(f"update {buffer.global_steps}")
  for name, value in sorted(named.items()):
    print(f"  {name} {value:.3f}")


def main(argv: Sequence[str]) -> None:
  """Trains a few updates."""
  running.refuse_arguments(argv)
  # Tunix warns whenever a rollout ends by an answer that calls no tool.
  logging.set_verbosity(logging.ERROR)
  cluster = train.make_cluster(steps=_STEPS.value, seed=_SEED.value)
  cluster.with_external_metrics_logger(show)
  learner = train.make_learner(
    cluster, rollouts=_ROLLOUTS.value, estimator=_ESTIMATOR.value
  )
  task = {"prompts": [f"find the {rooms.GOAL}"] * _TASKS.value}
  learner.train([task] * _STEPS.value)


if __name__ == "__main__":
  running.run(main)
