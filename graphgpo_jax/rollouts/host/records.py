"""Episodes as columns, and as files of JSON lines that stay bounded."""

import itertools
import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from absl import logging

from graphgpo_jax import disk
from graphgpo_jax.envs.text import types
from graphgpo_jax.rollouts.host.episodes import Episode, Turn
from graphgpo_jax.tables import jsonl

_NAME = re.compile(r"(rollouts|failed)-(\d{6,})\.jsonl")


def step_columns(
  episodes: Iterable[Episode],
  state_key: types.StateKeyFn,
  *,
  update: int = 0,
  success_reward: float | None = None,
) -> dict[str, list[Any]]:
  """A table of steps, as `graphgpo_jax.assign_credit` takes it.

  `task` names a group of this update, not the world's task alone (`task_id`):
  a task that is played again later is another group. `observation` and
  `next_observation` are state keys.

  Args:
    episodes: failed ones are left out.
    state_key: tells states apart.
    update: number of the update that the episodes are for.
    success_reward: what a success's last step earns, every other step earning
      0, in the columns `reward` and `episode_return`; what the world pays is
      `world_reward` then. With None the two columns hold the world's.

  Returns:
    dict of columns, a row a step, in the order of episodes and steps. Beside
    those of `assign_credit`: update, group, rollout, step, task_id, seed,
    prompt, response, prompt_tokens, response_tokens.
  """
  rows = [
    _row(episode, step, turn, state_key, update, success_reward)
    for episode in episodes
    if not episode.failed
    for step, turn in enumerate(episode.turns)
  ]
  return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _row(
  episode: Episode,
  step: int,
  turn: Turn,
  state_key: types.StateKeyFn,
  update: int,
  success_reward: float | None,
) -> dict[str, Any]:
  plan, action, after = episode.plan, turn.action, turn.after
  if success_reward is None:
    rewards = {
      "reward": after.reward,
      "episode_return": episode.episode_return,
    }
  else:
    earned = success_reward if episode.success else 0.0
    last = step == len(episode.turns) - 1
    rewards = {
      "reward": earned if last else 0.0,
      "episode_return": earned,
      "world_reward": after.reward,
    }
  return {
    "task": f"{update}/{plan.group}/{plan.task_id}",
    "trajectory": plan.rollout,
    "t": step,
    "observation": state_key(turn.before),
    "next_observation": state_key(after),
    "success": episode.success,
    **rewards,
    "action_valid": action.valid and after.action_valid,
    "cost": after.cost,
    "action": action.command,
    "update": update,
    "group": plan.group,
    "rollout": plan.rollout,
    "step": step,
    "task_id": plan.task_id,
    "seed": plan.seed,
    "prompt": action.prompt,
    "response": action.response,
    "prompt_tokens": action.prompt_tokens,
    "response_tokens": action.response_tokens,
  }


# Metric: the groups of an update that were not written. The disk's affair and
# not training's, hence under `checkpoint/`, which exact resumption leaves out.
NOT_LOGGED = "checkpoint/groups_not_logged"


