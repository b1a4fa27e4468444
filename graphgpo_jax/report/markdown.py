"""Markdown tables that line up, and how numbers stand in them."""

from collections.abc import Sequence

from graphgpo_jax.training import aggregate


def table(rows: Sequence[Sequence[str]]) -> str:
  """Rows of cells as a Markdown table with columns of even width.

  Args:
    rows: the header first; all of one length.

  Returns:
    The table, without a line break at its end.

  Raises:
    ValueError: rows differ in length.
  """
  if len({len(row) for row in rows}) != 1:
    raise ValueError(
      f"rows must be of one length, got {[len(row) for row in rows]}"
    )
  # A bar would end the cell.
  cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
  widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
  lines = [
    " | ".join(
      cell.ljust(width) for cell, width in zip(row, widths, strict=True)
    )
    for row in cells
  ]
  lines.insert(1, " | ".join("-" * width for width in widths))
  return "\n".join(f"| {line} |" for line in lines)


def spread(pair: tuple[float, float | None], digits: int) -> str:
  """A mean and half its interval: `0.61 ± 0.04`, or the mean alone."""
  mean, half = pair
  if half is None:
    return f"{mean:.{digits}f}"
  return f"{mean:.{digits}f} ± {half:.{digits}f}"


def estimate(number: aggregate.Estimate, digits: int) -> str:
  """A number and its interval: `0.61 [0.57, 0.65]`, or the number alone."""
  if number.low is None or number.high is None:
    return f"{number.value:.{digits}f}"
  return (
    f"{number.value:.{digits}f} "
    f"[{number.low:.{digits}f}, {number.high:.{digits}f}]"
  )
