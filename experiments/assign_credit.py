"""Credit for logged steps, from file to file, whatever their size.

Command:

  python -m experiments.assign_credit --rollouts=steps.parquet \
    --output=credit.parquet --estimator=graphgpo --omega=0.1

A name that ends in .parquet is a Parquet file (pip install
graphgpo-jax[logs]), every other one JSON lines; both sides may differ. Each
row or line of --rollouts is one step: task, trajectory, t, observation,
next_observation, success, and if logged reward, episode_return, action_valid,
cost, action; in any order of rows. Each row of --output is the step of the
same row: task, trajectory, t, and the credit columns of
`graphgpo_jax.tables.assign_credit`. Flags that are not given keep the
estimator's defaults.

The output appears when all of it is written. A run that was killed goes on
where it stopped when the same command is given again. With --on_error=skip, a
row at fault takes its rollout out; the rows are listed in
OUTPUT.errors.jsonl. `graphgpo_jax.tables.logs.credit_file` says more.

With --format=verl_agent, --rollouts is a dump of verl-agent's batch, JSON lines
or a .safetensors file with its JSON file beside it, and --output JSON lines or
a .safetensors file with a row for each of its rows. It is read at once. Where a
version has another key, --columns=observation=state_text,t=turn names it.
`graphgpo_jax.tables.readers.verl_agent` has the keys and how to get a dump.
"""

import inspect
import sys
from typing import Any

from absl import app, flags, logging

from graphgpo_jax.credit import estimators
from graphgpo_jax.tables import readers
from graphgpo_jax.tables.logs import credit_file

_ROLLOUTS = flags.DEFINE_string(
  "rollouts", None, "JSONL or Parquet file, a row per step.", required=True
)
_OUTPUT = flags.DEFINE_string(
  "output", None, "JSONL or Parquet file to write.", required=True
)
_ON_ERROR = flags.DEFINE_string(
  "on_error",
  "stop",
  "stop at a row at fault, or skip its rollout and list it.",
)
_RESTART = flags.DEFINE_bool(
  "restart", False, "Throw away what an unfinished run left."
)
_ROWS_PER_COMMIT = flags.DEFINE_integer(
  "rows_per_commit",
  credit_file.DEFAULT_ROWS_PER_COMMIT,
  "Rows that are computed, and if the run is killed lost, at once.",
)
_PROGRESS = flags.DEFINE_bool("progress", True, "Show rows per second.")
_FORMAT = flags.DEFINE_enum(
  "format",
  "steps",
  ["steps", "verl_agent"],
  "What --rollouts is: a table of steps, or a dump of verl-agent's batch.",
)
_COLUMNS = flags.DEFINE_list(
  "columns", None, "With verl_agent: column=key, where a key is another one."
)
_SUCCESS_ABOVE = flags.DEFINE_float(
  "success_above",
  None,
  "With verl_agent: a rollout with a greater episode_return succeeded (0).",
)
_ESTIMATOR = flags.DEFINE_string(
  "estimator", "graphgpo", f"One of {', '.join(estimators.ESTIMATORS)}."
)
# What the flags of the estimators' options say; others name their estimators.
_HELP = {
  "omega": "Distance discount in (0, 1).",
  "success_reward": "Reward of a successful rollout; fills absent columns.",
  "invalid_penalty": "What an inadmissible action costs, at least 0.",
  "unreachable_margin": "Distance of unreachable states past the farthest.",
  "step_weight": "Weight of the step or graph advantage.",
  "episode_weight": "Weight of the episode advantage.",
  "discount": "Reward discount in [0, 1].",
  "gae_lambda": "Decay of later TD errors in [0, 1].",
  "power": "From 1, the expectation, to inf, the shortest way.",
  "history_length": "States before the present one that are compared, too.",
  "episode_base": "Let the episode advantage join the average.",
  "fail_value": "What the end of a failure is worth.",
  "floor": "Least value or deviation that is divided by.",
  "penalty_only_with_success": "No penalty in tasks without success.",
  "add_step_cost": "Exponent d(s') + cost, as in the paper.",
  "normalize_distance": "Exponent d(s') - d(s) + 1.",
  "scale_free": "Exponent relative to the state's best step.",
  "distinct_edges": "Statistics over distinct edges, not steps.",
  "per_rollout": "Episode statistics over rollouts, not steps.",
}