class RolloutLog:
  """Appends episodes to files in a folder, the oldest giving way to the newest.

  `rollouts-NNNNNN.jsonl` hold a row for each step of sound episodes,
  `failed-NNNNNN.jsonl` a row for each failed one. Numbers grow in the order in
  which files were begun. A group is written at once and in one file, so that
  each file can be given to `experiments.assign_credit`; with
  `--on_error=skip` that goes for a file whose last line was cut, too. A log
  that is opened again begins a new file and leaves the old ones as they are.

  Attributes:
    dropped: groups that were not written, since they were larger than
      `max_total_bytes` or the disk was full.
  """

  def __init__(
    self,
    folder: str,
    *,
    max_file_bytes: int = 64 * 2**20,
    max_total_bytes: int = 2**30,
  ):
    """Opens a folder, which is made if it is missing.

    Args:
      folder: where the files lie.
      max_file_bytes: a file is closed before it grows beyond this; one that
        holds a single group may.
      max_total_bytes: of all files together; the oldest are deleted beyond it.

    Raises:
      ValueError: a size is not positive, or the total is less than a file's.
      OSError: the folder cannot be made or read.
    """
    if not 0 < max_file_bytes <= max_total_bytes:
      raise ValueError(
        "max_file_bytes: expected more than 0 and at most max_total_bytes "
        f"({max_total_bytes}), got {max_file_bytes}"
      )
    self.folder = folder
    self.dropped = 0
    self._max_file = max_file_bytes
    self._max_total = max_total_bytes
    self._open: dict[str, str] = {}  # path by kind
    os.makedirs(folder, exist_ok=True)

  def write(
    self,
    episodes: Sequence[Episode],
    state_key: types.StateKeyFn,
    *,
    update: int = 0,
    success_reward: float | None = None,
  ) -> None:
    """Writes episodes, a group at a time.

    Args:
      episodes: those of a group stand together.
      state_key: as for `step_columns`.
      update: as for `step_columns`.
      success_reward: as for `step_columns`.

    Raises:
      OSError: a file cannot be written for another reason than a full disk.
    """
    for _, group in itertools.groupby(episodes, lambda one: one.plan.group):
      together = list(group)
      columns = step_columns(
        together, state_key, update=update, success_reward=success_reward
      )
      if columns:
        self._append("rollouts", jsonl.row_lines(columns))
      failed = [_failed_row(one, update) for one in together if one.failed]
      if failed:
        self._append("failed", b"".join(failed))

  def _append(self, kind: str, lines: bytes) -> None:
    if len(lines) > self._max_total:
      self.dropped += 1
      logging.warning(
        "%s: a group of %d bytes is more than max_total_bytes and is dropped",
        self.folder,
        len(lines),
      )
      return
    try:
      _write_whole(self._path(kind, len(lines)), lines)
    except OSError as error:
      if not disk.is_full(error):
        raise
      self.dropped += 1
      logging.error("%s: %s; a group is dropped", self.folder, error)
      return
    self._drop_oldest()

  def _path(self, kind: str, num_bytes: int) -> str:
    """The file that has room for so much more."""
    path = self._open.get(kind)
    if path is not None:
      size = os.path.getsize(path)
      if size and size + num_bytes > self._max_file:
        path = None
    if path is None:
      path = self._open[kind] = self._begin(kind)
    return path

  def _begin(self, kind: str) -> str:
    """Makes the next file; another process may be doing the same."""
    while True:
      numbers = [number for number, _ in _numbered(self.folder)]
      name = f"{kind}-{max(numbers, default=0) + 1:06d}.jsonl"
      path = os.path.join(self.folder, name)
      try:
        with open(path, "xb"):
          return path
      except FileExistsError:
        continue

  def _drop_oldest(self) -> None:
    sizes = {path: os.path.getsize(path) for path in log_files(self.folder)}
    total = sum(sizes.values())
    for path, size in sizes.items():
      if total <= self._max_total:
        return
      os.remove(path)
      total -= size
      self._open = {
        kind: name for kind, name in self._open.items() if name != path
      }


def _write_whole(path: str, lines: bytes) -> None:
  """Appends all of the lines or, where that fails, none."""
  # Unbuffered: what a killed process had written is there.
  with open(path, "ab", buffering=0) as file:
    size = os.fstat(file.fileno()).st_size
    try:
      left = memoryview(lines)
      while left:
        left = left[file.write(left) :]
    except OSError:
      file.truncate(size)
      raise


def _failed_row(episode: Episode, update: int) -> bytes:
  """What is known of an episode that broke, as a line."""
  plan, failure = episode.plan, episode.failure
  assert failure is not None
  row = {
    "update": update,
    "group": plan.group,
    "rollout": plan.rollout,
    "task_id": plan.task_id,
    "seed": plan.seed,
    "failure": failure.kind,
    "message": failure.message,
    "actions": [turn.action.command for turn in episode.turns],
  }
  return json.dumps(row).encode() + b"\n"


def _numbered(folder: str) -> list[tuple[int, str]]:
  names = map(_NAME.fullmatch, os.listdir(folder))
  return sorted(
    (int(match[2]), os.path.join(folder, match[0])) for match in names if match
  )


def log_files(folder: str, kind: str | None = None) -> list[str]:
  """Files of a log, oldest first.

  Args:
    folder: of a `RolloutLog`.
    kind: "rollouts" or "failed"; both by default.

  Returns:
    Paths.
  """
  paths = [path for _, path in _numbered(folder)]
  if kind is None:
    return paths
  return [one for one in paths if os.path.basename(one).startswith(f"{kind}-")]
