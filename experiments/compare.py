"""Compares estimators over seeds, in one process, compiling once.

python -m experiments.compare --config=experiments/configs/household.py \
  --estimators=graphgpo,gigpo,grpo --seeds=0,1,2 --workdir=runs/compare

Writes `<estimator>-<seed>/metrics.jsonl` of every run and the steps that
`config.keep` keeps beside it, `results.json`, `table.md` and `curves.png`. Runs
that the workdir holds in full already are read and not repeated.
`--estimators=all` takes every estimator there is.
"""

import contextlib
import json
import shutil
import time

import jax
import ml_collections
from absl import flags
from ml_collections import config_flags

from experiments import choices, running
from graphgpo_jax.report import comparison_tables
from graphgpo_jax.report import curves as curves_lib
from graphgpo_jax.training import (
  comparison,
  loop,
  metrics,
  progress,
  settings,
  text_experiment,
  warm_start,
  workdir,
)

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "The config file that all runs share.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder for all that is written.", required=True
)
_ESTIMATORS = flags.DEFINE_list(
  "estimators",
  ["graphgpo", "gigpo", "grpo"],
  "Names of estimators, or all.",
)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of the runs.")
_REFERENCE = flags.DEFINE_string(
  "reference",
  None,
  "Estimator that the others are compared with; graphgpo without this flag, if "
  "it is among them.",
)


def _run(experiment, estimator, seed, folder, bar, done):
  """Plays one run from its start and writes its metrics."""
  # A run that was stopped is repeated as a whole: it is a matter of seconds.
  (folder / "metrics.jsonl").unlink(missing_ok=True)
  shutil.rmtree(folder / "rollouts", ignore_errors=True)
  writer = metrics.MetricsWriter(folder, tensorboard=False)
  start = loop.initial_state(experiment, seed)
  if experiment.config.init_from:
    start = warm_start.start_from(experiment.config.init_from, start)
  for state, values in loop.iterate(
    experiment,
    start,
    seed=seed,
    estimator=estimator,
    keep=experiment.open_log(folder),
  ):
    step = int(state.step)
    writer.write(step, values)
    if "eval/success" in values:
      bar.show(done + step, {"success": values["eval/success"]})
  writer.close()


def _claim(config, runs):
  """Claims the workdir and every run's folder in it; returns the workdir.

  The options of an estimator bind its own runs alone: those of others may
  change, or others come, without any of these having to be run again.
  """
  shared = config.copy_and_resolve_references()
  with shared.unlocked():
    shared.estimator_options = ml_collections.ConfigDict()
  folder = workdir.claim_workdir(_WORKDIR.value, shared)
  for name, seed in runs:
    own = shared.copy_and_resolve_references()
    with own.unlocked():
      own.estimator, own.seed = name, seed
      own.estimator_options[name] = config.estimator_options.get(
        name, ml_collections.ConfigDict()
      )
    workdir.claim_workdir(folder / f"{name}-{seed}", own)
  return folder


def _reference(names):
  """The estimator to compare with, or None."""
  if _REFERENCE.value is None:
    return "graphgpo" if "graphgpo" in names else None
  if _REFERENCE.value not in names:
    raise ValueError(
      f"--reference={_REFERENCE.value} is none of --estimators="
      f"{','.join(names)}"
    )
  return _REFERENCE.value


def _write(folder, config, curves, reference):
  """Writes table, numbers and picture of the workdir; returns the table."""
  total = config.num_updates
  first = next(iter(next(iter(curves.values())).values()))
  checkpoints = sorted(
    {max(1, total * part // 5) for part in range(1, 6)} & set(first)
  )
  summary = comparison.summarise(
    curves, checkpoints=checkpoints, reference=reference
  )
  text = comparison_tables.tables(summary, reference=reference)
  (folder / "table.md").write_text(text + "\n")
  results = {"summary": summary, "curves": curves}
  (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
  curves_lib.draw_curves(
    curves,
    folder / "curves.png",
    title=f"{config.environment.name}: success by update",
    reference=reference,
  )
  return text


def main(argv):
  """Runs the binary."""
  running.refuse_arguments(argv)
  started = time.monotonic()
  config, seeds = _CONFIG.value, choices.seeds(_SEEDS.value)
  names = choices.estimator_names(_ESTIMATORS.value)
  reference = _reference(names)
  settings.check_config(config)
  running.split_cpu(config)
  curves_lib.require_matplotlib()
  # Before the folder is claimed: what is refused here must not stand there.
  experiment = text_experiment.make_experiment(config)
  runs = [(name, seed) for seed in seeds for name in names]
  folder = _claim(config, runs)
  total = config.num_updates
  bar = progress.Progress(total * len(runs), title="compare")
  curves: dict[str, dict[int, comparison.Curve]] = {name: {} for name in names}
  compiled = False
  with contextlib.closing(experiment), bar.running():
    for index, (name, seed) in enumerate(runs):
      place = folder / f"{name}-{seed}"
      path = place / "metrics.jsonl"
      curve = comparison.read_curve(path, num_updates=total)
      if curve is None:
        if not compiled:
          bar.write("compiling: about half a minute before the first update")
          compiled = True
        _run(experiment, name, seed, place, bar, index * total)
        curve = comparison.read_curve(path, num_updates=total)
        if curve is None:
          raise OSError(f"{path} was changed by someone else while it was used")
      curves[name][seed] = curve
      reached = comparison.updates_to(curve, 0.9)
      bar.write(
        f"{name}, seed {seed}: success {curve[total]:.2f} at update {total}, "
        + (f"90 % at update {reached}" if reached is not None else "90 % never")
      )
  text = _write(folder, config, curves, reference)
  print(f"\n{text}\n")
  print(
    f"{len(runs)} runs of {total} updates in "
    f"{time.monotonic() - started:.0f} s on {jax.default_backend()}"
  )
  print(f"table:   {folder / 'table.md'}\npicture: {folder / 'curves.png'}")


if __name__ == "__main__":
  flags.mark_flag_as_required("config")
  running.run(main)
