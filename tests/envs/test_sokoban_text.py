"""Boxoban levels, text and pictures."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.envs.sokoban import (
  Sokoban,
  level_to_text,
  read_levels,
  render_episode,
  render_png,
  render_text,
  shortest_solution,
)

LEVELS = """; 0
##########
#        #
# $.  *  #
#  @   $ #
#   ##   #
# .   .$ #
#        #
#        #
#        #
##########

; 1
##########
##########
#######  #
#####*+$ #
#####  $.#
#######  #
##########
##########
##########
##########
"""
ROOM = ["######", "# @$.#", "#    #", "######"]


def level(rows):
  return "; 7\n" + "\n".join(rows) + "\n"


def test_levels_are_read_in_order():
  first, second = read_levels(LEVELS)
  assert first.walls.shape == (10, 10)
  assert first.boxes.sum() == first.targets.sum() == 4
  assert first.player == 33 and second.player == 36
  assert second.targets[3, 6] and second.boxes[3, 5] and second.targets[3, 5]
  assert first.solution_length == -1 and (first.solution == -1).all()
  assert first.solution.shape == (120,)
  assert read_levels(LEVELS, horizon=20)[0].solution.shape == (20,)


def test_levels_round_trip_through_text_and_file(tmp_path):
  tasks = read_levels(LEVELS)
  text = "\n".join(
    level_to_text(task, header=str(number)) for number, task in enumerate(tasks)
  )
  assert text == LEVELS
  path = tmp_path / "levels.txt"
  path.write_text(LEVELS)
  for task, from_path, from_name in zip(
    tasks, read_levels(path), read_levels(str(path)), strict=True
  ):
    assert level_to_text(task) == level_to_text(from_path)
    assert level_to_text(task) == level_to_text(from_name)


def test_levels_can_be_played():
  env = Sokoban(height=10, width=10, num_boxes=3, horizon=120)
  state, _ = env.reset(jax.random.key(0), read_levels(LEVELS)[1])
  state, *_, info = env.step(state, jnp.asarray(1))
  assert not info.action_valid or int(state.player) == 37


@pytest.mark.parametrize(
  ("rows", "row", "problem"),
  [
    (["######", "# @$.##", "######"], "2", "7 cells, but row 1 has 6"),
    (["######", "# @$x#", "######"], "2", "unknown character 'x' in column 5"),
    (["######", "#  $.#", "######"], "1 to 3", "no player"),
    ([*ROOM[:2], "#@   #", "######"], "3", "a second player"),
    (["######", "#@+$ #", "######"], "2", "a second player"),
    (["######", "#@$$.#", "######"], "1 to 3", "2 boxes, but 1 targets"),
    (["######", "#@ ..#", "######"], "1 to 3", "no boxes"),
    (["######", "#@ $. ", "######"], "2", "border is not all walls"),
    (["### ##", "#@ $.#", "######"], "1", "border is not all walls"),
    (["######", "", "#@ $.#", "######"], "2", "follows an empty line"),
    ([], "1", "no rows"),
  ],
)
def test_malformed_levels_are_named(rows, row, problem):
  text = "; 6\n" + "\n".join(ROOM) + "\n\n" + level(rows)
  with pytest.raises(ValueError, match=f"level '7', row {row}: .*{problem}"):
    read_levels(text)


def test_rows_before_a_header_are_refused():
  with pytest.raises(ValueError, match="line 1: a row before any header"):
    read_levels("\n".join(ROOM))


def test_solver_finds_the_optimum_or_says_there_is_none():
  (task,) = read_levels(level(["######", "#@ $.#", "#    #", "######"]))
  np.testing.assert_array_equal(shortest_solution(task, 5), [1, 1])
  assert shortest_solution(task, 1) is None
  (cornered,) = read_levels(level(["######", "#@ .$#", "######"]))
  assert shortest_solution(cornered, 100) is None
  (solved,) = read_levels(level(["######", "#@ * #", "######"]))
  assert shortest_solution(solved, 0).shape == (0,)


def small_state(text=ROOM):
  rows = [*text[:3], "#    #", "#    #", "######"]
  env = Sokoban(horizon=15)
  return env, env.reset(jax.random.key(0), read_levels(level(rows))[0])[0]


def test_text_of_a_state_is_its_level():
  _, state = small_state()
  assert render_text(state).split("\n")[:3] == ROOM[:3]
  for height, width in [(6, 10), (9, 7), (8, 8)]:
    rows = [
      "#" * width,
      "#@$." + " " * (width - 5) + "#",
      *["#" + " " * (width - 2) + "#"] * (height - 3),
      "#" * width,
    ]
    env = Sokoban(height=height, width=width)
    state, _ = env.reset(jax.random.key(0), read_levels(level(rows))[0])
    assert render_text(state).split("\n") == rows


def test_text_of_an_episode():
  env, state = small_state()
  actions = [0, 3, 1, 1]
  states = [state]
  for action in actions:
    states.append(env.step(states[-1], jnp.asarray(action))[0])
  text = render_episode(states, actions)
  for title in (
    "start\n",
    "step 1: up (no move)\n",
    "step 2: left\n",
    "step 3: right\n",
    "step 4: right (solved)\n",
  ):
    assert title in text
  assert "#  @*#" in text
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
  assert render_episode(stacked, np.asarray(actions)) == text
  with pytest.raises(ValueError, match="5 states and 3 actions"):
    render_episode(states, actions[:3])


def test_png_shows_every_kind_in_its_own_color(tmp_path):
  image_module = pytest.importorskip(
    "PIL.Image", reason="pictures need the extra [viz]"
  )
  rows = ["######", "#.$* #", "#@   #", "######"]
  on_target = ["######", "# $* #", "#+   #", "######"]
  images = []
  for number, text in enumerate((rows, on_target)):
    _, state = small_state(text)
    path = tmp_path / f"{number}.png"
    render_png(state, path, cell_size=20)
    images.append(image_module.open(path))
  assert images[0].size == (120, 120)

  def patch(image, row, column):
    corners = (column * 20, row * 20, column * 20 + 20, row * 20 + 20)
    return image.crop(corners).tobytes()

  patches = {
    patch(images[0], *cell)
    for cell in ((0, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 1))
  }
  patches.add(patch(images[1], 2, 1))
  assert len(patches) == 7
  with pytest.raises(ValueError, match="cell_size must be at least 8"):
    render_png(state, path, cell_size=7)


def test_png_without_pillow_names_the_command(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, "PIL", None)
  _, state = small_state()
  with pytest.raises(ImportError, match=r"pip install graphgpo-jax\[viz\]"):
    render_png(state, tmp_path / "room.png")
