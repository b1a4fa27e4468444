"""Measures environment steps per second, with random actions.

  python -m experiments.bench_envs --environments=sokoban,household \
      --num_envs=1024 --output=bench_envs.json

Every environment plays `--num_envs` copies in one jitted `lax.scan`, with
actions drawn beforehand and without auto-reset. All outputs of each step, the
observation among them, are written to memory, then read again and summed into
a checksum. Sokoban is compared in the same run with jumanji's (extra [dev]):
both play the level of jumanji's SimpleSolveGenerator (10x10, 4 boxes) with the
same actions. The repeats of all contestants are interleaved; the median is
reported.

Result to expect: ours / theirs between 1.5 and 2 on CPU (7 million steps per
second against 4 on two cores).
"""

import dataclasses
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from absl import app, flags

_ENVIRONMENTS = flags.DEFINE_list(
  "environments", ["sokoban"], "Which of: sokoban, household."
)
_NUM_ENVS = flags.DEFINE_integer("num_envs", 1024, "Copies in parallel.")
_NUM_STEPS = flags.DEFINE_integer("num_steps", 200, "Steps of one scan.")
_REPEATS = flags.DEFINE_integer("repeats", 7, "Timed scans per contestant.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of tasks and actions.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.")


@dataclasses.dataclass(frozen=True)
class Contestant:
  """An environment as the bench sees it.

  Attributes:
    name: name in the table.
    num_actions: A, actions are drawn from [0, A).
    start: unbatched start state from a key.
    step: unbatched (state, action) -> (state, outputs), where outputs is a
      pytree of all that a learner gets of a step.
  """

  name: str
  num_actions: int
  start: Callable[[jax.Array], Any]
  step: Callable[[Any, jax.Array], tuple[Any, Any]]


def _from_environment(name, environment, task_of) -> Contestant:
  """A contestant of one of this package's environments."""

  def start(key):
    task_key, reset_key = jax.random.split(key)
    return environment.reset(reset_key, task_of(task_key))[0]

  def step(state, action):
    next_state, *outputs = environment.step(state, action)
    return next_state, tuple(outputs)

  return Contestant(name, environment.spec.num_actions, start, step)


def _sokoban() -> list[Contestant]:
  """This package's Sokoban and jumanji's, on the same level."""
  try:
    from jumanji.environments import Sokoban as JumanjiSokoban
    from jumanji.environments.routing.sokoban import constants
    from jumanji.environments.routing.sokoban.generator import (
      SimpleSolveGenerator,
    )
  except ImportError as error:
    raise ImportError(
      "the Sokoban bench compares with jumanji: pip install graphgpo-jax[dev]"
    ) from error
  from graphgpo_jax.envs.sokoban import Sokoban, SokobanTask

  horizon = 120
  theirs = JumanjiSokoban(generator=SimpleSolveGenerator(), time_limit=horizon)
  level = SimpleSolveGenerator()(jax.random.key(0))
  row, column = level.agent_location
  task = SokobanTask(
    walls=level.fixed_grid == constants.WALL,
    targets=level.fixed_grid == constants.TARGET,
    boxes=level.variable_grid == constants.BOX,
    player=(row * constants.GRID_SIZE + column).astype(jnp.int32),
    solution=jnp.full((horizon,), -1, jnp.int32),
    solution_length=jnp.asarray(-1, jnp.int32),
  )
  ours = Sokoban(height=10, width=10, num_boxes=3, horizon=horizon)
  return [
    _from_environment("sokoban", ours, lambda key: task),
    Contestant(
      "sokoban (jumanji)", 4, lambda key: theirs.reset(key)[0], theirs.step
    ),
  ]


def _household() -> list[Contestant]:
  """This package's household world; there is none like it to compare with."""
  from graphgpo_jax.envs.household import Household

  environment = Household(tier=1)
  return [_from_environment("household", environment, environment.sample_task)]


_FACTORIES = {"sokoban": _sokoban, "household": _household}


def _sums(outputs):
  """Sums the outputs over the copies: a tree of uint32, without their axis."""
  return jax.tree.map(
    lambda leaf: jnp.sum(leaf.astype(jnp.uint32), axis=0, dtype=jnp.uint32),
    outputs,
  )


