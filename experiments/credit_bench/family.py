"""Time of every estimator of the family by graphgpo's."""

import statistics
from typing import Any

from experiments import bench_machine
from experiments.credit_bench import generated
from experiments.credit_bench.options import Options
from graphgpo_jax import tables
from graphgpo_jax.credit import estimators

REFERENCE = "graphgpo"
GOAL = 2.0
_SIZE, _QUICK_SIZE = (128, 8, 50), (2, 3, 5)


def measure(options: Options) -> dict[str, Any]:
  """Times `assign_credit` with each estimator on 128 x 8 x 50, in turns.

  Args:
    options: repeats.

  Returns:
    `size`, `steps`, and `estimators`: for each its `seconds` (median), `rounds`
    and `ratio` to graphgpo (median over the rounds).
  """
  size = _QUICK_SIZE if options.quick else _SIZE
  stored = generated.generate_table(*size)

  def timed(name):
    return lambda steps: tables.assign_credit(steps, name)

  contestants = {name: timed(name) for name in estimators.ESTIMATORS}

  def prepare(name):
    del name
    return stored.fresh()

  # The first call compiles.
  bench_machine.in_turns(contestants, prepare, 1)
  rounds = bench_machine.in_turns(contestants, prepare, options.repeats)
  return {
    "size": " x ".join(map(str, size)),
    "steps": stored.num_steps,
    "estimators": {
      name: {
        "seconds": statistics.median(seconds),
        "rounds": seconds,
        "ratio": bench_machine.ratio(seconds, rounds[REFERENCE]),
      }
      for name, seconds in rounds.items()
    },
  }


def table(found: dict[str, Any]) -> str:
  """Milliseconds of each estimator and their ratio to graphgpo's."""
  rows = [[f"estimator, {found['size']}", "ms", "by graphgpo", "goal"]]
  for name, record in found["estimators"].items():
    rows.append(
      [
        name,
        f"{1000 * record['seconds']:.1f}",
        f"{record['ratio']:.2f}",
        f"<= {GOAL:g}",
      ]
    )
  return bench_machine.table(rows)
