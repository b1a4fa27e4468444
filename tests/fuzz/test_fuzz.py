"""A few hundred cases of `make fuzz`, and the fuzzer itself."""

import json
import os
import time

import numpy as np
import pytest

from tests.fuzz import child, mutations, runner, target, targets

CORE = [one for one in targets.TARGETS if one.core_cases]
EXTRA = [one for one in targets.TARGETS if one.packages]
# The most that one extra target reads here.
_EXTRA_CASES = 80


def test_shares_are_what_is_promised():
  assert sum(one.core_cases for one in CORE) >= 500
  assert not any(one.packages for one in CORE)
  assert sum(one.cases for one in targets.TARGETS) >= 10_000
  assert len(CORE) + len(EXTRA) == len(targets.TARGETS)
  assert len(targets.BY_NAME) == len(targets.TARGETS)


@pytest.fixture(scope="module")
def reports():
  # One process for all: to start it takes longer than the cases.
  return runner.run([(one.name, 0, one.core_cases) for one in CORE])


def assert_sound(report, cases):
  assert report.broken is None, report.broken
  assert not report.defects, "\n".join(
    f"--case={case}\n{text}" for case, text in report.defects.items()
  )
  assert sum(report.counts.values()) == cases


@pytest.mark.parametrize("one", CORE, ids=lambda one: one.name)
def test_damaged_files_raise_what_is_documented(one, reports):
  assert_sound(reports[one.name], one.core_cases)


@pytest.mark.parametrize(
  "one",
  [
    pytest.param(
      one,
      id=one.name,
      marks=pytest.mark.extra("logs" if one.name in targets.LOGS else "lm"),
    )
    for one in EXTRA
  ],
)
def test_damaged_files_of_extras_raise_what_is_documented(one):
  for package in one.packages:
    pytest.importorskip(package)
  report = runner.run([(one.name, 0, _EXTRA_CASES)])[one.name]
  assert_sound(report, _EXTRA_CASES)


@pytest.mark.parametrize("name", ["jsonl", "metrics", "config", "levels"])
def test_a_case_is_the_same_whenever_it_is_drawn(name):
  one = targets.BY_NAME[name]
  files = child.sound_files(one)
  drawn = [one.damaged(files, case) for case in range(20)]
  assert drawn == [one.damaged(files, case) for case in range(20)]
  assert sum(found != files for found in drawn) > 15
  assert len({json.dumps(str(found)) for found in drawn}) > 15


def test_damage_to_json_holds_what_readers_trip_over():
  value = {"a": [1, {"b": "text"}], "c": None}
  made = [
    mutations.damage_json(mutations.generator("json", case), value)
    for case in range(800)
  ]
  for piece in ("NaN", "1e999", "9" * 400, "../", "[" * mutations.DEEP):
    assert any(piece in text for text in made), piece[:9]
  twice = [text for text in made if text.count('"c"') == 2]
  assert twice
  # The value that was given stays as it is.
  assert value == {"a": [1, {"b": "text"}], "c": None}


def test_damage_to_bytes_cuts_and_grows():
  data = bytes(range(200))
  lengths = {
    len(mutations.damage_bytes(mutations.generator("bytes", case), data))
    for case in range(100)
  }
  assert min(lengths) < 200 < max(lengths)


# What a reader must not do, and what the fuzzer makes of it.


def _fails(folder):
  raise KeyError("neither promised nor clear")


def _fills_memory(folder):
  np.ones(2 * child.MEMORY, np.uint8)


def _hides_full_memory(folder):
  try:
    _fills_memory(folder)
  except MemoryError as error:
    raise ValueError("damaged") from error


def _never_ends(folder):
  while True:
    pass


def _waits_for_ever(folder):
  while True:
    time.sleep(60)


def _ends_the_process(folder):
  os._exit(3)


def _is_unclear(folder):
  json.loads("{")


BAD_READERS = {
  "fails": (_fails, "KeyError"),
  "fills memory": (_fills_memory, "MemoryError"),
  "hides full memory": (_hides_full_memory, "MemoryError"),
  "never ends": (_never_ends, "SIGPROF"),
  "waits for ever": (_waits_for_ever, "SIGALRM"),
  "ends the process": (_ends_the_process, "status 3"),
  "is unclear": (_is_unclear, "JSONDecodeError"),
}


class BadReader:
  """Reads sound files, and misbehaves on damaged ones."""

  def __init__(self, name):
    self._name = name

  def make(self, folder):
    # Made just before its cases. All others may be frozen for a while.
    child.WAITING = 2 if self._name == "waits for ever" else 3600
    (folder / "file.txt").write_text("sound\n")

  def read(self, folder):
    if (folder / "file.txt").read_bytes() != b"sound\n":
      BAD_READERS[self._name][0](folder)


def run_bad_readers(pipe, jobs):
  """`child.run` with readers that misbehave and little patience."""
  child.SECONDS = 1
  for name in BAD_READERS:
    reader = BadReader(name)
    targets.BY_NAME[name] = target.Target(name, reader.make, reader.read, 1)
  child.run(pipe, jobs)


@pytest.mark.slow
def test_what_readers_must_not_do_is_told_with_its_case():
  # The first case of each that does damage.
  jobs = []
  for name in BAD_READERS:
    reader = BadReader(name)
    one = target.Target(name, reader.make, reader.read, 1)
    files = {"file.txt": b"sound\n"}
    case = next(c for c in range(50) if one.damaged(files, c) != files)
    jobs.append((name, case, case + 1))
  reports = runner.run(jobs, entry=run_bad_readers)
  for name, case, _ in jobs:
    assert BAD_READERS[name][1] in reports[name].defects[case], name
