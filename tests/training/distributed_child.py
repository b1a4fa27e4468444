"""A process of several, for test_distributed.py: `python -m` with a task."""

import importlib.metadata
import sys

from graphgpo_jax.training import distributed, settings


def agree(config, index):
  del index
  distributed.check_agreement(distributed.facts(config))
  print("agreed", distributed.is_main())


def differ(config, index):
  if index == 1:
    config.rollout.chunk_size = 5
  agree(config, index)


def versions(config, index):
  """The second has an older package, and an engine that the first lacks."""
  installed = importlib.metadata.version

  def version(package):
    if package == "orbax-checkpoint":
      return ("2.0", "1.0")[index]
    if package == "textworld":
      if index == 0:
        raise importlib.metadata.PackageNotFoundError(package)
      return "1.7.0"
    return installed(package)

  importlib.metadata.version = version
  agree(config, index)


def fail(config, index):
  """One fails alone, then none; the other's words come through."""
  del config

  def work():
    if index == 1:
      raise OSError("no room\nat all")
    return index

  try:
    distributed.together(work)
  except (OSError, ValueError) as error:
    kind = type(error).__name__
    print(
      kind,
      str(error).splitlines()[0],
      distributed.together(lambda: index),
      distributed.gather({"own": index}),
    )


def join(mode):
  print("joined", distributed.initialize(mode))


def main(task, *arguments):
  try:
    if task == "join":
      join(*arguments)
      return
    address, number, index = arguments
    assert distributed.initialize(
      "on",
      coordinator_address=address,
      num_processes=int(number),
      process_id=int(index),
    )
    globals()[task](settings.default_config(), int(index))
  except ValueError as error:
    print(f"refused: {error}")


if __name__ == "__main__":
  main(*sys.argv[1:])
