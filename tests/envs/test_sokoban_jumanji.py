"""Our Sokoban against jumanji's, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.envs.sokoban import Sokoban
from graphgpo_jax.envs.sokoban.types import unpack_cells


@pytest.mark.extra("dev")
def test_rules_equal_jumanji_on_random_actions():
  pytest.importorskip("jumanji", reason="the extra [dev] has jumanji")
  from jumanji.environments import Sokoban as JumanjiSokoban
  from jumanji.environments.routing.sokoban import constants
  from jumanji.environments.routing.sokoban.generator import (
    SimpleSolveGenerator,
  )
  from jumanji.environments.routing.sokoban.types import State

  num_tasks, num_steps = 128, 200
  ours = Sokoban(height=10, width=10, num_boxes=3, horizon=120)
  theirs = JumanjiSokoban(generator=SimpleSolveGenerator())
  keys = jax.random.split(jax.random.key(0), num_tasks)
  tasks = jax.jit(jax.vmap(ours.sample_task))(keys)
  actions = jax.random.randint(
    jax.random.key(1), (num_tasks, num_steps), 0, 4, jnp.int32
  )

  def their_start(task):
    row, column = task.player // 10, task.player % 10
    variable = jnp.where(task.boxes, constants.BOX, constants.EMPTY)
    fixed = jnp.where(task.targets, constants.TARGET, constants.EMPTY)
    return State(
      key=jax.random.PRNGKey(0),
      fixed_grid=jnp.where(task.walls, constants.WALL, fixed).astype(jnp.uint8),
      variable_grid=variable.at[row, column]
      .set(constants.AGENT)
      .astype(jnp.uint8),
      agent_location=jnp.stack([row, column]),
      step_count=jnp.zeros((), jnp.int32),
    )

  def play(task, actions):
    state, _ = ours.reset(jax.random.key(0), task)

    def step(states, action):
      our_state, their_state = states
      our_state, _, _, terminated, _, info = ours.step(our_state, action)
      before = their_state.variable_grid
      their_state, _ = theirs.step(their_state, action)
      variable = their_state.variable_grid
      on_target = (variable == constants.BOX) & task.targets
      row, column = their_state.agent_location
      our_side = {
        "boxes": unpack_cells(our_state.boxes, 100).reshape(10, 10),
        "player": our_state.player,
        "valid": info.action_valid,
        "solved": terminated,
        "t": our_state.t,
      }
      their_side = {
        "boxes": variable == constants.BOX,
        "player": row * 10 + column,
        "valid": jnp.any(variable != before),
        "solved": jnp.sum(on_target) == 3,
        "t": their_state.step_count,
      }
      return (our_state, their_state), (our_side, their_side)

    return jax.lax.scan(step, (state, their_start(task)), actions)[1]

  solutions = jnp.maximum(tasks.solution, 0)
  for moves in (actions, solutions):
    our_side, their_side = jax.device_get(jax.jit(jax.vmap(play))(tasks, moves))
    for name, values in our_side.items():
      np.testing.assert_array_equal(values, their_side[name], err_msg=name)
  # Random play must have met pushes and blocked moves, or this shows little;
  # the solutions meet the end.
  assert our_side["solved"].any(axis=1).all()
  assert 0.1 < our_side["valid"].mean() < 1.0
