"""Runs cases in processes of their own and gathers what came of them."""

import collections
import dataclasses
import multiprocessing
import signal

from tests.fuzz import child


@dataclasses.dataclass
class Report:
  """What came of the cases of a target.

  Attributes:
    counts: cases by the name of the error, or "accepted".
    defects: traceback, or how the process ended, by case.
    broken: why not even the sound files were read.
  """

  counts: collections.Counter
  defects: dict[int, str]
  broken: str | None = None


def _ending(exitcode):
  if exitcode is not None and exitcode < 0:
    name = signal.Signals(-exitcode).name
    hint = {
      "SIGPROF": f", after {child.SECONDS} s of processor time",
      "SIGALRM": f", after {child.WAITING} s of waiting",
    }.get(name, "")
    return f"the process was ended by {name}{hint}"
  return f"the process ended with status {exitcode}"


def run(jobs, *, entry=child.run) -> dict[str, Report]:
  """Reads cases of some targets, one after the other.

  A process that a case has ended gives way to another, which goes on with the
  next case.

  Args:
    jobs: name of a target, its first case and the one after the last; each.
    entry: what the processes do; a function of a pipe and of jobs.

  Returns:
    Reports by name.
  """
  reports = {name: Report(collections.Counter(), {}) for name, _, _ in jobs}
  left = list(jobs)
  # Not forked: the parent may have threads.
  context = multiprocessing.get_context("spawn")
  while left:
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=entry, args=(sender, left))
    process.start()
    sender.close()
    running = None
    while True:
      try:
        kind, name, *rest = receiver.recv()
      except EOFError:
        break
      if kind == "broken":
        reports[name].broken = rest[0]
        continue
      running = (name, rest[0])
      if kind == "end":
        case, outcome, fault = rest
        running = None
        reports[name].counts[outcome] += 1
        if fault is not None:
          reports[name].defects[case] = fault
    process.join()
    receiver.close()
    if running is None and process.exitcode == 0:
      break
    if running is None:
      raise RuntimeError(f"{_ending(process.exitcode)}, in no case")
    name, case = running
    reports[name].counts["ended"] += 1
    reports[name].defects[case] = _ending(process.exitcode)
    place = [job[0] for job in left].index(name)
    left = [(name, case + 1, left[place][2]), *left[place + 1 :]]
  return reports
