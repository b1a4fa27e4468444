"""experiments' binaries as a user starts them, on the smallest run there is."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = """
from graphgpo_jax.training import settings


def get_config():
  config = settings.default_config()
  config.num_updates = {updates}
  config.checkpoint_every = {checkpoint_every}
  config.environment.update(
    {{"tier": 1, "num_receptacles": 2, "num_objects": 1, "horizon": 6}}
  )
  config.panel.size = 4
  config.policy.num_layers = 1
  config.policy.width = 8
  config.policy.num_heads = 2
  config.rollout.tasks_per_update = 2
  config.rollout.rollouts_per_task = 3
  config.loss.num_minibatches = 2
  config.loss.chunk_size = 8
  return config
"""


def write_config(path, *, updates=3, checkpoint_every=0):
  path.write_text(
    CONFIG.format(updates=updates, checkpoint_every=checkpoint_every)
  )


# Compiling is most of what such a run does, and a user's result the same.
FAST = "--xla_backend_optimization_level=0"


def start(place, binary, *arguments, xla_flags=FAST):
  """A process; those of one folder share what they compile."""
  environment = dict(
    os.environ,
    JAX_PLATFORMS="cpu",
    JAX_COMPILATION_CACHE_DIR=str(place / "compiled"),
    JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
  )
  # One device, as a user has it, and not the eight of these tests.
  environment["XLA_FLAGS"] = xla_flags
  return subprocess.Popen(
    [sys.executable, "-m", f"experiments.{binary}", *arguments],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process):
  """Its exit status, output and error text."""
  output, errors = process.communicate(timeout=600)
  return process.returncode, output, errors
