"""The flags of a binary that runs in several processes, and how they join."""

from typing import Any

import ml_collections
from absl import flags

from experiments import running
from graphgpo_jax.training import distributed

_MODE = flags.DEFINE_enum(
  "distributed",
  "auto",
  distributed.MODES,
  "Whether this process joins others that run the same command: auto joins "
  "where a coordinator is named or jax finds a cluster.",
)
_ADDRESS = flags.DEFINE_string(
  "coordinator_address",
  "",
  "Host and port of process 0; JAX_COORDINATOR_ADDRESS where it is empty.",
)
_NUMBER = flags.DEFINE_integer(
  "num_processes",
  None,
  "How many processes there are; JAX_NUM_PROCESSES where it is missing.",
  lower_bound=1,
)
_INDEX = flags.DEFINE_integer(
  "process_id",
  None,
  "Which of them this is, from 0; JAX_PROCESS_ID where it is missing.",
  lower_bound=0,
)


def join(config: ml_collections.ConfigDict, **others: Any) -> bool:
  """Splits the CPU, joins the other processes, checks that all agree.

  To be called before anything else of jax, and before anything is written.

  Args:
    config: of the run; it need not be checked yet, so that all processes
      refuse where it is sound in some of them alone.
    **others: further values that all processes must agree on, by flag.

  Returns:
    Whether this process is one of several.

  Raises:
    ValueError: as `distributed.initialize` and `distributed.check_agreement`.
  """
  running.split_cpu(config)
  joined = distributed.initialize(
    _MODE.value,
    coordinator_address=_ADDRESS.value,
    num_processes=_NUMBER.value,
    process_id=_INDEX.value,
  )
  if joined:
    named = {f"--{name}": value for name, value in others.items()}
    distributed.check_agreement(distributed.facts(config) | named)
  return joined
