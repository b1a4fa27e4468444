"""Where games come from: files that look like the downloaded ones."""

import json

import pytest

from graphgpo_jax.envs.text import alfworld
from graphgpo_jax.envs.text.alfworld import games
from graphgpo_jax.envs.text.types import TextWorldError


@pytest.fixture
def data(tmp_path):
  """Five games, three of which can be played."""
  root = tmp_path / "data" / "json_2.1.1"
  for name, task_type, solvable in [
    ("train/pick_two-b/trial_1", "pick_two_obj_and_place", True),
    ("train/pick-a/trial_1", "pick_and_place_simple", True),
    ("train/pick-a/trial_2", "pick_and_place_simple", False),
    ("train/pick-movable/trial_1", "pick_and_place_simple", True),
    ("valid_unseen/look/trial_1", "look_at_obj_in_light", True),
  ]:
    folder = root / name
    folder.mkdir(parents=True)
    game = {"solvable": solvable, "name": name}
    (folder / "game.tw-pddl").write_text(json.dumps(game))
    trajectory = {"task_type": task_type}
    (folder / "traj_data.json").write_text(json.dumps(trajectory))
  return tmp_path / "data"


def _ids(side, **options):
  return alfworld.task_ids(side=side, source="downloaded", **options)


def test_downloaded_games_are_listed_by_side(data):
  assert _ids("train", data=data) == (
    "train/pick-a/trial_1",
    "train/pick_two-b/trial_1",
  )
  assert _ids("evaluation", data=data) == ("valid_unseen/look/trial_1",)


def test_downloaded_games_are_listed_by_type(data):
  chosen = _ids("train", data=data, task_types=["pick_two_obj_and_place"])
  assert chosen == ("train/pick_two-b/trial_1",)
  assert len(_ids("train", data=data, count=1)) == 1


def test_the_variable_names_the_folder(data, monkeypatch):
  monkeypatch.setenv("ALFWORLD_DATA", str(data))
  assert len(_ids("train")) == 2
  name = "train/pick-a/trial_1"
  assert games.game_of(name, cache=None, data=None)["name"] == name


def test_a_missing_folder_is_named(tmp_path, monkeypatch):
  monkeypatch.delenv("ALFWORLD_DATA", raising=False)
  with pytest.raises(ValueError, match="ALFWORLD_DATA is not set"):
    _ids("train")
  monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "away"))
  with pytest.raises(ValueError, match="there is no folder .*away"):
    _ids("train")
  assert not (tmp_path / "away").exists()


@pytest.mark.parametrize(
  "task_id",
  ["train/none", "", "../data/json_2.1.1/train/none", "../../outside", "/"],
)
def test_tasks_that_are_not_there_are_named(data, task_id):
  outside = data.parent / "outside"
  outside.mkdir()
  (outside / "game.tw-pddl").write_text("{}")
  with pytest.raises(ValueError, match="no ALFWorld task"):
    games.game_of(task_id, cache=None, data=data)


def test_a_link_does_not_lead_out_of_the_folder(data):
  outside = data.parent / "outside"
  outside.mkdir()
  (outside / "game.tw-pddl").write_text("{}")
  (data / "json_2.1.1" / "link").symlink_to(outside)
  with pytest.raises(ValueError, match="no ALFWorld task"):
    games.game_of("link", cache=None, data=data)


@pytest.mark.parametrize(
  "text", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 100_000]
)
def test_broken_files_are_named(data, text):
  name = "train/pick-a/trial_1"
  (data / "json_2.1.1" / name / "game.tw-pddl").write_bytes(text)
  with pytest.raises(TextWorldError, match="trial_1.*broken game file"):
    games.game_of(name, cache=None, data=data)


def test_huge_files_are_not_read(data, monkeypatch):
  monkeypatch.setattr(games, "_MOST_BYTES", 10)
  with pytest.raises(TextWorldError, match="larger than 10 bytes"):
    games.game_of("train/pick-a/trial_1", cache=None, data=data)
