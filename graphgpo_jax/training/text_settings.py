"""The config's section for text worlds: keys, checks, tasks."""

from typing import Any

import ml_collections
import numpy as np

from graphgpo_jax.envs.text import panels, registry
from graphgpo_jax.policy.acting import reading
from graphgpo_jax.training import config_keys

TIMEOUTS = ("text.step_timeout", "text.reset_timeout")


def default_section() -> ml_collections.ConfigDict:
  """Every key of `config.text` with its default.

  `tasks` is open: a name of the reader's own for each set of tasks, with the
  keywords of the world's `task_ids`. Training draws from their training sides,
  each set as often as any other.
  """
  section = ml_collections.ConfigDict()
  # An episode's steps at most, T.
  section.max_steps = 30
  # A key of the world's, or module:function of the user's.
  section.state_key = "recipe"
  # Rewards as the world pays them; otherwise a success earns 1.
  section.world_rewards = False
  # Of a run's folder `rollouts`, where every training episode is kept as JSON
  # lines until newer ones need the room; 0 keeps none.
  section.rollout_megabytes = 1024
  section.num_workers = 2
  section.environments_per_worker = 8
  # Seconds that a step or a reset may take before its worker process is killed
  # and the episode has failed; a reset may have to make the game first.
  section.step_timeout = 60.0
  section.reset_timeout = 300.0
  section.tasks = ml_collections.ConfigDict()
  # A panel that comes with the package; "" draws config.panel.size tasks of the
  # evaluation sides with config.panel.seed.
  section.panel = ""
  section.reading = ml_collections.ConfigDict(
    {
      "vocabulary_size": 4096,
      "max_tokens": 96,
      "max_commands": 24,
      "max_command_tokens": 8,
      "history": 2,
      "facts": (),
      "show_observation": True,
      "show_tried": True,
      "keep_last_words": False,
    }
  )
  return section


def is_text(config: ml_collections.ConfigDict) -> bool:
  """Whether the config's environment is a text world."""
  return registry.is_world(config.environment.get("name", ""))


def check(config: ml_collections.ConfigDict) -> None:
  """Checks `config.text`, and that nothing is asked for that text lacks.

  Raises:
    ValueError: a value is out of range; the message names it.
  """
  section = config.text
  for name in ("max_steps", "num_workers", "environments_per_worker"):
    if section[name] < 1:
      raise ValueError(
        f"config.text.{name} must be at least 1, got {section[name]}"
      )
  config_keys.check_positive(config, TIMEOUTS)
  if section.rollout_megabytes < 0:
    raise ValueError(
      "config.text.rollout_megabytes must be at least 0, got "
      f"{section.rollout_megabytes}"
    )
  if not is_text(config):
    return
  world = config.environment.name
  registry.state_key(world, section.state_key)
  if not section.tasks:
    raise ValueError(
      "config.text.tasks is empty: nothing says which tasks to train on"
    )
  reading_spec(config)
  for name, value, only in (
    ("mesh.fsdp", config.mesh.fsdp, 1),
    ("mesh.tensor", config.mesh.tensor, 1),
    ("rollout.max_resamples", config.rollout.max_resamples, 0),
    ("memory.pool_size", config.memory.pool_size, 0),
  ):
    if value != only:
      raise ValueError(
        f"config.{name}={value} is not possible in text worlds: expected {only}"
      )


def success_reward(config: ml_collections.ConfigDict) -> float | None:
  """What a success's last step earns; None where the world pays for steps."""
  return None if config.text.world_rewards else 1.0


def reading_spec(config: ml_collections.ConfigDict) -> reading.ReadingSpec:
  """What the policy reads.

  Raises:
    ValueError: a size is out of range.
  """
  try:
    return reading.ReadingSpec(**config.text.reading.to_dict())
  except ValueError as error:
    raise ValueError(f"config.text.reading: {error}") from error


def task_sets(
  config: ml_collections.ConfigDict, *, side: str
) -> list[list[str]]:
  """The tasks of each set of `config.text.tasks`, in the order of their names.

  Raises:
    ValueError: the world refuses an option, or a set is empty.
  """
  sets = []
  for name in sorted(config.text.tasks):
    options: dict[str, Any] = config.text.tasks[name].to_dict()
    try:
      found = list(
        registry.task_ids(config.environment.name, side=side, **options)
      )
    except (TypeError, ValueError) as error:
      raise ValueError(f"config.text.tasks.{name}: {error}") from error
    if not found:
      raise ValueError(f"config.text.tasks.{name} has no task of side {side!r}")
    sets.append(found)
  return sets


def draw_tasks(
  sets: list[list[str]], number: int, random: np.random.Generator
) -> list[str]:
  """Draws tasks: the k-th from set k modulo their number, without repetition.

  A set with fewer tasks than are asked of it is taken several times.
  """
  drawn = []
  for index, tasks in enumerate(sets):
    wanted = len(range(index, number, len(sets)))
    order: list[int] = []
    while len(order) < wanted:
      order += random.permutation(len(tasks)).tolist()
    drawn.append([tasks[position] for position in order[:wanted]])
  return [
    drawn[position % len(sets)][position // len(sets)]
    for position in range(number)
  ]


def panel(config: ml_collections.ConfigDict) -> list[str]:
  """The evaluation tasks.

  Raises:
    ValueError: there is no such panel, or it lacks tasks.
  """
  if config.text.panel:
    found = panels.load_panel(config.text.panel)
    if len(found) < config.panel.size:
      raise ValueError(
        f"config.panel.size={config.panel.size}: panel {config.text.panel!r} "
        f"has {len(found)} tasks"
      )
    return found[: config.panel.size]
  return draw_tasks(
    task_sets(config, side="evaluation"),
    config.panel.size,
    np.random.default_rng(config.panel.seed),
  )
