"""What the binaries share: how they start and how they refuse."""

import os
import pathlib
import sys
from collections.abc import Callable, Sequence

import jax
import ml_collections
from absl import app, flags, logging

from graphgpo_jax.envs.text import types

_EXPERIMENTS = pathlib.Path(__file__).parent
_CONFIG_FLAG = "--config="


def refuse_arguments(argv: Sequence[str]) -> None:
  """Refuses words on the command line that belong to no flag.

  Raises:
    app.UsageError: there are any.
  """
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")


def find_config(named: str) -> str:
  """Where a config file is, so that a command needs no checkout.

  Args:
    named: path of a config file; where nothing is there, a path in this
      package as it is in a checkout (experiments/configs/household.py), or the
      bare name of a config of this package (household). What follows a colon is
      the config's own argument.

  Returns:
    The path, and what followed it; `named` where nothing is found, for whoever
    opens it to refuse.
  """
  path, colon, argument = named.partition(":")
  places = [pathlib.Path(path)]
  if path.startswith("experiments/") and ".." not in path:
    places.append(_EXPERIMENTS.parent / path)
  if path.isidentifier():
    places.append(_EXPERIMENTS / "configs" / f"{path}.py")
  for place in places:
    if place.is_file():
      return f"{place}{colon}{argument}"
  return named


def split_cpu(config: ml_collections.ConfigDict) -> None:
  """Splits the CPU into the devices that `config.mesh.cpu_devices` asks for.

  Several devices of a core each use small matrices' cores better than one
  device of several cores does. Accelerators stay as they are. To be called
  before JAX starts.
  """
  wanted = config.get("mesh", {}).get("cpu_devices", 0)
  # What is no such number `check_config` refuses.
  if isinstance(wanted, int) and wanted > 0:
    jax.config.update("jax_num_cpu_devices", wanted)


def cache_compiled(workdir: str, folder: str | None) -> None:
  """Keeps what is compiled on the disk, so that a restart finds it.

  To be called before JAX compiles.

  Args:
    workdir: of the run.
    folder: where to; "" keeps nothing. None takes JAX_COMPILATION_CACHE_DIR
      where that is set, and else `workdir/compile_cache`: a preempted machine's
      own disk may be gone, the work directory is what a restart finds.
  """
  if folder is None:
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
      return
    folder = os.path.join(workdir, "compile_cache")
  jax.config.update("jax_compilation_cache_dir", folder or None)
  # A run has many small programs, which together take seconds as well.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def run(main: Callable[[Sequence[str]], None]) -> None:
  """Runs a binary's main; a user's mistake ends it in one clear line.

  ValueError, ImportError, OSError and TextWorldError are what this package
  raises for bad input, a missing extra, files and engines; their message says
  what to mend, which a traceback would bury. Anything else is a defect and
  keeps its traceback.
  """

  def guarded(argv):
    try:
      main(argv)
    except (ValueError, ImportError, OSError, types.TextWorldError) as error:
      logging.debug("refused", exc_info=True)
      print(f"error: {error}", file=sys.stderr)
      sys.exit(1)

  app.run(guarded, flags_parser=_parse_flags)


def _parse_flags(argv: Sequence[str]) -> list[str]:
  """Parses flags; a config key that does not exist is a user's mistake too."""
  words = list(argv)
  for index, word in enumerate(words):
    if word.startswith(_CONFIG_FLAG):
      words[index] = _CONFIG_FLAG + find_config(word[len(_CONFIG_FLAG) :])
  try:
    remaining = app.parse_flags_with_usage(words)
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    # ml_collections names the key and the nearest one that exists.
    message = " ".join(str(error).replace("\\'", "'").split())
    print(f"error: command line: {message}", file=sys.stderr)
    sys.exit(1)
  if not flags.FLAGS["verbosity"].present:
    # Orbax tells every phase of every save at INFO.
    logging.set_verbosity(logging.WARNING)
  return remaining
