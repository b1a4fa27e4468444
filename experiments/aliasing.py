"""How often a state key of a text world takes two states for one.

python -m experiments.aliasing --world=textworld_express --episodes=40

Plays random episodes and prints, for each of the world's state keys (or the
one of --key), how many different (key, action) were met again and how many of
those led to different next keys. A good key has few conflicts and many repeats;
a key with no repeats says nothing.
"""

import ast
import itertools
import random
from typing import Any

from absl import flags

from experiments import running
from graphgpo_jax.envs.text import aliasing, registry

SUCCESS = "success"

_WORLD = flags.DEFINE_string(
  "world",
  None,
  f"The world to play: {', '.join(registry.WORLDS)}, or the path of a module "
  "of your own.",
)
_KEY = flags.DEFINE_string(
  "key",
  None,
  "One kind of key, or module:function of your own; all kinds without it.",
)
_EPISODES = flags.DEFINE_integer("episodes", 20, "Episodes.", lower_bound=1)
_TASKS = flags.DEFINE_integer(
  "tasks", 4, "Training tasks that share the episodes.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the random actions.")
_EXAMPLES = flags.DEFINE_integer(
  "examples", 1, "Conflicts to print.", lower_bound=0
)
_OPTIONS = flags.DEFINE_multi_string(
  "option", [], "name=value for the world's make, such as max_steps=30."
)
_TASK_OPTIONS = flags.DEFINE_multi_string(
  "task_option", [], "name=value for its task_ids, such as game=twc."
)


def _parse(words: list[str]) -> dict[str, Any]:
  """Options of the command line: numbers, True, dicts, or else text."""
  found: dict[str, Any] = {}
  for word in words:
    name, equals, value = word.partition("=")
    if not equals or not name.isidentifier():
      raise ValueError(f"expected name=value, got {word!r}")
    try:
      found[name] = ast.literal_eval(value)
    except (SyntaxError, ValueError):
      found[name] = value
  return found


def play(environment, tasks, state_keys, *, episodes, seed):
  """Plays random episodes.

  Args:
    environment: a text world that lists its admissible actions.
    tasks: task ids, taken in turns.
    state_keys: kind to state key.
    episodes: how many.
    seed: of the actions.

  Returns:
    kind to list of (key, action, next key); a key is (task, text), and what
    solves a task leads to SUCCESS whatever the text.

  Raises:
    ValueError: the world lists no admissible actions.
  """
  choice = random.Random(seed)
  found: dict[str, list] = {kind: [] for kind in state_keys}
  for task in itertools.islice(itertools.cycle(tasks), episodes):
    step = environment.reset(task, seed=seed)
    while not step.done:
      if not step.admissible_actions:
        raise ValueError(f"{task}: the world lists no actions to choose from")
      action = choice.choice(step.admissible_actions)
      before, step = step, environment.step(action)
      for kind, state_key in state_keys.items():
        after = SUCCESS if step.success else state_key(step)
        found[kind].append(((task, state_key(before)), action, (task, after)))
  return found


def line(kind: str, report: aliasing.AliasingReport) -> str:
  """A row of the table."""
  return (
    f"{kind:<14}{report.transitions:>12}{report.states:>9}{report.repeats:>9}"
    f"{report.conflicts:>11}{report.conflict_share:>9.1%}"
  )


def _print_example(conflict: aliasing.Conflict) -> None:
  # `play` made the keys: (task, text).
  keys: Any = (conflict.key, *conflict.next_keys[:2])
  print(f"  e.g. {conflict.action!r} in {keys[0][0]} led to")
  for _, text in keys[1:]:
    print(f"    {text[:200]!r}")


def _make(world: str, kinds: list[str]):
  """An environment with what the keys need, and those it can give."""
  options: dict[str, Any] = {}
  for kind in kinds:
    options |= registry.key_options(world, kind)
  # Without a list there would be nothing to choose random actions from.
  if world == "scienceworld":
    options["admissible_actions"] = True
  return registry.make(world, **(options | _parse(_OPTIONS.value)))


def main(argv):
  """Runs the binary."""
  running.refuse_arguments(argv)
  # Never None: the flag is required.
  world = _WORLD.value or ""
  kinds = [_KEY.value] if _KEY.value else list(registry.key_kinds(world))
  task_options = _parse(_TASK_OPTIONS.value)
  # The engine tells the true state of one game only.
  if (
    world == "textworld_express"
    and not _KEY.value
    and task_options.get("game") != "cookingworld"
  ):
    kinds.remove("true")
  state_keys = {kind: registry.state_key(world, kind) for kind in kinds}
  listed = registry.task_ids(world, side="train", **task_options)
  tasks = list(itertools.islice(listed, _TASKS.value))
  environment = _make(world, kinds)
  try:
    found = play(
      environment,
      tasks,
      state_keys,
      episodes=_EPISODES.value,
      seed=_SEED.value,
    )
  finally:
    environment.close()
  print(f"{world}: {_EPISODES.value} random episodes of {', '.join(tasks)}")
  print("key            transitions   states  repeats  conflicts    share")
  for kind, transitions in found.items():
    report = aliasing.aliasing_report(transitions, num_examples=_EXAMPLES.value)
    print(line(kind, report))
    for conflict in report.examples:
      _print_example(conflict)


if __name__ == "__main__":
  flags.mark_flag_as_required("world")
  running.run(main)
