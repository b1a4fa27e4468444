"""Measures text worlds against their packages' stock engines (extra [text]).

  python -m experiments.bench_text --world=alfworld --episodes=24 \
      --output=bench_text.json
  python -m experiments.bench_text --world=scienceworld --episodes=8

Every world has a module in `experiments/text_bench` with `measure(options)` and
`table(findings)`; `_WORLDS` names them.

Result to expect: ALFWorld with equal transcripts, and fast / stock well above 5
(182 on two busy cores, where the stock engine made 3 steps a second).
ScienceWorld, which needs Java: 3 to 8 times stock on random valid commands and
15 to 28 on "look around", short of the goal of 50.
"""

import importlib
import json
import os
import pathlib

from absl import app, flags

from experiments import bench_machine
from experiments.text_bench.options import Options

_WORLDS = {
  "alfworld": "experiments.text_bench.alfworld",
  "scienceworld": "experiments.text_bench.scienceworld",
}

_WORLD = flags.DEFINE_enum("world", "alfworld", sorted(_WORLDS), "Which one.")
_EPISODES = flags.DEFINE_integer(
  "episodes", 12, "Episodes of each contestant.", lower_bound=1
)
_STEPS = flags.DEFINE_integer(
  "steps", 50, "Most steps of an episode.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of tasks and actions.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.")


def main(argv: list[str]) -> None:
  """Measures one world and prints what was found."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {argv[1:]}")
  machine = bench_machine.facts()
  print(bench_machine.line(machine), flush=True)
  world = importlib.import_module(_WORLDS[_WORLD.value])
  found = world.measure(Options(_EPISODES.value, _STEPS.value, _SEED.value))
  machine["load_average_after"] = os.getloadavg()
  print(f"{_WORLD.value}\n{world.table(found)}")
  if _OUTPUT.value:
    results = {"machine": machine, _WORLD.value: found}
    pathlib.Path(_OUTPUT.value).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
  app.run(main)
