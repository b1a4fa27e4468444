"""All that is fuzzed."""

from tests.fuzz import (
  checkpoint_target,
  log_targets,
  model_targets,
  reader_targets,
  run_targets,
)

TARGETS = (
  *log_targets.TARGETS,
  *model_targets.TARGETS,
  *reader_targets.TARGETS,
  *run_targets.TARGETS,
  *checkpoint_target.TARGETS,
)
# Whose packages are those of the extra [logs], not of [lm].
LOGS = ("parquet", "verl_agent_tensors")
BY_NAME = {target.name: target for target in TARGETS}
