"""Time per step of `assign_credit` as the table grows."""

import statistics
from typing import Any

from experiments import bench_machine
from experiments.credit_bench import generated
from experiments.credit_bench.options import Options
from graphgpo_jax import tables

STEPS = (15_000, 150_000, 1_500_000)
_QUICK_STEPS = (300, 3_000)
GOAL = 1.5
_ROLLOUTS, _HORIZON = 8, 50


def measure(options: Options) -> dict[str, Any]:
  """Times tables of more and more groups of 8 rollouts, in turns.

  Args:
    options: repeats.

  Returns:
    `sizes`: for each its `steps`, `seconds` (median), `rounds` and `ratio`,
    the time per step by that of the smallest (median over the rounds).
  """
  probe = generated.generate_table(64, _ROLLOUTS, _HORIZON).num_steps / 64
  stored = {
    str(steps): generated.generate_table(
      max(round(steps / probe), 1), _ROLLOUTS, _HORIZON
    )
    for steps in (_QUICK_STEPS if options.quick else STEPS)
  }
  contestants = dict.fromkeys(stored, tables.assign_credit)

  def prepare(name):
    return stored[name].fresh()

  bench_machine.in_turns(contestants, prepare, 1)
  rounds = bench_machine.in_turns(contestants, prepare, options.repeats)
  smallest = next(iter(stored))

  def per_step(name):
    return [seconds / stored[name].num_steps for seconds in rounds[name]]

  return {
    "sizes": [
      {
        "steps": table.num_steps,
        "seconds": statistics.median(rounds[name]),
        "rounds": rounds[name],
        "ratio": bench_machine.ratio(per_step(name), per_step(smallest)),
      }
      for name, table in stored.items()
    ]
  }


def table(found: dict[str, Any]) -> str:
  """Microseconds per step and their ratio to the smallest table's."""
  rows = [["steps", "ms", "us per step", "ratio", "goal"]]
  for index, record in enumerate(found["sizes"]):
    rows.append(
      [
        f"{record['steps']:,}",
        f"{1000 * record['seconds']:.1f}",
        f"{1e6 * record['seconds'] / record['steps']:.2f}",
        f"{record['ratio']:.2f}",
        f"<= {GOAL:g}" if index else "-",
      ]
    )
  return bench_machine.table(rows)
