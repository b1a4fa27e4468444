"""verl-agent's batches as tables for `assign_credit`.

A row is one turn of one environment. Keys are those of the batch that
verl-agent's `multi_turn_loop` returns, which `verl_agent_dump` writes to disk:

    column            key                needed
    task              uid                yes: the group of rollouts
    trajectory        traj_uid           yes
    t                 turn_step          no: rows are in the order of turns
    observation       anchor_obs         yes: the state before the turn
    next_observation  next_anchor_obs    no: the next turn's observation
    success           -                  no: episode_return > success_above
    episode_return    episode_rewards    yes, unless success is named
    reward            rewards            no
    action_valid      is_action_valid    no
    action            output             no
    cost              -                  no
    active            active_masks       no: false where the rollout was over
    length            episode_lengths    no: each rollout must have so many rows

What verl and verl-agent themselves write to `trainer.rollout_data_dir` lacks
uid, traj_uid and anchor_obs, and its `step` counts updates, not turns: no
credit follows from that. `success_rate` in the batch is the mean over the whole
batch and says nothing of a rollout; `step_rewards` are discounted returns and
no rewards.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphgpo_jax.tables import table_columns
from graphgpo_jax.tables.readers import jsonl_dump, safetensors_dump
from graphgpo_jax.tables.readers.dump import Dump

KEYS: Mapping[str, str] = {
  "task": "uid",
  "trajectory": "traj_uid",
  "t": "turn_step",
  "observation": "anchor_obs",
  "next_observation": "next_anchor_obs",
  "episode_return": "episode_rewards",
  "reward": "rewards",
  "action_valid": "is_action_valid",
  "action": "output",
  "active": "active_masks",
  "length": "episode_lengths",
}
_NEEDED = ("task", "trajectory", "observation")
# Columns that have no key unless the caller names one.
_NAMED_ONLY = ("success", "cost")
_WRITER = "graphgpo_jax/tables/readers/verl_agent_dump.py writes dumps with it"


@dataclasses.dataclass(frozen=True)
class DumpSteps:
  """The steps of a dump."""

  steps: Mapping[str, Any]  # a table for `assign_credit`, of m active rows
  rows: np.ndarray  # int64 [m], their numbers in the file, from 0
  num_rows: int  # of the file, active or not


def read_steps(
  path: str,
  *,
  columns: Mapping[str, str] | None = None,
  success_above: float = 0.0,
) -> DumpSteps:
  """Reads a dump as a table of steps.

  Without `next_anchor_obs`, a turn leads to the next turn's observation, and
  the last turn of a failed rollout to a state of its own from which nothing is
  known to succeed.

  Args:
    path: a .safetensors file (extra [logs]) with its JSON file beside it, or
      JSON lines.
    columns: key by column, where it is not the one above; a key that is named
      here must be in the file.
    success_above: a rollout succeeded whose episode_return is greater.

  Returns:
    DumpSteps, rows in the order of the file.

  Raises:
    ValueError: a file is damaged, a key is missing or a row holds what does not
      belong there; the message names file, row and key.
    ImportError: safetensors is not installed.
    OSError: a file cannot be read.
  """
  columns = dict(columns or {})
  known = (*KEYS, *_NAMED_ONLY)
  for name in columns:
    if name not in known:
      raise ValueError(
        f"columns: unknown column {name!r}: expected one of {', '.join(known)}"
      )
  keys = {**KEYS, **columns}
  if safetensors_dump.is_safetensors(path):
    dump = safetensors_dump.read_safetensors(path, set(keys.values()))
  else:
    dump = jsonl_dump.read_jsonl(path, set(keys.values()))
  _check_keys(dump, keys, columns)
  keys = {name: key for name, key in keys.items() if key in dump.columns}
  reading = _Reading(dump, keys, success_above)
  return DumpSteps(reading.table(), reading.rows, dump.num_rows)


def _check_keys(
  dump: Dump, keys: Mapping[str, str], named: Mapping[str, str]
) -> None:
  """Refuses a dump without a key that is needed."""
  needed = [*_NEEDED, *(name for name in named if name not in _NEEDED)]
  if "success" not in keys:
    needed.append("episode_return")
  for name in needed:
    if keys[name] in dump.columns:
      continue
    told = f"{dump.path}: key {keys[name]!r} (column {name!r}) is missing"
    if name in named:
      raise ValueError(f"{told}: expected it, for it was named")
    raise ValueError(
      f"{told}. What trainer.rollout_data_dir gets lacks it; {_WRITER}. If "
      f"it has another name, give that: columns={{{name!r}: ...}}, "
      f"--columns={name}=..."
    )


class _Reading:
  """A dump's active rows, by rollout and turn."""

  def __init__(self, dump: Dump, keys: Mapping[str, str], success_above: float):
    self._dump = dump
    self._keys = keys
    self._above = success_above
    active = np.ones(dump.num_rows, bool)
    if "active" in keys:
      active = self._checked("active", table_columns.booleans)
    self.rows = np.flatnonzero(active)
    if not len(self.rows):
      raise ValueError(f"{dump.path}: expected at least one active row")
    task = self._checked("task", table_columns.codes)
    rollout = self._checked("trajectory", table_columns.codes)
    self._rollout = task * (int(rollout.max()) + 1) + rollout
    if "t" in keys:
      turn = self._checked("t", table_columns.integers)
    else:
      turn = np.arange(dump.num_rows)
    # Rows of the file, rollouts together and turns in order.
    self._order = self.rows[
      np.lexsort((turn[self.rows], self._rollout[self.rows]))
    ]
    ordered = self._rollout[self._order]
    self._same = ordered[1:] == ordered[:-1]  # as the row before
    self._turn = turn
    self._check_turns()

  def table(self) -> dict[str, Any]:
    """See `read_steps`."""
    self._check_lengths()
    turn = np.zeros(self._dump.num_rows, np.int64)
    starts = np.append(True, ~self._same)
    first = np.flatnonzero(starts)
    place = np.arange(len(self._order))
    turn[self._order] = place - first[np.cumsum(starts) - 1]
    returns, success = self._outcome()
    steps = {
      "task": self._taken("task"),
      "trajectory": self._taken("trajectory"),
      "t": (self._turn if "t" in self._keys else turn)[self.rows],
      "observation": self._taken("observation"),
      "next_observation": self._next_observation(success),
      "success": success[self.rows],
    }
    if returns is not None:
      steps["episode_return"] = returns[self.rows]
    for name, check in (
      ("reward", table_columns.numbers),
      ("action_valid", table_columns.booleans),
      ("cost", lambda _, column: table_columns.costs(column)),
    ):
      if name in self._keys:
        steps[name] = self._checked(name, check)[self.rows]
    if "action" in self._keys:
      steps["action"] = self._taken("action")
    return steps

  def _checked(self, name, check):
    return self._dump.checked(self._keys[name], check)

  def _taken(self, name):
    return table_columns.take(self._dump.columns[self._keys[name]], self.rows)

  def _check_turns(self) -> None:
    """A rollout's turns are each there once; those between, too."""
    if "t" not in self._keys:
      return
    key = self._keys["t"]
    turns = self._turn[self._order]
    step = np.diff(turns)
    repeated = np.flatnonzero(self._same & (step == 0))
    if len(repeated):
      one, two = self._order[repeated[0] : repeated[0] + 2].tolist()
      self._dump.refuse(
        key,
        two,
        f"expected each turn of a rollout once, got {turns[repeated[0]]} as in "
        f"{self._dump.place(one)}. verl's `step` counts updates; verl-agent's "
        "adjust_batch copies rows: dump before it",
      )
    gaps = np.flatnonzero(self._same & (step != 1))
    if len(gaps) and "next_observation" not in self._keys:
      here = gaps[0]
      self._dump.refuse(
        key,
        int(self._order[here + 1]),
        f"expected turn {turns[here] + 1} after turn {turns[here]} of "
        f"{self._dump.place(int(self._order[here]))}, got {turns[here + 1]}: "
        "where it led is not known",
      )

  def _check_lengths(self) -> None:
    """A rollout has as many rows as it had turns."""
    if "length" not in self._keys:
      return
    key = self._keys["length"]
    lengths = self._of_rollout("length", table_columns.integers)
    last = np.flatnonzero(np.append(~self._same, True))
    counts = np.diff(last, prepend=-1)
    wrong = np.flatnonzero(counts != lengths[self._order[last]])
    if len(wrong):
      row = int(self._order[last[wrong[0]]])
      self._dump.refuse(
        key,
        row,
        f"the rollout {self._name(row)} has {counts[wrong[0]]} rows, its "
        f"length is {lengths[row]}: expected all of its turns, each once",
      )

  def _of_rollout(self, name, check):
    """Values that are the same for all rows of a rollout."""
    values = self._checked(name, check)
    ordered = values[self._order]
    differs = np.flatnonzero(self._same & (ordered[1:] != ordered[:-1]))
    if len(differs):
      one, two = self._order[differs[0] : differs[0] + 2].tolist()
      self._dump.refuse(
        self._keys[name],
        two,
        f"expected {values[one]} as in {self._dump.place(one)}, for both are "
        f"of the rollout {self._name(two)}, got {values[two]}",
      )
    return values

  def _outcome(self):
    """Episode returns, if there are any, and successes."""
    if "episode_return" not in self._keys:
      return None, self._of_rollout("success", table_columns.booleans)
    returns = self._of_rollout("episode_return", table_columns.numbers)
    if "success" in self._keys:
      return returns, self._of_rollout("success", table_columns.booleans)
    return returns, returns > self._above

  def _next_observation(self, success: np.ndarray) -> Any:
    if "next_observation" in self._keys:
      return self._taken("next_observation")
    observations = self._dump.columns[self._keys["observation"]]
    found: list[Any] = [None] * self._dump.num_rows
    for here, there, same in zip(
      self._order.tolist(),
      [*self._order[1:].tolist(), -1],
      [*self._same.tolist(), False],
      strict=True,
    ):
      if same:
        found[here] = observations[there]
      elif success[here]:
        # It leads to the sink, whatever stands here.
        found[here] = observations[here]
      else:
        found[here] = f"\0end of the rollout {self._name(here)}"
    return [found[row] for row in self.rows.tolist()]

  def _name(self, row: int) -> str:
    task, rollout = (
      self._dump.columns[self._keys[name]][row]
      for name in ("task", "trajectory")
    )
    return f"{rollout} of task {task}"
