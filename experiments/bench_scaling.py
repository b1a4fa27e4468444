"""Measures how an update grows with the devices: weak scaling.

python -m experiments.bench_scaling \
  --config=experiments/configs/household.py --output=bench_scaling.json

Each mesh of `--meshes` (sizes of data x fsdp x tensor) trains from the start,
with `config.rollout.tasks_per_update` tasks for each part of the batch, so that
a device has as much to do on every mesh. The whole update is one program, which
runs under `jax.transfer_guard("disallow")`. A CPU is split into as many devices
as the largest mesh needs; they then share its cores, and the column `ideal`
says what that alone costs. `ms` are medians, the first update left out.

Expected on every mesh: one compilation and no transfer. On 2 cores the times
say little about scaling: eight virtual devices wait for each other's turns.
"""

import json
import os
import pathlib

import jax
from absl import flags
from ml_collections import config_flags

from experiments import bench_machine, running, scaling
from graphgpo_jax.training import settings

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "The config file, of one part of the batch.", lock_config=True
)
_MESHES = flags.DEFINE_list(
  "meshes",
  ["1x1x1", "2x1x1", "4x1x1", "8x1x1"],
  "Sizes of data x fsdp x tensor; the first is what the others are compared "
  "with.",
)
_NUM_UPDATES = flags.DEFINE_integer(
  "num_updates", 10, "Timed updates of each mesh.", lower_bound=1
)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.")


def main(argv):
  """Runs the binary."""
  running.refuse_arguments(argv)
  config = _CONFIG.value
  settings.check_config(config)
  shapes = [scaling.read_shape(text) for text in _MESHES.value]
  if not shapes:
    raise ValueError("--meshes: expected at least one")
  jax.config.update(
    "jax_num_cpu_devices", max(shape.devices for shape in shapes)
  )
  machine = bench_machine.facts()
  print(bench_machine.line(machine), flush=True)
  found = []
  for shape in shapes:
    found.append(scaling.measure(config, shape, num_updates=_NUM_UPDATES.value))
    print(f"{shape}: {found[-1]['milliseconds']:.1f} ms", flush=True)
  machine["load_average_after"] = os.getloadavg()
  print(f"\n{scaling.table(found, scaling.shared_cores())}")
  print(f"load average afterwards {machine['load_average_after'][0]:.1f}")
  if _OUTPUT.value:
    results = {
      "machine": machine,
      "num_updates": _NUM_UPDATES.value,
      "config": json.loads(config.to_json()),
      "meshes": found,
    }
    text = json.dumps(results, indent=1) + "\n"
    pathlib.Path(_OUTPUT.value).write_text(text)


if __name__ == "__main__":
  flags.mark_flag_as_required("config")
  running.run(main)
