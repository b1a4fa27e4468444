"""Credit for logged steps: JSON lines in, JSON lines out.

Command:

  python -m experiments.assign_credit --rollouts=steps.jsonl \
    --output=credit.jsonl --estimator=graphgpo --omega=0.1

Each line of --rollouts is one step: task, trajectory, t, observation,
next_observation, success, and if logged reward, episode_return, action_valid,
cost; in any order of lines. Each line of --output is the step of the same
line: task, trajectory, t, and the credit columns of
`graphgpo_jax.tables.assign_credit`. Flags that are not given keep the
estimator's defaults. The output appears when all of it is written.
"""

import os
import sys
from typing import Any

from absl import app, flags, logging

from graphgpo_jax import tables
from graphgpo_jax.credit import estimators
from graphgpo_jax.tables import jsonl, table_options

_ROLLOUTS = flags.DEFINE_string(
  "rollouts", None, "JSONL file, one object per step.", required=True
)
_OUTPUT = flags.DEFINE_string(
  "output", None, "JSONL file to write.", required=True
)
_ESTIMATOR = flags.DEFINE_string(
  "estimator", "graphgpo", f"One of {', '.join(estimators.ESTIMATORS)}."
)
_NUMBERS = {
  "omega": "Distance discount in (0, 1).",
  "success_reward": "Reward of a successful rollout.",
  "invalid_penalty": "What an inadmissible action costs, at least 0.",
  "unreachable_margin": "Distance of unreachable states past the farthest.",
  "epsilon": "Keeps small deviations from being blown up, above 0.",
  "step_weight": "Weight of the step or graph advantage.",
  "episode_weight": "Weight of the episode advantage.",
  "discount": "Reward discount in [0, 1] (gigpo).",
}
_FLAGS = {
  "penalty_only_with_success": "No penalty in tasks without success.",
  "add_step_cost": "Exponent d(s') + cost, as in the paper.",
  "normalize_distance": "Exponent d(s') - d(s) + 1.",
  "scale_free": "Exponent relative to the state's best step.",
  "distinct_edges": "Statistics over distinct edges, not steps.",
  "per_rollout": "Episode statistics over rollouts, not steps.",
}
# None stands for the estimator's own default.
_OPTIONS: list[Any] = [
  *(flags.DEFINE_float(name, None, text) for name, text in _NUMBERS.items()),
  *(flags.DEFINE_bool(name, None, text) for name, text in _FLAGS.items()),
  flags.DEFINE_string("normalization", None, "mean_std or mean."),
  flags.DEFINE_integer("ddof", None, "1: sample deviation; 0: population's."),
]


def _run() -> tables.TableSummary:
  rollouts, output = _ROLLOUTS.value, _OUTPUT.value
  if os.path.realpath(rollouts) == os.path.realpath(output) or (
    os.path.exists(output) and os.path.samefile(rollouts, output)
  ):
    raise ValueError(
      "--output is the file of --rollouts: expected another, for the input "
      "is kept"
    )
  folder = os.path.dirname(output) or "."
  if not os.path.isdir(folder) or os.path.isdir(output):
    raise ValueError(
      f"--output={output}: expected a file name in a folder that exists"
    )
  options = {
    flag.name: flag.value for flag in _OPTIONS if flag.value is not None
  }
  # Before the file is read: a wrong flag should not take minutes to show.
  table_options.read_options(_ESTIMATOR.value, options)
  steps = jsonl.read_steps(rollouts)
  try:
    credit, summary = tables.credit_table(steps, _ESTIMATOR.value, **options)
  except ValueError as error:
    raise ValueError(f"{rollouts} (row 0 is line 1): {error}") from None
  columns: dict[str, Any] = {
    name: steps[name] for name in ("task", "trajectory", "t")
  }
  jsonl.write_steps(output, columns | credit)
  return summary


def main(argv: list[str]) -> int:
  """Runs the command; 1 and one line on the error stream if it cannot."""
  if len(argv) > 1:
    print(f"error: unexpected argument {argv[1]!r}", file=sys.stderr)
    return 1
  if not flags.FLAGS["verbosity"].present:
    # Otherwise JAX lists the platforms that this machine lacks.
    logging.set_verbosity(logging.WARNING)
  try:
    summary = _run()
  except (ValueError, OSError) as error:
    print("error:", " ".join(str(error).split()), file=sys.stderr)
    return 1
  share = summary.reachable_states / max(summary.states, 1)
  print(
    f"{_OUTPUT.value}: {summary.steps} steps of {summary.rollouts} rollouts "
    f"of {summary.tasks} tasks; {summary.successes} rollouts "
    f"({summary.successes / summary.rollouts:.1%}) succeeded; success can be "
    f"reached from {share:.1%} of {summary.states} states"
  )
  return 0


if __name__ == "__main__":
  app.run(main)
