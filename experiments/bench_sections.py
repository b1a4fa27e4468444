"""What the benches of several sections share: which to run, and running them.

A section is a module with `measure(options) -> dict` and `table(found) -> str`.
"""

import json
import os
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import bench_machine


def chosen(names: Sequence[str], sections: Mapping[str, Any]) -> list[str]:
  """The sections to run, in the order of the table.

  Args:
    names: what --sections says.
    sections: module of each section by its name.

  Raises:
    ValueError: there is no such section, or none is named.
  """
  expected = f"expected some of {', '.join(sections)}"
  for name in names:
    if name not in sections:
      raise ValueError(f"--sections: unknown section {name!r}: {expected}")
  if not names:
    raise ValueError(f"--sections: {expected}")
  return [name for name in sections if name in names]


def run(
  names: Sequence[str],
  sections: Mapping[str, Any],
  options: Any,
  output: pathlib.Path,
  **facts: Any,
) -> dict[str, Any]:
  """Measures section after section, printing each table.

  Args:
    names: of `chosen`.
    sections: module of each section by its name.
    options: for `measure`.
    output: JSON file, written anew after each section.
    **facts: what else the file says.

  Returns:
    What the file holds: `machine`, the facts, and each section's findings with
    its `section_seconds`.
  """
  machine = bench_machine.facts()
  print(bench_machine.line(machine), flush=True)
  results: dict[str, Any] = {"machine": machine, **facts}
  for name in names:
    started = time.perf_counter()
    results[name] = sections[name].measure(options)
    took = time.perf_counter() - started
    results[name]["section_seconds"] = took
    print(f"\n{name} ({took:.0f} s)\n{sections[name].table(results[name])}")
    sys.stdout.flush()
    machine["load_average_after"] = os.getloadavg()
    output.write_text(json.dumps(results, indent=1) + "\n")
  load = machine["load_average_after"][0]
  print(f"\nload average afterwards {load:.1f}\n{output}")
  return results
