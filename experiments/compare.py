"""Compares estimators over seeds, in one process, compiling once.

python -m experiments.compare --config=experiments/configs/household.py \
  --estimators=graphgpo,gigpo,grpo --seeds=0,1,2 --workdir=runs/compare

Writes `<estimator>-<seed>/metrics.jsonl` of every run, `results.json`,
`table.md` and `curves.png`. Runs that the workdir holds in full already are
read and not repeated.
"""

import json
import pathlib
import time

import jax
from absl import flags
from ml_collections import config_flags

from experiments import running
from graphgpo_jax.report import curves as curves_lib
from graphgpo_jax.training import (
  comparison,
  loop,
  metrics,
  progress,
  settings,
  workdir,
)

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "The config file that all runs share.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder for all that is written.", required=True
)
_ESTIMATORS = flags.DEFINE_list(
  "estimators", ["graphgpo", "gigpo", "grpo"], "Names of estimators."
)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of the runs.")


def _curve(path: pathlib.Path) -> dict[int, float]:
  if not path.exists():
    return {}
  return {
    int(line["step"]): line["eval/success"]
    for line in metrics.read_metrics(path)
    if "eval/success" in line
  }


def _run(experiment, estimator, seed, folder, bar, done):
  """Plays one run from its start and writes its metrics."""
  path = folder / "metrics.jsonl"
  # A run that was stopped is repeated as a whole: it is a matter of seconds.
  path.unlink(missing_ok=True)
  folder.mkdir(parents=True, exist_ok=True)
  writer = metrics.MetricsWriter(folder, tensorboard=False)
  start = loop.initial_state(experiment, seed)
  for state, values in loop.iterate(
    experiment, start, seed=seed, estimator=estimator
  ):
    step = int(state.step)
    writer.write(step, values)
    if "eval/success" in values:
      bar.show(done + step, {"success": values["eval/success"]})
  writer.close()


def _seeds() -> list[int]:
  try:
    seeds = [int(seed) for seed in _SEEDS.value]
  except ValueError as error:
    raise ValueError(
      f"--seeds takes integers, got {','.join(_SEEDS.value)}"
    ) from error
  if not seeds or len(set(seeds)) < len(seeds):
    raise ValueError(f"--seeds takes distinct integers, got {seeds}")
  return seeds


def main(argv):
  """Runs the binary."""
  running.refuse_arguments(argv)
  started = time.monotonic()
  config, seeds = _CONFIG.value, _seeds()
  names = _ESTIMATORS.value
  if not names or len(set(names)) < len(names):
    raise ValueError(f"--estimators takes distinct names, got {names}")
  settings.check_config(config)
  running.split_cpu(config)
  for name in names:
    settings.make_estimator(name, {})
  curves_lib.require_matplotlib()
  # Before the folder is claimed: what is refused here must not stand there.
  experiment = settings.Experiment(config)
  folder = workdir.claim_workdir(_WORKDIR.value, config)
  runs = [(name, seed) for seed in seeds for name in names]
  total = config.num_updates
  bar = progress.Progress(total * len(runs), title="compare")
  curves: dict[str, dict[int, dict[int, float]]] = {name: {} for name in names}
  compiled = False
  with bar.running():
    for index, (name, seed) in enumerate(runs):
      place = folder / f"{name}-{seed}"
      curve = _curve(place / "metrics.jsonl")
      if max(curve, default=-1) < total:
        if not compiled:
          bar.write("compiling: about half a minute before the first update")
          compiled = True
        _run(experiment, name, seed, place, bar, index * total)
        curve = _curve(place / "metrics.jsonl")
      curves[name][seed] = curve
      reached = comparison.updates_to(curve, 0.9)
      bar.write(
        f"{name}, seed {seed}: success {curve[total]:.2f} at update {total}, "
        + (f"90 % at update {reached}" if reached is not None else "90 % never")
      )
  checkpoints = sorted(
    {max(1, total * part // 5) for part in range(1, 6)}
    & set(next(iter(curves[names[0]].values())))
  )
  summary = comparison.summarise(curves, checkpoints=checkpoints)
  text = comparison.table(summary)
  (folder / "table.md").write_text(text + "\n")
  results = {"summary": summary, "curves": curves}
  (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
  picture = folder / "curves.png"
  title = f"{config.environment.name}: success by update"
  curves_lib.draw_curves(curves, picture, title=title)
  print(f"\n{text}\n")
  print(
    f"{len(runs)} runs of {total} updates in "
    f"{time.monotonic() - started:.0f} s on {jax.default_backend()}; "
    "mean ± 95 % interval over seeds"
  )
  print(f"table:   {folder / 'table.md'}\npicture: {picture}")


if __name__ == "__main__":
  flags.mark_flag_as_required("config")
  running.run(main)
