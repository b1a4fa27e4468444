"""The bench of scaling: what it counts, and the binary."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from experiments import scaling
from tests import binaries
from tests.training import tiny


def test_reads_a_mesh():
  assert scaling.read_shape("2x4x1") == scaling.Shape(2, 4, 1)
  assert scaling.read_shape("8") == scaling.Shape(8, 1, 1)
  assert scaling.Shape(2, 2, 2).devices == 8
  assert scaling.Shape(2, 2, 2).parts == 4


@pytest.mark.parametrize("text", ["", "2x4", "0x1x1", "2x-1x1", "axbxc", "²"])
def test_refuses_what_is_no_mesh(text):
  with pytest.raises(ValueError, match="--meshes: .* is no mesh"):
    scaling.read_shape(text)


def test_work_grows_with_the_parts():
  config = tiny.make_config()
  grown = scaling.grown(config, scaling.Shape(2, 2, 2))
  assert grown.rollout.tasks_per_update == 4 * tiny.TASKS
  assert grown.mesh.to_dict() == {
    "data": 2,
    "fsdp": 2,
    "tensor": 2,
    "cpu_devices": 0,
  }
  assert config.rollout.tasks_per_update == tiny.TASKS
  assert config.mesh.data == 1


def test_counts_compilations():
  with scaling._Compilations() as outer:
    function = jax.jit(lambda x: jnp.sin(x) * 3.25)
    for _ in range(2):
      function(jnp.ones(7)).block_until_ready()
    before = outer.number
    function(jnp.ones(9)).block_until_ready()
  assert before >= 1
  assert outer.number > before
  number = outer.number
  function(jnp.ones(11)).block_until_ready()
  assert outer.number == number


def test_the_table_knows_of_shared_cores():
  found = [
    {
      "mesh": f"{devices}x1x1",
      "devices": devices,
      "tasks": 2 * devices,
      "steps": 10.0 * devices,
      "milliseconds": 5.0 * devices,
      "compilations": 1,
      "transfers": 0,
    }
    for devices in (1, 8)
  ]
  shared = scaling.table(found, 2).splitlines()
  assert shared[-1].split() == [
    *("8x1x1", "16", "80", "40.0", "8.00", "4.00", "1", "0")
  ]
  assert scaling.table(found, 0).splitlines()[-1].split()[5] == "1.00"


@pytest.mark.slow
def test_the_binary_compiles_once_and_transfers_nothing(tmp_path):
  binaries.write_config(tmp_path / "tiny.py")
  environment = dict(os.environ, JAX_PLATFORMS="cpu")
  environment.pop("XLA_FLAGS", None)
  process = subprocess.run(
    [
      *(sys.executable, "-m", "experiments.bench_scaling"),
      f"--config={tmp_path / 'tiny.py'}",
      "--meshes=1,2x1x1,1x2x2",
      "--num_updates=2",
      f"--output={tmp_path / 'found.json'}",
    ],
    cwd=pathlib.Path(binaries.ROOT),
    env=environment,
    capture_output=True,
    text=True,
    timeout=900,
  )
  assert process.returncode == 0, process.stderr
  found = json.loads((tmp_path / "found.json").read_text())["meshes"]
  assert [one["mesh"] for one in found] == ["1x1x1", "2x1x1", "1x2x2"]
  assert [one["tasks"] for one in found] == [2, 4, 4]
  for one in found:
    assert one["compilations"] == 1
    assert one["transfers"] == 0
    assert one["milliseconds"] > 0
  assert "1x2x2" in process.stdout
