"""ScienceWorld: steps of this package's environment against the stock one's.

The stock wrapper asks for look, inventory and all valid actions after every
step; ours, made without them, for score and end only. How much that saves
depends on the command: the engine reads "look around" in about a millisecond, a
command on two things, or a teleport among all places, in tens of them.
"""

import itertools
import logging
import random
import statistics
import time
from typing import Any

from experiments.text_bench.options import Options
from graphgpo_jax.envs.text import scienceworld, state_keys, text_extra

GOAL_RATIO = 50.0
_TASKS = ("boil", "find-plant", "use-thermometer", "power-component")
# A Java machine compiles while it runs: ours replays a round this often, and
# only the last time counts. The stock one asks for so much in each step that
# its first task does the same for it.
_REPLAYS = 4
_LOOKS_PER_STOCK_LOOK = 20


def _timed(step, commands):
  """What was answered, and seconds."""
  started = time.perf_counter()
  answers = [step(command) for command in commands]
  return answers, time.perf_counter() - started


def _play_stock(stock, steps, choice):
  """Random play of valid commands: they, the answers, seconds in `step`."""
  _, infos = stock.reset()
  commands, answers, seconds = [], [], 0.0
  for _ in range(steps):
    # A wrong focus ends an episode at once.
    valid = [c for c in sorted(infos["valid"]) if not c.startswith("focus")]
    command = choice.choice(valid)
    started = time.perf_counter()
    answer, _, done, infos = stock.step(command)
    seconds += time.perf_counter() - started
    commands.append(command)
    answers.append(answer)
    if done:
      break
  return commands, answers, seconds


def _round(stock, ours, task, steps, choice):
  stock.load(task, 0, "easy")
  commands, wanted, stock_seconds = _play_stock(stock, steps, choice)

  def step(command):
    return ours.step(command).observation

  for _ in range(_REPLAYS):
    ours.reset(f"{task}/easy/0")
    answers, seconds = _timed(step, commands)
  same = sum(
    state_keys.sorted_lines(wanted_one) == state_keys.sorted_lines(one)
    for wanted_one, one in zip(wanted, answers, strict=True)
  )
  looks = max(2, steps // 4)
  stock.reset()
  _, stock_look = _timed(stock.step, ["look around"] * looks)
  ours.reset(f"{task}/easy/0")
  many = looks * _LOOKS_PER_STOCK_LOOK
  _, look = _timed(step, ["look around"] * many)
  return {
    "commands": len(commands),
    "same": same,
    "valid": (stock_seconds / len(commands), seconds / len(commands)),
    "look": (stock_look / looks, look / many),
  }


def measure(options: Options) -> dict[str, Any]:
  """Plays commands in the stock environment and again in ours.

  Args:
    options: how many episodes of random valid commands, four tasks taking
      turns, after one for warming up, and how many commands in each.

  Returns:
    For "valid" (random valid commands) and "look" ("look around"):
    `stock_steps_per_second`, `steps_per_second` and `ratio`, medians over the
    episodes. Beside them the `goal`, the number of `steps` measured and the
    `same_answers` among them: some answers the engine words by chance.
  """
  library = text_extra.require("scienceworld", "the stock environment")
  choice = random.Random(options.seed)
  played = itertools.islice(itertools.cycle(_TASKS), options.episodes)
  # py4j logs the end of the stock engine's connection as if it were a fault.
  logging.getLogger("py4j").setLevel(logging.CRITICAL)
  stock = library.ScienceWorldEnv("", envStepLimit=10**9)
  try:
    ours = scienceworld.make(max_steps=10**9, surroundings=False)
    try:
      # The first round is for warming up.
      rounds = [
        _round(stock, ours, task, options.steps, choice)
        for task in (_TASKS[0], *played)
      ][1:]
    finally:
      ours.close()
  finally:
    stock.close()
  found: dict[str, Any] = {
    "goal": GOAL_RATIO,
    "steps": sum(row["commands"] for row in rounds),
    "same_answers": sum(row["same"] for row in rounds),
  }
  for kind in ("valid", "look"):
    pairs = [row[kind] for row in rounds]
    found[kind] = {
      "stock_steps_per_second": statistics.median(1 / a for a, _ in pairs),
      "steps_per_second": statistics.median(1 / b for _, b in pairs),
      "ratio": statistics.median(a / b for a, b in pairs),
    }
  return found


def table(found: dict[str, Any]) -> str:
  """What `measure` found, in lines."""
  lines = [
    f"{kind:<6} stock {found[kind]['stock_steps_per_second']:7.1f} steps/s, "
    f"ours {found[kind]['steps_per_second']:7.1f}, "
    f"ratio {found[kind]['ratio']:5.0f} (goal {found['goal']:.0f})"
    for kind in ("valid", "look")
  ]
  same = f"{found['same_answers']} of {found['steps']}"
  return "\n".join([*lines, f"same answers: {same}"])
