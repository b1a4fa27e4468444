"""What runs and worlds leave or read: metrics, configs, panels, games."""

import json

import ml_collections

from graphgpo_jax.envs.sokoban import levels
from graphgpo_jax.envs.text import panels, types
from graphgpo_jax.envs.text.alfworld import games
from graphgpo_jax.envs.text.webshop import product_files
from graphgpo_jax.training import comparison, metrics, workdir
from tests.envs.text.webshop import goods_for_tests
from tests.fuzz.target import Target, replaced


def _make_metrics(folder):
  writer = metrics.MetricsWriter(folder, tensorboard=False)
  for step in range(5):
    values = {"loss/policy": 0.5 - step, "time/update": 2, "eval/success": 0.5}
    writer.write(step, values)
  writer.write(5, {"loss/policy": float("nan")})
  writer.close()


def _read_metrics(folder):
  path = folder / "metrics.jsonl"
  curve = comparison.read_curve(path, num_updates=4)
  if curve:
    comparison.area_under(curve)
    comparison.updates_to(curve, 0.5)
  try:
    metrics.read_metrics(path)
  finally:
    # A run that goes on from there.
    writer = metrics.MetricsWriter(folder, tensorboard=False)
    writer.go_on_from(3)
    for step in (3, 4, 5, 6):
      writer.write(step, {"loss/policy": 0.5 - step})
    writer.close()
    metrics.read_metrics(path)


def _config():
  return ml_collections.ConfigDict(
    {"num_updates": 3, "policy": {"width": 8, "name": "é"}, "tasks": [1, 2]}
  )


def _make_workdir(folder):
  workdir.claim_workdir(folder, _config())


def _read_workdir(folder):
  workdir.read_config(folder)
  workdir.claim_workdir(folder, _config())


def _make_panel(folder):
  (folder / "some.txt").write_text("scene/1\nscene/2\n\nscene/é\n")
  found = panels.panel_sha256(["scene/1", "scene/2", "scene/é"])
  (folder / "SHA256SUMS").write_text(f"{found}  some.txt\n")


def _read_panel(folder):
  with replaced(panels, "_FOLDER", folder):
    panels.panel_names()
    panels.panel_sha256(panels.load_panel("some"))


def _make_levels(folder):
  (folder / "levels.txt").write_text(
    "; 0\n#####\n#@$.#\n#####\n\n; 1\n######\n# .$@#\n#   *#\n######\n"
  )


def _read_levels(folder):
  levels.read_levels(folder / "levels.txt")


def _make_products(folder):
  goods_for_tests.write_files(folder)


def _read_products(folder):
  names = "items_shuffle.json", "items_ins_v2.json", "items_human_ins.json"
  products = product_files.read_products(str(folder), *names[:2])
  product_files.human_goals(str(folder), names[2], products)
  product_files.template_goals(str(folder), names[1], products)


def _make_games(folder):
  home = folder / "train" / "look_at_obj" / "trial_1"
  home.mkdir(parents=True)
  game = {"solvable": True, "pddl_problem": "(define)", "grammar": "{}"}
  (home / "game.tw-pddl").write_text(json.dumps(game))
  trajectory = {"task_type": "look_at_obj_in_light", "pddl_params": {}}
  (home / "traj_data.json").write_text(json.dumps(trajectory))


def _read_games(folder):
  for name in games.downloaded_ids(side="train", data=folder):
    games.game_of(name, cache=None, data=folder)


TARGETS = (
  Target("metrics", _make_metrics, _read_metrics, 900, 90),
  Target("workdir", _make_workdir, _read_workdir, 400, 40),
  Target("panel", _make_panel, _read_panel, 400, 30),
  Target("levels", _make_levels, _read_levels, 600, 40),
  Target(
    "products",
    _make_products,
    _read_products,
    500,
    30,
    errors=(ValueError, types.TextWorldError),
  ),
  Target(
    "games",
    _make_games,
    _read_games,
    300,
    20,
    errors=(ValueError, types.TextWorldError),
  ),
)
