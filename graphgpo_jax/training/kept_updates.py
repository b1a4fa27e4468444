"""Steps of a few updates, kept as JSON lines for a person to look at.

Runs on the device keep no episodes by default but these: some updates evenly
over the run, of each the first tasks, as columns of `assign_credit`. A file is
one update's, `rollouts/update-NNNNNN.jsonl`. Which updates are kept follows
from the config alone, so a run that was stopped and repeats one writes the same
file again.
"""

import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import numpy as np
from absl import logging

from graphgpo_jax.envs import pictures, types
from graphgpo_jax.rollouts import on_device, replay
from graphgpo_jax.tables import jsonl

_MEGABYTE = 2**20


def default_section() -> ml_collections.ConfigDict:
  """Every key of `config.keep` with its default."""
  return ml_collections.ConfigDict(
    {
      # So many updates, evenly over the run, the first and the last among
      # them; 0 keeps none. Text worlds keep theirs by text.rollout_megabytes.
      "updates": 8,
      # Tasks of each, all rollouts of a task.
      "tasks": 4,
      # Of all files together; tasks that an update's share has no room for are
      # left out.
      "megabytes": 16,
    }
  )


LEAST = {"keep.updates": 0, "keep.tasks": 1, "keep.megabytes": 1}


def kept_updates(config: ml_collections.ConfigDict) -> frozenset[int]:
  """Numbers of the updates that are kept, the first being 1."""
  wanted = min(config.keep.updates, config.num_updates)
  if wanted == 1:
    return frozenset({config.num_updates})
  places = np.linspace(1, config.num_updates, wanted)
  return frozenset(np.round(places).astype(int).tolist())


def make_keep(
  config: ml_collections.ConfigDict,
  environment: types.Environment,
  folder: str | os.PathLike,
) -> Callable[[int, on_device.Rollouts], None]:
  """Builds what keeps a run's updates.

  Args:
    config: of the run.
    environment: of the run.
    folder: of the run; the files lie in `rollouts` in it.

  Returns:
    `keep(update, rollouts)`, which does nothing for most updates. What cannot
    be written is logged as an error: a run does not end for it. Of several
    processes the first keeps tasks of its own.
  """
  wanted = kept_updates(config)
  place = pathlib.Path(folder) / "rollouts"
  limit = config.keep.megabytes * _MEGABYTE // max(len(wanted), 1)

  def keep(update: int, rollouts: on_device.Rollouts) -> None:
    if update not in wanted or jax.process_index():
      return
    taken = first_tasks(rollouts, config.keep.tasks)
    try:
      _write(place, update, environment, taken, limit)
    except OSError as error:
      logging.error("update %d is not kept: %s", update, error)

  return keep


def first_tasks(rollouts: on_device.Rollouts, count: int) -> Any:
  """The first tasks that this process holds, on the host.

  Args:
    rollouts: of B tasks, possibly shared out over devices and processes.
    count: of tasks at most.

  Returns:
    Rollouts without observations, leaves [K, ...].
  """
  return jax.tree.map(
    functools.partial(_first_rows, count=count),
    rollouts.replace(observation=None, log_prob=None),  # type: ignore[attr-defined]
  )


def _first_rows(leaf: jax.Array, *, count: int) -> np.ndarray:
  if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
    return np.asarray(leaf)[:count]
  shards = {
    shard.index[0].start or 0: shard.data for shard in leaf.addressable_shards
  }
  rows = [np.asarray(shards[start]) for start in sorted(shards)]
  return np.concatenate(rows)[:count]


def _write(
  folder: pathlib.Path,
  update: int,
  environment: types.Environment,
  rollouts: Any,
  limit: int,
) -> None:
  folder.mkdir(exist_ok=True)
  texts = _texts(environment, rollouts)
  kept: list[bytes] = []
  for group in range(len(rollouts.mask)):
    columns = step_columns(rollouts, group, update=update, texts=texts)
    lines = jsonl.row_lines(columns) if columns["t"] else b""
    if sum(map(len, kept)) + len(lines) > limit:
      logging.warning(
        "update %d: %d of %d tasks have room in config.keep.megabytes",
        update,
        group,
        len(rollouts.mask),
      )
      break
    kept.append(lines)
  path = folder / f"update-{update:06d}.jsonl"
  with jsonl.open_atomically(str(path)) as file:
    file.write(b"".join(kept))


def step_columns(
  rollouts: Any,
  group: int,
  *,
  update: int,
  texts: Callable[[int, int, int], tuple[str, str, str]] | None = None,
) -> dict[str, list[Any]]:
  """A task's steps as `graphgpo_jax.assign_credit` takes them.

  Args:
    rollouts: Rollouts on the host.
    group: which task.
    update: number of the update.
    texts: `(group, rollout, step)` to the pictures of the states before and
      after a step and the text of its action; None for none.

  Returns:
    Columns. Beside those of `assign_credit`: update, group, rollout, step and,
    with texts, picture, action_text and, on last steps, next_picture.
  """
  names = _names(rollouts.state_keys[group])
  columns: dict[str, list[Any]] = {}
  success = rollouts.success[group]
  returns = rollouts.episode_return[group]
  for rollout, mask in enumerate(rollouts.mask[group]):
    steps = np.flatnonzero(mask).tolist()
    for step in steps:
      at = group, rollout, step
      row = {
        "task": f"{update}/{group}",
        "trajectory": rollout,
        "t": step,
        "observation": names[rollout][step],
        "next_observation": names[rollout][step + 1],
        "success": bool(success[rollout]),
        "reward": float(rollouts.reward[at]),
        "episode_return": float(returns[rollout]),
        "action_valid": bool(rollouts.action_valid[at]),
        "cost": 1.0 if rollouts.cost is None else float(rollouts.cost[at]),
        "action": int(rollouts.action[at]),
        "update": update,
        "group": group,
        "rollout": rollout,
        "step": step,
      }
      if texts is not None:
        before, after, named = texts(*at)
        row["action_text"] = named
        row["picture"] = before
        row["next_picture"] = after if step == steps[-1] else ""
      for name, value in row.items():
        columns.setdefault(name, []).append(value)
  return columns or {"t": []}


def _names(keys: np.ndarray) -> list[list[str]]:
  """Hexadecimal form of fingerprints uint32 [M, T + 1, 2]."""
  return [
    [f"{high:08x}{low:08x}" for high, low in rollout]
    for rollout in keys.tolist()
  ]


def _texts(
  environment: types.Environment, rollouts: Any
) -> Callable[[int, int, int], tuple[str, str, str]] | None:
  """Pictures of the states, each state's drawn once."""
  viewer = pictures.text_viewer(environment)
  if viewer is None or rollouts.task is None:
    return None
  show, name = viewer
  states = jax.device_get(
    replay.replay_states(
      environment, rollouts.task, rollouts.play_key, rollouts.action
    )
  )
  keys = rollouts.state_keys
  drawn: dict[Any, str] = {}
  named: dict[Any, str] = {}

  def state_at(*at):
    return jax.tree.map(lambda leaf: leaf[at], states)

  def picture(group, rollout, step):
    key = group, *keys[group, rollout, step].tolist()
    if key not in drawn:
      drawn[key] = show(state_at(group, rollout, step))
    return drawn[key]

  def texts(group, rollout, step):
    at = group, rollout, step
    action = int(rollouts.action[at])
    key = group, *keys[at].tolist(), action
    if key not in named:
      named[key] = name(state_at(*at), action)
    return picture(*at), picture(group, rollout, step + 1), named[key]

  return texts
