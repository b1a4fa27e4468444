"""What the binaries share: how they start and how they refuse."""

import sys
from collections.abc import Callable, Sequence

import jax
import ml_collections
from absl import app, flags, logging

from graphgpo_jax.envs.text import types


def refuse_arguments(argv: Sequence[str]) -> None:
  """Refuses words on the command line that belong to no flag.

  Raises:
    app.UsageError: there are any.
  """
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")


def split_cpu(config: ml_collections.ConfigDict) -> None:
  """Splits the CPU into the devices that `config.mesh.cpu_devices` asks for.

  Several devices of a core each use small matrices' cores better than one
  device of several cores does. Accelerators stay as they are. To be called
  before JAX starts.
  """
  if config.mesh.cpu_devices:
    jax.config.update("jax_num_cpu_devices", config.mesh.cpu_devices)


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
  try:
    remaining = app.parse_flags_with_usage(list(argv))
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    # ml_collections names the key and the nearest one that exists.
    message = " ".join(str(error).replace("\\'", "'").split())
    print(f"error: command line: {message}", file=sys.stderr)
    sys.exit(1)
  if not flags.FLAGS["verbosity"].present:
    # Orbax tells every phase of every save at INFO.
    logging.set_verbosity(logging.WARNING)
  return remaining
