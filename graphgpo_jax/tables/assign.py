"""Credit for a table of logged steps, whatever framework logged them.

Everything of a row's own runs on the host in NumPy; graphs, distances and
advantages run on the device, a compiled function for each of a few shapes.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphgpo_jax.credit import estimators
from graphgpo_jax.tables import (
  packing,
  table_columns,
  table_device,
  table_options,
  table_parts,
  table_rows,
  text_similarity,
)

TableSummary = packing.TableSummary

# Estimators that leave the single step out of it.
_EPISODE_ONLY = ("grpo", "rloo")
# Estimators whose step signal is graphgpo's.
_GRAPH_RETURN = ("graphgpo", "tigpo")


def assign_credit(
  steps: Mapping[str, Any],
  estimator: str | estimators.Estimator = "graphgpo",
  *,
  state_similarity: float | None = None,
  state_similarity_by: str = "jaccard",
  **options,
) -> dict[str, np.ndarray]:
  """Distance, return and advantage of every step of a table.

  Columns of `steps`, one entry per step, rows in any order:

    task             id of the group whose rollouts are compared
    trajectory       id of the rollout, unique within its task
    t                integer; orders a rollout's steps, numbers may be missing
    observation      the state before the step; see `state_keys` for types
    next_observation the state after it; must be the next row's observation.
                     That of a success's last step is replaced by SUCCESS
    success          whether the rollout succeeded, the same on all its steps
    episode_return   optional; success_reward for a success, else 0
    reward           optional; episode_return on the last step, else 0
    action_valid     optional; True
    cost             optional; 1, in cost units, at least 0
    action           optional; what was done, of any type an observation may
                     have. Read for estimators that tell actions apart, and
                     for functions; without it an action is where it led

  Other columns are left alone.

  Args:
    steps: mapping of column name to sequence (lists, arrays, data frame).
    estimator: a name in `credit.ESTIMATORS`, or a function with the signature
      of those.
    state_similarity: in (0, 1]; observations of a task that are texts at least
      as similar are one state, and so are chains of them; see
      `near_equal.merge_near_equal`. None: equal observations alone.
    state_similarity_by: "jaccard" or "ratio" (needs the extra `[text]`).
    **options: keywords of the estimator, and in place of its `normalize`:
      normalization ("mean_std" or "mean"), epsilon and ddof. `success_reward`
      (10) goes with every estimator: it fills the columns above. Changing a
      number that is no integer does not compile again.

  Returns:
    dict of float32 [n] in the input's row order: distance and next_distance
    (cost units), graph_return and graph_advantage for graphgpo and tigpo,
    step_return and step_advantage for others that look at single steps,
    episode_advantage and advantage.

  Raises:
    ValueError: a column, row, rollout or option is wrong; the message names
      it, rows counted from 0, and says what was expected.
  """
  return credit_table(
    steps,
    estimator,
    state_similarity=state_similarity,
    state_similarity_by=state_similarity_by,
    **options,
  )[0]


def credit_table(
  steps: Mapping[str, Any],
  estimator: str | estimators.Estimator = "graphgpo",
  *,
  state_similarity: float | None = None,
  state_similarity_by: str = "jaccard",
  **options,
) -> tuple[dict[str, np.ndarray], TableSummary]:
  """`assign_credit`, and a summary of the table.

  Args:
    steps: as for `assign_credit`.
    estimator: as for `assign_credit`.
    state_similarity: as for `assign_credit`.
    state_similarity_by: as for `assign_credit`.
    **options: as for `assign_credit`.

  Returns:
    The credit columns, and a TableSummary.

  Raises:
    ValueError: as `assign_credit`.
  """
  checked = table_options.read_options(estimator, options)
  near = near_options(state_similarity, state_similarity_by)
  columns = table_columns.read_columns(steps)

  def read(part):
    return table_rows.read_rows(
      part,
      success_reward=checked.success_reward,
      near=near,
      with_actions=checked.reads_actions,
    )

  parts = table_parts.split_tasks(columns)
  if len(parts) == 1:
    return credit_rows(read(columns), checked)
  try:
    # The device computes a part while the next one is read.
    started = [packing.start(read(part), checked) for part in parts]
  except ValueError:
    # The whole table names the row by the caller's number.
    return credit_rows(read(columns), checked)
  return _finish(started, checked.estimator)


def near_options(
  state_similarity: float | None, state_similarity_by: str
) -> dict[str, Any] | None:
  """Options of `near_equal.merge_near_equal`, checked; None for none.

  Raises:
    ValueError: an option is out of its range; the message names it.
    ImportError: a similarity's extra is not installed.
  """
  if state_similarity is None:
    return None
  try:
    text_similarity.check_options(state_similarity, state_similarity_by, None)
  except ValueError as error:
    raise ValueError(
      f"state_similarity={state_similarity!r}, state_similarity_by="
      f"{state_similarity_by!r}: {error}"
    ) from None
  return {"threshold": state_similarity, "similarity": state_similarity_by}


def credit_rows(
  rows: table_rows.Rows, options: table_options.Options
) -> tuple[dict[str, np.ndarray], TableSummary]:
  """Credit of rows that are read and checked.

  Args:
    rows: n >= 1 steps.
    options: of the estimator.

  Returns:
    The credit columns, float32 [n] in the input's row order, and a
    TableSummary. The credit of a task does not depend on the others.
  """
  return _finish([packing.start(rows, options)], options.estimator)


def _finish(pending, estimator):
  """Credit columns and summary of parts that follow one another."""
  finished = [packing.finish(part) for part in pending]
  summary = TableSummary(
    **{
      field.name: sum(getattr(counts, field.name) for _, counts in finished)
      for field in dataclasses.fields(TableSummary)
    }
  )
  columns = {
    name: np.concatenate([credit[field] for credit, _ in finished])
    for name, field in _column_names(estimator).items()
  }
  return columns, summary


def credit_columns(estimator: estimators.Estimator) -> tuple[str, ...]:
  """Names of the credit columns of an estimator, in their order."""
  return tuple(_column_names(estimator))


def _is_one_of(estimator, names):
  return any(estimator is estimators.ESTIMATORS.get(name) for name in names)


def _column_names(estimator):
  """Column name to field of Credit."""
  fields = {name: name for name in table_device.CREDIT_FIELDS}
  if _is_one_of(estimator, _GRAPH_RETURN):
    fields["step_return"] = "graph_return"
    fields["step_advantage"] = "graph_advantage"
  elif _is_one_of(estimator, _EPISODE_ONLY):
    del fields["step_return"], fields["step_advantage"]
  return {name: field for field, name in fields.items()}
