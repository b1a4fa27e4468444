"""Compares estimators in many worlds and writes one page of evidence.

python -m experiments.evidence --workdir=runs/evidence \
  --worlds=household,two_tiers,sokoban --estimators=all --seeds=0,1,2,3,4

Runs `experiments.compare` for each world in a process of its own, in
`<workdir>/<world>`; the same command goes on where it was stopped, and runs
that are finished are read. The page `evidence.md`, its numbers
`evidence.json` and its picture `evidence.png` are written after every world
from all finished runs that the workdir holds. `--report_only` writes them and
runs nothing. The worlds are those of experiments/evidence_worlds.py.
"""

import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
from typing import Any

from absl import flags

from experiments import PACKAGE, choices, evidence_worlds, running
from graphgpo_jax.credit import estimators
from graphgpo_jax.report import curves as curves_lib
from graphgpo_jax.report import evidence, intervals
from graphgpo_jax.training import comparison, workdir

_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder for all that is written.", required=True
)
_WORLDS = flags.DEFINE_list(
  "worlds",
  None,
  "Names of worlds; every world of the table without this flag, and with "
  "--report_only every world that the workdir holds.",
)
_ESTIMATORS = flags.DEFINE_list(
  "estimators", [choices.ALL], "Names of estimators, or all."
)
_SEEDS = flags.DEFINE_list(
  "seeds", ["0", "1", "2", "3", "4"], "Seeds of the runs."
)
_REFERENCE = flags.DEFINE_string(
  "reference", "graphgpo", "Estimator that the others are compared with."
)
_REPORT_ONLY = flags.DEFINE_bool(
  "report_only", False, "Write the page from what is there and run nothing."
)
_WORLDS_FILE = flags.DEFINE_string(
  "worlds_file",
  "experiments/evidence_worlds.py",
  "Python file with the table WORLDS, which is a config file by world, too.",
)

# What the last attempt at each world came to, by its name.
_ATTEMPTS = "attempts.json"


def _worlds(table: Any, folder: pathlib.Path) -> list[str]:
  """Names of the worlds to run or to report."""
  if _WORLDS.value is None:
    names = list(table)
    if _REPORT_ONLY.value:
      attempts = _read_attempts(folder)
      names = [n for n in names if n in attempts or (folder / n).is_dir()]
  else:
    names = _WORLDS.value
  for name in names:
    if name not in table:
      raise ValueError(
        f"--worlds: no world {name!r}; there are {', '.join(table)}"
      )
  if not names or len(set(names)) < len(names):
    where = f" in {folder}" if _REPORT_ONLY.value else ""
    raise ValueError(f"--worlds takes distinct names, got {names}{where}")
  return names


def _arguments(folder, world, names, seeds):
  """Arguments of the comparison of a world."""
  reference = [_REFERENCE.value] if _REFERENCE.value in names else []
  return [
    "-m",
    f"{PACKAGE}.compare",
    f"--config={_WORLDS_FILE.value}:{world}",
    f"--estimators={','.join(names)}",
    f"--seeds={','.join(map(str, seeds))}",
    *(f"--reference={name}" for name in reference),
    f"--workdir={folder / world}",
  ]


def _read_attempts(folder):
  try:
    found = json.loads((folder / _ATTEMPTS).read_text())
  except FileNotFoundError:
    return {}
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{folder / _ATTEMPTS} is not JSON: {error}") from error
  if not isinstance(found, dict):
    raise ValueError(f"{folder / _ATTEMPTS} holds no JSON object")
  return found


def _note(folder, world, outcome):
  """Keeps what an attempt came to; None for success."""
  attempts = {**_read_attempts(folder), world: outcome}
  partial = folder / f"{_ATTEMPTS}.partial"
  partial.write_text(json.dumps(attempts, indent=1) + "\n")
  os.replace(partial, folder / _ATTEMPTS)


def _compare(folder, world, names, seeds):
  """Runs a world's comparison to its end; returns its failure or None.

  What it writes to stderr is shown and kept in `<world>.log`.
  """
  _note(folder, world, "it was stopped before its end")
  arguments = _arguments(folder, world, names, seeds)
  process = subprocess.Popen(
    [sys.executable, *arguments], stderr=subprocess.PIPE, text=True
  )
  assert process.stderr is not None
  try:
    with (folder / f"{world}.log").open("w", encoding="utf-8") as log:
      last = ""
      for line in process.stderr:
        sys.stderr.write(line)
        log.write(line)
        last = line.strip() or last
    status = process.wait()
  finally:
    # An orphan would write into the folder that the next start works in.
    process.terminate()
    process.wait()
  failure = None
  if status:
    failure = f"exit status {status}, {last or 'no message'}"
  _note(folder, world, failure)
  return failure


def _runs_of(folder):
  """Estimators and seeds that a world's folder has a place for."""
  found = []
  for place in sorted(folder.glob("*-*")):
    name, _, seed = place.name.rpartition("-")
    if place.is_dir() and seed.isdecimal():
      found.append((name, int(seed)))
  order = [_REFERENCE.value, *estimators.ESTIMATORS]
  return sorted(
    found,
    key=lambda run: (
      order.index(run[0]) if run[0] in order else len(order),
      run,
    ),
  )


