"""Every test runs on the CPU, split into eight devices."""

import gc
import os
import pathlib

# Both must stand before jax starts its backend; a caller's own choice stays.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
_DEVICES = "--xla_force_host_platform_device_count"
if _DEVICES not in os.environ.get("XLA_FLAGS", ""):
  os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + f" {_DEVICES}=8"
  ).strip()

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402

# What decides whether a change lands draws the same examples every time;
# `make fuzz` draws others, by HYPOTHESIS_PROFILE=default.
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

_STATM = pathlib.Path("/proc/self/statm")
_MOST_BYTES = 2 * 2**30


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
  """What thousands of tests compile is more than a machine's memory."""
  yield
  if _STATM.exists():
    pages = int(_STATM.read_text().split()[1])
    if pages * os.sysconf("SC_PAGE_SIZE") > _MOST_BYTES:
      jax.clear_caches()
      gc.collect()
