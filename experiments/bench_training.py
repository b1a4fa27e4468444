"""Measures where the seconds of an update go.

python -m experiments.bench_training \
  --config=experiments/configs/household.py --num_updates=20 \
  --output=bench_training.json

Trains from the start for `--num_updates` updates. In every update each phase is
timed on its own (credit once per estimator, on the same rollouts), and then
the whole update as one program, on a second state that goes the same way. All
programs are compiled beforehand and each is run once untimed. Seconds are
medians over the updates; the share of credit is credit's seconds over those
of collect, credit and optimise together.

Expected on 2 cores: credit at most 3 %, at least 10,000 steps per second.
"""

import collections
import json
import os
import pathlib
import statistics
import time
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags

from experiments import running
from graphgpo_jax.training import environment_experiment, loop, settings, update

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "The config file that is measured.", lock_config=True
)
_NUM_UPDATES = flags.DEFINE_integer(
  "num_updates", 20, "Timed updates.", lower_bound=1
)
_ESTIMATORS = flags.DEFINE_list(
  "estimators", ["graphgpo", "gigpo", "grpo", "rloo"], "Names of estimators."
)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.")


class _Programs:
  """The phases and the whole update, compiled ahead of time.

  Attributes:
    compile_seconds: by program, tracing included.
  """

  def __init__(
    self, experiment: environment_experiment.Experiment, names: list[str]
  ):
    """Compiles every program for the experiment's shapes."""
    self.compile_seconds: dict[str, float] = {}
    trained = experiment.config.estimator
    state = loop.initial_state(experiment, 0)
    key = jax.random.key(0)
    self.collect = self._compile(
      "collect", experiment.collect, state.params, key
    )
    rollouts, _ = self.collect(state.params, key)
    self.assign = {
      name: self._compile(f"assign {name}", experiment.assign(name), rollouts)
      for name in names
    }
    advantage, _ = self.assign[trained](rollouts)
    self.optimise = self._compile(
      "optimise", experiment.optimise, state, rollouts, advantage, key
    )
    self.evaluate = self._compile(
      "evaluate", experiment.evaluate, state.params, key
    )
    self.update = self._compile(
      "whole update", experiment.update(trained), state, key
    )

  def _compile(self, name: str, function: Any, *args: Any) -> Any:
    started = time.perf_counter()
    program = function.lower(*args).compile()
    self.compile_seconds[name] = time.perf_counter() - started
    return program


def measure(
  experiment: environment_experiment.Experiment,
  names: list[str],
  num_updates: int,
) -> dict[str, Any]:
  """Trains and times.

  Args:
    experiment: what the config built.
    names: estimators whose credit is timed; the config's own is among them.
    num_updates: timed updates; one more comes first.

  Returns:
    `compile_seconds` and `seconds` (medians) by program, `environment_steps`
    (valid ones, median of an update), `steps_per_second` and `credit_percent`
    (by estimator).
  """
  trained, seed = experiment.config.estimator, experiment.config.seed
  programs = _Programs(experiment, names)
  key = jax.random.key(seed)
  # Two states, because each program takes over the buffers it is given.
  apart = loop.initial_state(experiment, seed)
  whole = loop.initial_state(experiment, seed)
  timings: dict[str, list[float]] = collections.defaultdict(list)
  steps: list[float] = []
  rates: list[float] = []

  def timed(name, function, *args):
    started = time.perf_counter()
    result = jax.block_until_ready(function(*args))
    timings[name].append(time.perf_counter() - started)
    return result

  for index in range(num_updates + 1):
    if index == 1:
      timings.clear()
      steps.clear()
      rates.clear()
    collect_key, optimise_key = update.update_keys(key, index)
    rollouts, metrics = timed(
      "collect", programs.collect, apart.params, collect_key
    )
    for name in names:
      assigned = timed(f"assign {name}", programs.assign[name], rollouts)
      if name == trained:
        advantage = assigned[0]
    apart, _ = timed(
      "optimise", programs.optimise, apart, rollouts, advantage, optimise_key
    )
    timed("evaluate", programs.evaluate, apart.params, key)
    whole, _ = timed("whole update", programs.update, whole, key)
    phases = ("collect", f"assign {trained}", "optimise")
    steps.append(float(metrics["rollout/steps"]))
    rates.append(steps[-1] / sum(timings[phase][-1] for phase in phases))
  seconds = {
    name: statistics.median(values) for name, values in timings.items()
  }
  around = seconds["collect"] + seconds["optimise"]
  shares = {
    name: 100 * credit / (around + credit)
    for name in names
    for credit in [seconds[f"assign {name}"]]
  }
  return {
    "compile_seconds": programs.compile_seconds,
    "seconds": seconds,
    "environment_steps": statistics.median(steps),
    "steps_per_second": statistics.median(rates),
    "credit_percent": shares,
  }


def _table(found: dict[str, Any]) -> str:
  rows = [("program", "compiled in s", "median ms", "credit's share")]
  for name, seconds in found["seconds"].items():
    share = found["credit_percent"].get(name.removeprefix("assign "))
    rows.append(
      (
        name,
        f"{found['compile_seconds'][name]:.1f}",
        f"{1000 * seconds:.2f}",
        "" if share is None else f"{share:.2f} %",
      )
    )
  widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
  lines = []
  for name, *numbers in rows:
    cells = [name.ljust(widths[0])]
    cells += [
      number.rjust(width)
      for number, width in zip(numbers, widths[1:], strict=True)
    ]
    lines.append("  ".join(cells).rstrip())
  return "\n".join(lines)


def main(argv):
  """Runs the binary."""
  running.refuse_arguments(argv)
  config = _CONFIG.value
  names = list(dict.fromkeys([config.estimator, *_ESTIMATORS.value]))
  settings.check_config(config)
  running.split_cpu(config)
  for name in names:
    settings.make_estimator(name, {})
  machine = {
    # The cores this process may use, which a container can make fewer.
    "cores": len(os.sched_getaffinity(0))
    if hasattr(os, "sched_getaffinity")
    else os.cpu_count(),
    "backend": jax.default_backend(),
    "devices": jax.device_count(),
    "device": jax.devices()[0].device_kind,
    "jax": jax.__version__,
    "load_average_before": os.getloadavg(),
  }
  print(
    f"{machine['cores']} cores, load average "
    f"{machine['load_average_before'][0]:.1f}, {machine['device']}, "
    f"jax {machine['jax']}",
    flush=True,
  )
  found = measure(
    environment_experiment.Experiment(config), names, _NUM_UPDATES.value
  )
  machine["load_average_after"] = os.getloadavg()
  print(_table(found))
  print(
    f"{found['steps_per_second']:,.0f} environment steps per second in "
    f"training with {config.estimator} "
    f"({found['environment_steps']:,.0f} steps an update)\n"
    f"load average afterwards {machine['load_average_after'][0]:.1f}"
  )
  if _OUTPUT.value:
    results = {
      "machine": machine,
      "num_updates": _NUM_UPDATES.value,
      "config": json.loads(config.to_json()),
      **found,
    }
    text = json.dumps(results, indent=1) + "\n"
    pathlib.Path(_OUTPUT.value).write_text(text)


if __name__ == "__main__":
  flags.mark_flags_as_required(["config"])
  running.run(main)
