"""Random walks in a Minigrid room, and which of their steps helped.

Command:

  python -m experiments.minigrid_credit \
    --environment=MiniGrid-DoorKey-5x5-v0 --seeds=0,1 --rollouts=64

Needs `pip install 'graphgpo-jax[gym]'`. Every seed is a room; its rollouts are
one task. For each room the command prints the room, the least number of actions
to success from each cell as the walks know it, and what each action was worth
on average. `experiments.minigrid_walks` is all of it.
"""

import sys

from absl import app, flags, logging

from experiments import minigrid_walks

_ENVIRONMENT = flags.DEFINE_string(
  "environment", "MiniGrid-DoorKey-5x5-v0", "Name of a Minigrid environment."
)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1"], "A room each.")
_ROLLOUTS = flags.DEFINE_integer("rollouts", 64, "Random walks in each room.")
_OMEGA = flags.DEFINE_float("omega", 0.5, "Distance discount in (0, 1).")


def main(argv: list[str]) -> int:
  """Runs the command; 1 and one line on the error stream if it cannot."""
  if len(argv) > 1:
    print(f"error: unexpected argument {argv[1]!r}", file=sys.stderr)
    return 1
  if not flags.FLAGS["verbosity"].present:
    logging.set_verbosity(logging.WARNING)
  try:
    seeds = [int(seed) for seed in _SEEDS.value]
    env = minigrid_walks.make_environment(_ENVIRONMENT.value)
    table = minigrid_walks.walk(env, seeds, _ROLLOUTS.value)
    for seed in seeds:
      print(minigrid_walks.describe(env, seed, table, omega=_OMEGA.value))
  except (ValueError, ImportError) as error:
    print("error:", " ".join(str(error).split()), file=sys.stderr)
    return 1
  return 0


if __name__ == "__main__":
  app.run(main)
