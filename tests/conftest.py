"""Every test runs on the CPU, split into eight devices."""

import os

# Both must stand before jax starts its backend; a caller's own choice stays.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
_DEVICES = "--xla_force_host_platform_device_count"
if _DEVICES not in os.environ.get("XLA_FLAGS", ""):
  os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + f" {_DEVICES}=8"
  ).strip()