def _define_options() -> list[Any]:
  """A flag for each option of any estimator that is a number or a boolean."""
  takers: dict[str, list[str]] = {}
  kinds: dict[str, type] = {}
  for estimator, function in estimators.ESTIMATORS.items():
    for name, parameter in inspect.signature(function).parameters.items():
      if type(parameter.default) in (bool, int, float):
        takers.setdefault(name, []).append(estimator)
        kinds[name] = type(parameter.default)
  define: dict[type, Any] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
  }
  everyone = len(estimators.ESTIMATORS)
  found = []
  for name, kind in kinds.items():
    text = _HELP.get(name, "Option of the estimator.")
    # Tables take this one with every estimator.
    if len(takers[name]) <= everyone // 2 and name != "success_reward":
      text += f" ({', '.join(takers[name])})"
    # None stands for the estimator's own default.
    found.append(define[kind](name, None, text))
  return found


_OPTIONS: list[Any] = [
  *_define_options(),
  flags.DEFINE_float(
    "epsilon", None, "Keeps small deviations from being blown up, above 0."
  ),
  flags.DEFINE_float(
    "state_similarity", None, "Texts at least so similar are one state."
  ),
  flags.DEFINE_enum(
    "state_similarity_by",
    None,
    ["jaccard", "ratio"],
    "How similar texts are (ratio: longest common subsequence, extra [text]).",
  ),
  flags.DEFINE_string("normalization", None, "mean_std or mean."),
  flags.DEFINE_integer("ddof", None, "1: sample deviation; 0: population's."),
]


def _columns() -> dict[str, str]:
  """Key by column, of --columns."""
  pairs = [pair.partition("=") for pair in _COLUMNS.value or ()]
  for (name, sign, key), given in zip(pairs, _COLUMNS.value or (), strict=True):
    if not (name and sign and key):
      raise ValueError(f"--columns: expected column=key, got {given!r}")
  return {name: key for name, _, key in pairs}


def _run_dump(options: dict[str, Any]) -> credit_file.FileSummary:
  for flag in (_ON_ERROR, _RESTART, _ROWS_PER_COMMIT):
    if flag.value != flag.default:
      raise ValueError(
        f"--{flag.name} is for --format=steps: a dump is read at once"
      )
  if _SUCCESS_ABOVE.value is not None:
    options = options | {"success_above": _SUCCESS_ABOVE.value}
  summary = readers.credit_dump(
    _ROLLOUTS.value,
    _OUTPUT.value,
    _ESTIMATOR.value,
    columns=_columns(),
    **options,
  )
  return credit_file.FileSummary(table=summary, left_out=0, faults_path=None)


def _run() -> credit_file.FileSummary:
  options = {
    flag.name: flag.value for flag in _OPTIONS if flag.value is not None
  }
  if _FORMAT.value == "verl_agent":
    return _run_dump(options)
  for flag in (_COLUMNS, _SUCCESS_ABOVE):
    if flag.value is not None:
      raise ValueError(f"--{flag.name} is for --format=verl_agent")
  return credit_file.credit_file(
    _ROLLOUTS.value,
    _OUTPUT.value,
    _ESTIMATOR.value,
    on_error=_ON_ERROR.value,
    rows_per_commit=_ROWS_PER_COMMIT.value,
    restart=_RESTART.value,
    show_progress=_PROGRESS.value,
    **options,
  )


def main(argv: list[str]) -> int:
  """Runs the command; 1 and one line on the error stream if it cannot."""
  if len(argv) > 1:
    print(f"error: unexpected argument {argv[1]!r}", file=sys.stderr)
    return 1
  if not flags.FLAGS["verbosity"].present:
    # Otherwise JAX lists the platforms that this machine lacks.
    logging.set_verbosity(logging.WARNING)
  try:
    found = _run()
  except (ValueError, OSError, ImportError) as error:
    print("error:", " ".join(str(error).split()), file=sys.stderr)
    return 1
  summary = found.table
  reachable = summary.reachable_states / max(summary.states, 1)
  succeeded = summary.successes / max(summary.rollouts, 1)
  print(
    f"{_OUTPUT.value}: {summary.steps} steps of {summary.rollouts} rollouts "
    f"of {summary.tasks} tasks; {summary.successes} rollouts "
    f"({succeeded:.1%}) succeeded; success can be reached from "
    f"{reachable:.1%} of {summary.states} states"
  )
  if found.left_out:
    print(f"{found.left_out} rows left out: {found.faults_path}")
  return 0


if __name__ == "__main__":
  app.run(main)
