"""Dumps of other frameworks: verl-agent's batch as lines and as tensors."""

import json

from graphgpo_jax.tables import readers, state_keys, table_columns
from graphgpo_jax.tables.readers import verl_agent_dump
from tests.fuzz.target import Target
from tests.verl_agent_rows import TABLE, batch_of, with_rows

_ROWS = with_rows(
  turn_step=TABLE["t"],
  rewards=[0, 0, 10, 0, 0, -1],
  is_action_valid=[True, False, True, True, True, True],
  active_masks=[1] * 6,
  output=list("uvwxyz"),
)


def _make_lines(folder):
  lines = [json.dumps(row) + "\n" for row in _ROWS]
  (folder / "3.jsonl").write_text("".join(lines))


def _make_tensors(folder):
  verl_agent_dump.dump_batch(batch_of(_ROWS), str(folder / "3"))


def _read(name):
  def read(folder):
    steps = readers.read_steps(str(folder / name)).steps
    table_columns.read_columns(steps)
    for column in ("observation", "next_observation"):
      state_keys.fingerprint_observations(steps[column])

  return read


TARGETS = (
  Target("verl_agent_lines", _make_lines, _read("3.jsonl"), 400, 20),
  Target(
    "verl_agent_tensors",
    _make_tensors,
    _read("3.safetensors"),
    400,
    packages=("safetensors",),
  ),
)
