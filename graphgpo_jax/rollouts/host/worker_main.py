"""What a worker process runs: environments at the end of a pipe.

A program, started by its path: importing it through the package would run the
package's `__init__`, which imports jax. Dozens of workers would each pay some
seconds and hundreds of megabytes for a library they never use. Here packages
are opened without their `__init__`, so a world's module must import what it
needs by its full name (`graphgpo_jax.envs.text.types`), never the package's
public functions.
"""

import contextlib
import importlib
import os
import pickle
import random
import sys
import time
import traceback
import types
import zlib
from multiprocessing import connection
from typing import Any

# Packages above the worlds and the messages.
_PACKAGES = ("graphgpo_jax", "graphgpo_jax.envs", "graphgpo_jax.rollouts")


def _open_packages() -> None:
  """Lets submodules be found without what `__init__` imports."""
  parents = os.path.abspath(__file__).split(os.sep)[:-4]
  for name in _PACKAGES:
    package = types.ModuleType(name)
    package.__path__ = [os.sep.join([*parents, *name.split(".")])]
    sys.modules[name] = package
    above, _, last = name.rpartition(".")
    if above:
      setattr(sys.modules[above], last, package)


def _seed_globals(task_id: str, seed: int) -> None:
  """Makes the process's own generators a function of the episode.

  An engine that draws from them would otherwise depend on which episodes the
  process played before.
  """
  random.seed(f"{seed} {task_id}")
  if "numpy" in sys.modules:
    numpy_seed = zlib.crc32(f"{seed} {task_id}".encode(errors="replace"))
    sys.modules["numpy"].random.seed(numpy_seed)


def _say(error: Exception) -> dict[str, str]:
  """An error as a message: its kind, and what it says."""
  world = importlib.import_module("graphgpo_jax.envs.text.types")
  if isinstance(error, ImportError):
    return {"kind": "import", "message": str(error)}
  if isinstance(error, ValueError):
    return {"kind": "value", "message": str(error)}
  if isinstance(error, world.TextWorldError):
    return {"kind": "engine", "message": str(error)}
  # Nobody planned for this one; its place is what helps.
  lines = traceback.format_exception(error)
  return {"kind": "engine", "message": "".join(lines[-6:]).strip()}


def _close(environment: Any) -> None:
  if environment is not None:
    with contextlib.suppress(Exception):
      environment.close()


class _Host:
  """The environments of this process."""

  def __init__(self, make: Any, count: int):
    self._make = make
    self._environments = [make() for _ in range(count)]

  def answer(self, request: dict[str, Any]) -> Any:
    """Does a request; an environment that failed is made anew later."""
    place = request["environment"]
    try:
      if request["do"] == "reset":
        if self._environments[place] is None:
          self._environments[place] = self._make()
        _seed_globals(request["task"], request["seed"])
        return self._environments[place].reset(
          request["task"], seed=request["seed"]
        )
      try:
        return self._environments[place].step(request["action"])
      except ValueError as error:
        # Nobody steps past the end here: it is the engine's own.
        raise RuntimeError("the environment failed at a step") from error
    except ValueError:
      # There is no such task; the environment is sound.
      raise
    except Exception:
      _close(self._environments[place])
      self._environments[place] = None
      raise

  def close(self) -> None:
    for environment in self._environments:
      _close(environment)


def _serve(link: connection.Connection) -> None:
  wire = importlib.import_module("graphgpo_jax.rollouts.host.wire")
  hello = wire.decode(link.recv_bytes())
  sys.path[:] = hello["path"]
  pickled = link.recv_bytes()
  try:
    # The one thing that is unpickled, and it comes from our own parent.
    host = _Host(pickle.loads(pickled), hello["environments"])
  except Exception as error:
    link.send_bytes(wire.encode({"error": _say(error)}))
    return
  try:
    link.send_bytes(wire.encode({"ready": True}))
    while True:
      request = wire.decode(link.recv_bytes())
      begun = time.monotonic()
      try:
        step = wire.pack_step(host.answer(request))
        answer = {"step": step, "seconds": time.monotonic() - begun}
      except Exception as error:
        answer = {"error": _say(error)}
      link.send_bytes(wire.encode(answer))
  finally:
    host.close()


def main() -> None:
  """Serves until the other end is closed."""
  _open_packages()
  # The modules of the checkout or the installation that this file is part of.
  sys.path.insert(0, os.path.abspath(__file__).rsplit(os.sep, 4)[0])
  link = connection.Connection(int(sys.argv[1]))
  # The other end is gone, and with it the reason to go on.
  with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
    _serve(link)


if __name__ == "__main__":
  main()
