"""Credit for a dump of another framework, from file to file, row by row."""

from collections.abc import Mapping

import numpy as np

from graphgpo_jax.credit import estimators
from graphgpo_jax.tables import assign, jsonl
from graphgpo_jax.tables.logs import credit_file
from graphgpo_jax.tables.readers import safetensors_dump, verl_agent


def credit_dump(
  rollouts: str,
  output: str,
  estimator: str | estimators.Estimator = "graphgpo",
  *,
  columns: Mapping[str, str] | None = None,
  success_above: float = 0.0,
  **options,
) -> assign.TableSummary:
  """`assign_credit` for a dump of verl-agent's batch.

  Row i of the output is row i of the dump. JSON lines hold task, trajectory, t
  and the credit columns; a .safetensors file the credit columns as float32
  [n], for `safetensors.torch.load_file(output)["advantage"]`. A row that is
  not active has no credit: null, or NaN in tensors.

  Args:
    rollouts: as `path` of `verl_agent.read_steps`.
    output: the file to write, another one than `rollouts`.
    estimator: as for `assign_credit`.
    columns: as for `verl_agent.read_steps`.
    success_above: as for `verl_agent.read_steps`.
    **options: as for `assign_credit`.

  Returns:
    A TableSummary of the active rows.

  Raises:
    ValueError: as `verl_agent.read_steps` and `assign_credit`, or the output is
      the input or ends in .parquet.
    ImportError: safetensors is not installed.
    OSError: a file cannot be read or written.
  """
  credit_file.check_paths(rollouts, output)
  if safetensors_dump.is_safetensors(rollouts):
    credit_file.check_paths(safetensors_dump.sidecar_path(rollouts), output)
  if credit_file.is_parquet(output):
    raise ValueError(
      f"{output}: expected a name that ends in {safetensors_dump.ENDING}, or "
      "JSON lines"
    )
  dump = verl_agent.read_steps(
    rollouts, columns=columns, success_above=success_above
  )
  credit, summary = assign.credit_table(dump.steps, estimator, **options)
  if safetensors_dump.is_safetensors(output):
    tensors = {
      name: np.full(dump.num_rows, np.nan, np.float32) for name in credit
    }
    for name, column in credit.items():
      tensors[name][dump.rows] = column
    safetensors_dump.write_safetensors(output, tensors)
    return summary
  lines = jsonl.row_lines(
    {name: dump.steps[name] for name in ("task", "trajectory", "t")} | credit
  ).splitlines(keepends=True)
  no_line = jsonl.row_lines(
    {name: [None] for name in ("task", "trajectory", "t", *credit)}
  )
  rows = [no_line] * dump.num_rows
  for row, line in zip(dump.rows.tolist(), lines, strict=True):
    rows[row] = line
  with jsonl.open_atomically(output) as file:
    file.writelines(rows)
  return summary
