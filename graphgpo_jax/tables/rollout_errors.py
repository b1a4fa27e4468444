"""What is said of two rows that cannot be steps of one rollout."""

from typing import Any

_SHOWN = 60


def same_step(rows: str, name: str) -> ValueError:
  """Two rows of one t; `rows` as "3 and 4", `name` of the step."""
  return ValueError(
    f"rows {rows} are the same step: expected each (task, trajectory, t) once, "
    f"got {name} twice"
  )


def differs(column: str, rows: str, name: str) -> ValueError:
  """Two rows that differ in what is the whole rollout's."""
  return ValueError(
    f"column {column!r} differs between rows {rows}: expected one value per "
    f"rollout, {name}"
  )


def unchained(
  rows: str, name: str, next_observation: Any, observation: Any
) -> ValueError:
  """A row that does not lead to the next one."""
  return ValueError(
    f"rows {rows} do not chain ({name}): expected next_observation of the "
    f"first to equal observation of the second, got {_show(next_observation)} "
    f"and {_show(observation)}"
  )


def step_name(task: Any, trajectory: Any, time: Any) -> str:
  """How a message calls a step."""
  return f"task {task!s}, trajectory {trajectory!s}, t {time!s}"


def _show(observation: Any) -> str:
  text = repr(observation)
  return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
