"""ALFWorld's engine against the stock one, on the same episodes in one run.

Both play the same generated games with the same commands, taking turns episode
by episode: some way along the planner's plan, then at random, one command in
ten of a kind that no world understands.
"""

import collections
import itertools
import random
import time
from collections.abc import Iterator
from typing import Any

from experiments.text_bench.options import Options, Stopwatch
from experiments.text_bench.stock_alfworld import Line, StockEngine
from graphgpo_jax.envs.text.alfworld import generator, tasks
from graphgpo_jax.envs.text.alfworld.fast_engine import FastEngine, load_game
from graphgpo_jax.envs.text.alfworld.room_kinds import TASK_TYPES

# Episodes of one game; the stock engine needs seconds to load another.
_EPISODES_OF_A_GAME = 4
_NONSENSE = ("dance", "go to nowhere 1", "take moon 1 from sky 1", "")


def measure(options: Options) -> dict[str, Any]:
  """Plays generated games with both engines.

  Returns:
    Findings of `fast` and `stock`, the `ratio` of their steps a second,
    `transcripts_equal`, and how many episodes were `won`.
  """
  watches = {"fast": Stopwatch(), "stock": Stopwatch()}
  equal, won = True, 0
  games = generated_games(options.seed)
  for fast, stock in episodes(games, options, watches):
    equal = equal and fast == stock
    won += fast[-1][-1]
  findings: dict[str, Any] = {
    name: watch.findings() for name, watch in watches.items()
  }
  rates = {name: found["steps_per_second"] for name, found in findings.items()}
  return {
    **findings,
    "ratio": rates["fast"] / rates["stock"],
    "transcripts_equal": equal,
    "won": won,
  }


def generated_games(seed: int) -> Iterator[dict[str, Any]]:
  """What the files of generated games hold, the types of tasks taking turns."""
  for number in itertools.count(1000 * seed):
    for task_type in TASK_TYPES:
      yield generator.game_data(tasks.GeneratedTask(task_type, number))[0]


def table(found: dict[str, Any]) -> str:
  """The findings in lines."""
  lines = [
    f"{name:>6}: {found[name]['steps_per_second']:8.1f} steps/s, "
    f"{found[name]['reset_seconds']:6.3f} s a reset"
    for name in ("fast", "stock")
  ]
  same = "equal" if found["transcripts_equal"] else "NOT EQUAL"
  steps = found["fast"]["steps"]
  lines.append(
    f"fast / stock = {found['ratio']:.1f}; transcripts of {steps} steps {same},"
    f" {found['won']} episodes won"
  )
  return "\n".join(lines)


def episodes(
  games: Iterator[dict[str, Any]],
  options: Options,
  watches: dict[str, Stopwatch] | None = None,
) -> Iterator[tuple[list[Line], list[Line]]]:
  """Plays episodes with both engines.

  Args:
    games: what game files hold, enough of them; a few episodes play each.
    options: how many episodes, how long, which commands.
    watches: filled with the seconds of "fast" and "stock".

  Yields:
    The transcripts of the fast engine and of the stock one, for each episode.
  """
  watches = watches or collections.defaultdict(Stopwatch)
  rng = random.Random(options.seed)
  fast, stock = FastEngine(), StockEngine()
  try:
    for first in range(0, options.episodes, _EPISODES_OF_A_GAME):
      data = next(games)
      game, plan = load_game(data), generator.solve(data)
      stock.load(data)
      left = options.episodes - first
      for _ in range(min(_EPISODES_OF_A_GAME, left)):
        yield _episode(fast, stock, game, plan, rng, options.steps, watches)
  finally:
    fast.close()


def _episode(fast, stock, game, plan, rng, steps, watches):
  """One episode of both; the fast engine's answers decide on the commands."""
  started = time.perf_counter()
  turn = fast.reset(game)
  watches["fast"].reset_seconds += time.perf_counter() - started
  watches["fast"].resets += 1
  ours = [(turn.feedback, turn.admissible_commands, 0, turn.won)]
  commands: list[str] = []
  follow = rng.randrange(len(plan) + 1)
  while len(commands) < steps and not turn.won:
    if len(commands) < follow:
      command = plan[len(commands)]
    elif rng.random() < 0.1:
      command = rng.choice(_NONSENSE)
    else:
      command = rng.choice(turn.admissible_commands)
    commands.append(command)
    started = time.perf_counter()
    turn = fast.step(command)
    watches["fast"].step_seconds += time.perf_counter() - started
    ours.append(
      (turn.feedback, turn.admissible_commands, int(turn.won), turn.won)
    )
  watches["fast"].steps += len(commands)

  started = time.perf_counter()
  theirs = [stock.reset()]
  watches["stock"].reset_seconds += time.perf_counter() - started
  watches["stock"].resets += 1
  started = time.perf_counter()
  theirs += [stock.step(command) for command in commands]
  watches["stock"].step_seconds += time.perf_counter() - started
  watches["stock"].steps += len(commands)
  return ours, theirs
