"""Measures what saving costs a run, and how soon a restart trains again.

python -m experiments.bench_restart \
  --config=experiments/configs/household.py --save_every=50 --num_saves=3

Starts experiments.train as a process, stops it by SIGTERM after `--num_saves`
saves, starts it again and waits for the first new line of metrics. Prints

* the share of training time that saves take from the training thread: the sum
  of `time/save` over what passed of `time/total`, from the first update on, the
  first save told apart;
* seconds from the start of the process to the end of its first update, the
  first time and after the restart, whose programs come from the compile cache.

Both shares and seconds are of one machine under one load. Further arguments go
to experiments.train: after `--`, for instance -- --config.mesh.cpu_devices=2.
Expected: at most 5 % for saves, at most 30 s for a restart.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from absl import flags

from experiments import PACKAGE, running
from graphgpo_jax.training import metrics

_CONFIG = flags.DEFINE_string("config", None, "Config file of the run.")
_SAVE_EVERY = flags.DEFINE_integer(
  "save_every", 50, "Updates from save to save.", lower_bound=1
)
_NUM_SAVES = flags.DEFINE_integer(
  "num_saves", 3, "Saves, the first of which is told apart.", lower_bound=2
)
_TIMEOUT = flags.DEFINE_float("timeout", 3600, "Seconds that it may take.")


def _train(folder: pathlib.Path, until: int, further: list[str]) -> float:
  """Trains until a step is in the metrics; seconds to the first new update."""
  path = folder / "run" / "metrics.jsonl"
  before = _steps(path)
  command = [
    *(sys.executable, "-m", f"{PACKAGE}.train"),
    f"--config={_CONFIG.value}",
    f"--workdir={folder / 'run'}",
    f"--config.checkpoint_every={_SAVE_EVERY.value}",
    "--config.num_updates=1000000000",
    "--config.tensorboard=False",
    *further,
  ]
  started = time.monotonic()
  first = None
  process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
  try:
    while True:
      if process.poll() is not None:
        raise OSError(f"experiments.train ended with {process.returncode}")
      seconds = time.monotonic() - started
      if seconds > _TIMEOUT.value:
        raise OSError(f"nothing after --timeout={_TIMEOUT.value} s")
      steps = _steps(path)
      if first is None and steps > max(before, 1):
        first = seconds
      if first is not None and steps > until:
        break
      time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    if process.wait(timeout=_TIMEOUT.value):
      raise OSError(f"experiments.train ended with {process.returncode}")
  finally:
    process.kill()
    process.wait()
  return first


def _steps(path: pathlib.Path) -> int:
  """Lines of the metrics: updates done and one."""
  return path.read_bytes().count(b"\n") if path.exists() else 0


def _share_of_saves(lines: list[dict[str, Any]], until: int) -> dict[str, Any]:
  timed = [line for line in lines if 1 < line["step"] <= until]
  saves = [line["time/save"] for line in timed if line["time/save"]]
  # The first starts what later ones use; it comes once in a run.
  first = saves.pop(0)
  total = timed[-1]["time/total"] - lines[1]["time/total"] - first
  return {
    "updates": len(timed),
    "first_save_seconds": first,
    "saves": len(saves),
    "save_seconds": sum(saves),
    "training_seconds": total,
    "percent": 100 * sum(saves) / total,
  }


def main(argv):
  """Runs the binary."""
  further = list(argv[1:])
  until = _SAVE_EVERY.value * _NUM_SAVES.value + 1
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    cold = _train(folder, until, further)
    lines = metrics.read_metrics(folder / "run" / "metrics.jsonl")
    found = _share_of_saves(lines, until)
    # At once: the restart may yet fail.
    print(json.dumps(found), flush=True)
    warm = _train(folder, 0, further)
  found |= {"first_start_seconds": cold, "restart_seconds": warm}
  print(json.dumps(found, indent=1))
  print(
    f"{found['saves']} saves: {found['percent']:.2f} % of training time (the "
    f"first: {found['first_save_seconds']:.1f} s); first update after "
    f"{cold:.1f} s, after a restart {warm:.1f} s; load average "
    f"{os.getloadavg()[0]:.1f}"
  )


if __name__ == "__main__":
  flags.mark_flag_as_required("config")
  running.run(main)
