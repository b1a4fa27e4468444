"""Sokoban on device: random solvable rooms, and Boxoban levels."""

from graphgpo_jax.envs.sokoban.env import Sokoban
from graphgpo_jax.envs.sokoban.levels import level_to_text, read_levels
from graphgpo_jax.envs.sokoban.solver import shortest_solution
from graphgpo_jax.envs.sokoban.types import SokobanState, SokobanTask
from graphgpo_jax.envs.sokoban.viewer import (
  render_episode,
  render_png,
  render_text,
)

__all__ = [
  "Sokoban",
  "SokobanState",
  "SokobanTask",
  "level_to_text",
  "read_levels",
  "render_episode",
  "render_png",
  "render_text",
  "shortest_solution",
]