def _prepare(contestant: Contestant, num_envs, num_steps, seed):
  """A compiled run of the contestant, as a function without arguments."""
  start_key, action_key = jax.random.split(jax.random.key(seed))
  states = jax.jit(jax.vmap(contestant.start))(
    jax.random.split(start_key, num_envs)
  )
  actions = jax.random.randint(
    action_key, (num_steps, num_envs), 0, contestant.num_actions
  )
  step = jax.vmap(contestant.step)

  def scan_step(carry, action):
    states, sums = carry
    # Without the barrier, XLA may sum an observation without ever making it.
    states, outputs = jax.lax.optimization_barrier(step(states, action))
    return (states, jax.tree.map(jnp.add, sums, _sums(outputs))), None

  @jax.jit
  def run(states, actions):
    _, shapes = jax.eval_shape(step, states, actions[0])
    sums = jax.tree.map(
      lambda leaf: jnp.zeros(leaf.shape[1:], jnp.uint32), shapes
    )
    (states, sums), _ = jax.lax.scan(scan_step, (states, sums), actions)
    leaves = jax.tree.leaves(sums)
    return states, sum(jnp.sum(leaf, dtype=jnp.uint32) for leaf in leaves)

  compiled = run.lower(states, actions).compile()
  return lambda: jax.block_until_ready(compiled(states, actions))


def measure(
  contestants: list[Contestant],
  *,
  num_envs: int,
  num_steps: int,
  repeats: int,
  seed: int,
) -> list[dict[str, Any]]:
  """Times the contestants in turn.

  Args:
    contestants: who takes part.
    num_envs: copies in parallel.
    num_steps: steps of one timed scan.
    repeats: timed scans per contestant.
    seed: seed of tasks and actions.

  Returns:
    A record per contestant: its name, the median of steps per second (counting
    every copy), the value of each repeat, and the checksum of its outputs.
  """
  runs = [_prepare(each, num_envs, num_steps, seed) for each in contestants]
  checksums = [int(run()[1]) for run in runs]
  rates: list[list[float]] = [[] for _ in runs]
  for _ in range(repeats):
    for run, values in zip(runs, rates, strict=True):
      begin = time.perf_counter()
      run()
      values.append(num_envs * num_steps / (time.perf_counter() - begin))
  return [
    {
      "name": contestant.name,
      "steps_per_second": statistics.median(values),
      "repeats": values,
      "checksum": checksum,
    }
    for contestant, values, checksum in zip(
      contestants, rates, checksums, strict=True
    )
  ]


def main(argv):
  """Runs the bench and prints its table."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments {argv[1:]}")
  unknown = set(_ENVIRONMENTS.value) - set(_FACTORIES)
  if unknown:
    raise app.UsageError(
      f"unknown environments {sorted(unknown)}; known: {sorted(_FACTORIES)}"
    )
  contestants = [
    contestant
    for name in _ENVIRONMENTS.value
    for contestant in _FACTORIES[name]()
  ]
  records = measure(
    contestants,
    num_envs=_NUM_ENVS.value,
    num_steps=_NUM_STEPS.value,
    repeats=_REPEATS.value,
    seed=_SEED.value,
  )
  rate_of = {each["name"]: each["steps_per_second"] for each in records}
  print(f"{'environment':20}{'steps/s':>14}{'ours/theirs':>14}")
  for record in records:
    name = record["name"]
    theirs = rate_of.get(f"{name} (jumanji)")
    record["ratio"] = rate_of[name] / theirs if theirs else None
    ratio = f"{record['ratio']:.2f}" if record["ratio"] else "-"
    print(f"{name:20}{rate_of[name]:>14,.0f}{ratio:>14}")
  if _OUTPUT.value:
    report = {
      "num_envs": _NUM_ENVS.value,
      "num_steps": _NUM_STEPS.value,
      "seed": _SEED.value,
      "auto_reset": False,
      "device": jax.devices()[0].device_kind,
      "cpu_count": os.cpu_count(),
      "jax": jax.__version__,
      "records": records,
    }
    pathlib.Path(_OUTPUT.value).write_text(
      json.dumps(report, indent=2) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
  app.run(main)