def _gather(folder, world, description, wanted):
  """What there is of a world; draws its curves."""
  place = folder / world
  runs = _runs_of(place)
  config = workdir.read_config(place) if runs else {}
  total = config.get("num_updates", 0)
  curves: dict[str, dict[int, comparison.Curve]] = {}
  options: dict[str, dict] = {}
  for name, seed in runs:
    run = place / f"{name}-{seed}"
    curve = comparison.read_curve(run / "metrics.jsonl", num_updates=total)
    if curve is not None:
      curves.setdefault(name, {})[seed] = curve
      settings = workdir.read_config(run)["estimator_options"]
      options.setdefault(name, settings.get(name, {}))
  wanted = list(dict.fromkeys([*runs, *wanted]))
  picture = None
  if curves:
    picture = f"{world}/curves.png"
    curves_lib.draw_curves(
      curves,
      folder / picture,
      title=f"{world}: success by update",
      reference=_REFERENCE.value if _REFERENCE.value in curves else None,
    )
  names = list(dict.fromkeys(name for name, _ in wanted))
  seeds = sorted({seed for _, seed in wanted})
  arguments = _arguments(folder, world, names, seeds)
  return evidence.WorldRuns(
    name=world,
    description=description,
    command=_command(arguments),
    num_updates=total,
    eval_every=config.get("eval_every", 0),
    curves=curves,
    wanted=wanted,
    options=options,
    failure=_read_attempts(folder).get(world),
    picture=picture,
  )


def _command(arguments):
  return shlex.join(["python", *arguments])


def _report(folder, table, asked, wanted):
  """Writes page, numbers and picture from the finished runs."""
  reference = _REFERENCE.value
  held = [world for world in table if (folder / world).is_dir()]
  worlds = asked if _REPORT_ONLY.value else list(dict.fromkeys(asked + held))
  gathered = [
    _gather(
      folder,
      world,
      table[world].describe(),
      wanted if world in asked else [],
    )
    for world in worlds
  ]
  numbers = evidence.measure(gathered, reference=reference)
  columns = {
    world: {name: entry["iqm_area"] for name, entry in summary.items()}
    for world, summary in numbers["worlds"].items()
  }
  over = {n: entry["area"] for n, entry in numbers["over_worlds"].items()}
  picture = None
  if columns:
    picture = "evidence.png"
    intervals.draw_intervals(
      {"over the worlds": over, **columns} if over else columns,
      folder / picture,
      title="area under the curve: interquartile mean, 95 % interval",
      reference=reference,
    )
  runs = [run for world in gathered for run in world.wanted]
  words = [
    "-m",
    f"{PACKAGE}.evidence",
    f"--workdir={_WORKDIR.value}",
    f"--worlds={','.join(worlds)}",
    f"--estimators={','.join(dict.fromkeys(name for name, _ in runs))}",
    f"--seeds={','.join(map(str, sorted({seed for _, seed in runs})))}",
    f"--reference={reference}",
  ]
  if _WORLDS_FILE.value != _WORLDS_FILE.default:
    words.append(f"--worlds_file={_WORLDS_FILE.value}")
  text = evidence.page(
    gathered,
    numbers,
    reference=reference,
    command=_command(words),
    picture=picture,
  )
  (folder / "evidence.md").write_text(text, encoding="utf-8")
  (folder / "evidence.json").write_text(json.dumps(numbers, indent=1) + "\n")


def main(argv):
  """Runs the binary."""
  running.refuse_arguments(argv)
  folder = pathlib.Path(_WORKDIR.value)
  worlds_file = pathlib.Path(running.find_config(_WORLDS_FILE.value))
  table = evidence_worlds.load_module(worlds_file).WORLDS
  worlds = _worlds(table, folder)
  curves_lib.require_matplotlib()
  if _REPORT_ONLY.value:
    _report(folder, table, worlds, [])
    print(f"page: {folder / 'evidence.md'}")
    return
  names = choices.estimator_names(_ESTIMATORS.value)
  seeds = choices.seeds(_SEEDS.value)
  if _REFERENCE.value not in names:
    raise ValueError(
      f"--reference={_REFERENCE.value} is none of --estimators="
      f"{','.join(names)}"
    )
  folder.mkdir(parents=True, exist_ok=True)
  # As an exception, so that the world's process is ended with this one.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
  wanted = [(name, seed) for name in names for seed in seeds]
  failed = []
  for index, world in enumerate(worlds):
    print(f"world {index + 1}/{len(worlds)}: {world}", flush=True)
    failure = _compare(folder, world, names, seeds)
    if failure is not None:
      failed.append(world)
      print(f"{world} failed: {failure}", flush=True)
    _report(folder, table, worlds, wanted)
  print(f"page: {folder / 'evidence.md'}")
  if failed:
    raise ValueError(
      f"{len(failed)} of {len(worlds)} worlds failed: {', '.join(failed)}; "
      f"their messages are in {folder}/<world>.log"
    )


if __name__ == "__main__":
  running.run(main)
