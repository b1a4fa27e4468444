"""The process that reads damaged files, with little memory and time a case."""

import faulthandler
import json
import logging
import pathlib
import resource
import signal
import sys
import tempfile
import threading
import traceback
import warnings

import absl.logging

from tests.fuzz import target as target_lib
from tests.fuzz import targets

# What a reader may take beyond what the process has: damaged files are a few
# kilobytes. Threads and allocators reserve address space without using it.
MEMORY = 2**30
# Of the processor. A case takes milliseconds, so that this means no end.
SECONDS = 60
# On the clock: for what waits for ever. Machines may be frozen meanwhile.
WAITING = 1800
# They are ValueErrors, but tell nobody which file is at fault.
_UNCLEAR = (UnicodeDecodeError, UnicodeEncodeError, json.JSONDecodeError)


def _limit_memory():
  try:
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
  except OSError:  # Not on Linux.
    return
  used = pages * resource.getpagesize()
  _, hard = resource.getrlimit(resource.RLIMIT_AS)
  resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))


def _be_quiet():
  """Nothing is printed of what readers tell beside their error."""
  warnings.simplefilter("ignore")
  absl.logging.set_verbosity(absl.logging.FATAL)
  # Orbax leaves tasks behind whose errors nobody asks for.
  logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
  sys.unraisablehook = lambda _: None
  threading.excepthook = lambda _: None


def _lift_limit():
  _, hard = resource.getrlimit(resource.RLIMIT_AS)
  resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _start_watchdog():
  # The system ends the process, whatever code it is in; the parent knows the
  # case.
  for number in (signal.SIGPROF, signal.SIGALRM):
    faulthandler.register(number, chain=True)


def _watch(seconds, waiting):
  signal.setitimer(signal.ITIMER_PROF, seconds)
  signal.setitimer(signal.ITIMER_REAL, waiting)


def read_case(target, files, case=None):
  """Reads the damaged files of a case; the sound ones without a number.

  Returns:
    The name of the error or "accepted", and the traceback of an error that
    the reader does not promise.
  """
  damaged = files if case is None else target.damaged(files, case)
  with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
    place = pathlib.Path(folder) / "files"
    place.mkdir()
    target_lib.write(place, damaged)
    try:
      target.read(place)
    except BaseException as error:
      if isinstance(error, KeyboardInterrupt):
        raise
      name = type(error).__name__
      promised = isinstance(error, target.errors)
      clear = type(error) not in _UNCLEAR
      if promised and clear and not target_lib.out_of_memory(error):
        return name, None
      return name, traceback.format_exc()
  return "accepted", None


def sound_files(target):
  """The files of a target before they are damaged.

  Raises:
    AssertionError: the reader does not take them.
  """
  with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
    target.make(pathlib.Path(folder))
    files = target_lib.contents(pathlib.Path(folder))
  name, fault = read_case(target, files)
  assert name == "accepted", fault or f"{name} from sound files"
  return files


def run(pipe, jobs):
  """Reads cases of some targets and tells of each.

  Args:
    pipe: gets ("begin", name, case) before each case and ("end", name, case,
      outcome, fault) after it; or ("broken", name, text) where not even the
      sound files are read.
    jobs: name of a target, its first case and the one after the last; each.
  """
  _be_quiet()
  _start_watchdog()
  for name, first, last in jobs:
    target = targets.BY_NAME[name]
    try:
      files = sound_files(target)
    except Exception:
      pipe.send(("broken", name, traceback.format_exc()))
      continue
    for case in range(first, last):
      pipe.send(("begin", name, case))
      _limit_memory()
      _watch(SECONDS, WAITING)
      outcome, fault = read_case(target, files, case)
      _watch(0, 0)
      _lift_limit()
      pipe.send(("end", name, case, outcome, fault))
