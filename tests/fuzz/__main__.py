"""Reads damaged files of every kind and tells what came of it.

python -m tests.fuzz
python -m tests.fuzz --target=gguf --cases=5000
python -m tests.fuzz --target=gguf --case=1234 --keep=case

A case is told by its number: its damage is drawn from that alone. With --case
it is read in this process, so that a debugger can look; --keep writes its files
to a folder.
"""

import argparse
import pathlib
import sys

from tests.fuzz import child, runner, target, targets


def main():
  """Runs the command line; the exit status is 1 if there is a defect."""
  parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
  parser.add_argument("--target", choices=targets.BY_NAME, default=None)
  parser.add_argument("--cases", type=int, help="of each target")
  parser.add_argument("--first", type=int, default=0, help="number of a case")
  parser.add_argument("--case", type=int, help="one case alone, here")
  parser.add_argument("--keep", type=pathlib.Path, help="folder for its files")
  options = parser.parse_args()
  chosen = (
    targets.TARGETS
    if options.target is None
    else (targets.BY_NAME[options.target],)
  )
  if options.case is not None:
    if options.target is None:
      parser.error("--case needs --target")
    return _one(chosen[0], options.case, options.keep)
  total = defects = 0
  for one in chosen:
    if one.missing:
      print(f"{one.name}: left out, {', '.join(one.missing)} missing")
      continue
    last = options.first + (options.cases or one.cases)
    report = runner.run([(one.name, options.first, last)])[one.name]
    counts = ", ".join(
      f"{name} {count}" for name, count in sorted(report.counts.items())
    )
    number = sum(report.counts.values())
    print(f"{one.name}: {number} cases: {counts}", flush=True)
    if report.broken:
      print(report.broken)
    for case, text in report.defects.items():
      print(f"DEFECT {one.name} --case={case}\n{text}", flush=True)
    total += number
    defects += len(report.defects) + bool(report.broken)
  print(f"{total} cases, {defects} defects")
  return int(defects > 0)


def _one(chosen, case, keep):
  files = child.sound_files(chosen)
  if keep is not None:
    target.write(keep, chosen.damaged(files, case))
  outcome, fault = child.read_case(chosen, files, case)
  print(f"{chosen.name}, case {case}: {outcome}")
  if fault:
    print(fault)
  return int(fault is not None)


if __name__ == "__main__":
  sys.exit(main())
