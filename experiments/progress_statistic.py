"""Progress hidden in failures, idle steps in successes, of a log.

Command:

  python -m experiments.progress_statistic --rollouts=steps.parquet \
    --output=progress.json

A name that ends in .parquet is a Parquet file (pip install
graphgpo-jax[logs]), every other one JSON lines; columns as for
`experiments.assign_credit`. The log is read whole. Prints JSON, and writes it
to --output if given; `graphgpo_jax.progress_statistic` says what each number
is. The paper (arXiv 2605.26684) reports a failed_progress_share of 0.220 and a
successful_idle_share of 0.653 on its ALFWorld.
"""

import dataclasses
import json
import sys
from typing import Any

from absl import app, flags, logging

from graphgpo_jax.tables import jsonl, progress_statistic, table_columns
from graphgpo_jax.tables.logs import credit_file, parquet_source

_ROLLOUTS = flags.DEFINE_string(
  "rollouts", None, "JSONL or Parquet file, a row per step.", required=True
)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.")
_ONLY_WITH_SUCCESS = flags.DEFINE_bool(
  "only_with_success", False, "Leave tasks without any success out."
)
_SIMILARITY = flags.DEFINE_float(
  "state_similarity", None, "Texts at least so similar are one state."
)
_SIMILARITY_BY = flags.DEFINE_enum(
  "state_similarity_by",
  "jaccard",
  ["jaccard", "ratio"],
  "How similar texts are (ratio: longest common subsequence, extra [text]).",
)


def read_log(path: str) -> dict[str, Any]:
  """Columns of a log in a file.

  Args:
    path: Parquet if its name ends in .parquet, else JSON lines.

  Returns:
    dict of column name to column, as `assign_credit` takes it.

  Raises:
    ValueError: the file or a row of it is malformed.
    ImportError: a Parquet file and no pyarrow.
    OSError: the file cannot be read.
  """
  if not credit_file.is_parquet(path):
    return jsonl.read_steps(path)
  source = parquet_source.ParquetSource(path)
  from pyarrow import parquet

  # The source has checked the file and its columns.
  table = parquet.read_table(
    path, columns=[*table_columns.REQUIRED, *source.optional]
  )
  return {name: table[name] for name in table.column_names}


def main(argv: list[str]) -> int:
  """Runs the command; 1 and one line on the error stream if it cannot."""
  if len(argv) > 1:
    print(f"error: unexpected argument {argv[1]!r}", file=sys.stderr)
    return 1
  if not flags.FLAGS["verbosity"].present:
    # Otherwise JAX lists the platforms that this machine lacks.
    logging.set_verbosity(logging.WARNING)
  try:
    found = progress_statistic.progress_statistic(
      read_log(_ROLLOUTS.value),
      only_with_success=_ONLY_WITH_SUCCESS.value,
      state_similarity=_SIMILARITY.value,
      state_similarity_by=_SIMILARITY_BY.value,
    )
    text = json.dumps(dataclasses.asdict(found), indent=1) + "\n"
    if _OUTPUT.value is not None:
      with jsonl.open_atomically(_OUTPUT.value) as file:
        file.write(text.encode())
  except (ValueError, OSError, ImportError) as error:
    print("error:", " ".join(str(error).split()), file=sys.stderr)
    return 1
  print(text, end="")
  return 0


if __name__ == "__main__":
  app.run(main)
