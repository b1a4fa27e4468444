"""What loading takes beside the model itself."""

import json
import os
import pathlib
import subprocess
import sys

import jax.numpy as jnp
import ml_dtypes
import pytest

from tests.policy.pretrained import made_models

pytestmark = [pytest.mark.slow, pytest.mark.extra("lm")]

ROOT = pathlib.Path(__file__).parents[3]

# A process of its own, whose peak nothing else has raised. The tiny model
# brings in what any load does: packages, the backend, a compiled program.
LOADER = """
import gc, json, sys
import jax
import jax.numpy as jnp
from graphgpo_jax.policy.pretrained import load

def memory(name):
  # Not getrusage's peak, which a process inherits from its parent.
  with open("/proc/self/status") as file:
    (line,) = [line for line in file if line.startswith(name + ":")]
  return int(line.split()[1]) * 1024

dtype = jnp.dtype(sys.argv[3])
load.load(sys.argv[1], dtype=dtype)
gc.collect()
before = memory("VmRSS")
found = load.load(sys.argv[2], dtype=dtype)
growth = memory("VmHWM") - before
leaves = jax.tree.leaves(found.params)
print(json.dumps({
  "parameters": sum(leaf.size for leaf in leaves),
  "size": sum(leaf.nbytes for leaf in leaves),
  "growth": growth,
}))
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  """A tiny model, and one of 75 million parameters in bfloat16."""
  folder = tmp_path_factory.mktemp("memory")
  kind = ml_dtypes.bfloat16
  tiny = made_models.random_tensors("qwen2", kind)
  fields = made_models.config_fields("qwen2")
  made_models.write_directory(folder / "tiny", fields, tiny)
  sizes = {
    "WIDTH": 512,
    "MLP": 2048,
    "LAYERS": 14,
    "VOCABULARY": 20_000,
    "HEAD": 128,
  }
  with pytest.MonkeyPatch.context() as patch:
    for name, value in sizes.items():
      patch.setattr(made_models, name, value)
    large = made_models.random_tensors("qwen2", kind)
  names = sorted(large)
  fields |= {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 14,
    "vocab_size": 20_000,
    "head_dim": 128,
  }
  shards = [{name: large[name] for name in names[part::2]} for part in (0, 1)]
  made_models.write_directory(folder / "large", fields, *shards)
  return folder


@pytest.mark.skipif(
  not sys.platform.startswith("linux"), reason="reads Linux's peak of memory"
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_peak_of_memory(folders, dtype):
  environment = dict(os.environ, JAX_PLATFORMS="cpu")
  # Eight devices would be eight copies of nothing, but of threads' memory.
  environment.pop("XLA_FLAGS", None)
  done = subprocess.run(
    [sys.executable, "-c", LOADER, folders / "tiny", folders / "large", dtype],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    timeout=600,
  )
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout.splitlines()[-1])
  assert found["parameters"] > 70e6
  assert found["size"] == found["parameters"] * jnp.dtype(dtype).itemsize
  # Less than the model would mean that not all of it is counted.
  assert 0.95 < found["growth"] / found["size"] < 1.3, found
