"""Parts of the text worlds that need no engine."""

import json
import sys

import pytest

from graphgpo_jax.envs.text import episode_clock, jvm, state_keys
from graphgpo_jax.envs.text.scienceworld import keys, object_tree
from graphgpo_jax.envs.text.textworld import env, maker
from graphgpo_jax.envs.text.textworld_express import object_tree as cooking
from graphgpo_jax.envs.text.types import TextStep, TextWorldError


@pytest.mark.parametrize("java_home", [None, "/nonexistent"])
def test_java_missing(java_home, monkeypatch, tmp_path):
  monkeypatch.setenv("PATH", str(tmp_path))
  monkeypatch.delenv("JAVA_HOME", raising=False)
  if java_home:
    monkeypatch.setenv("JAVA_HOME", java_home)
  with pytest.raises(TextWorldError, match="needs Java 8 or later"):
    jvm.find_java()


@pytest.mark.parametrize(
  ("feedback", "answer"),
  [
    ("\nYou take it.\n\n>" + " " * 90 + "-= Shower =-0/3", "You take it."),
    ("\nOh.\n\n\n\n>" + " " * 90 + "-= The = room =--1/12", "Oh."),
    ("\n-= Shower =-\nYou are here.\n\n>", "-= Shower =-\nYou are here."),
    ("plain", "plain"),
  ],
)
def test_status_line_goes(feedback, answer):
  assert env.answer_of(feedback) == answer


def test_clock():
  clock = episode_clock.EpisodeClock(max_steps=2)
  with pytest.raises(ValueError, match="call reset"):
    clock.check()
  clock.begin()
  assert not clock.tick(terminated=False)
  clock.check()
  assert clock.tick(terminated=False)
  with pytest.raises(ValueError, match="call reset"):
    clock.check()
  clock.begin()
  assert not clock.tick(terminated=True)
  with pytest.raises(ValueError, match="call reset"):
    clock.check()


def test_last_step_that_solves_is_not_truncated():
  clock = episode_clock.EpisodeClock(max_steps=1)
  clock.begin()
  assert not clock.tick(terminated=True)


def test_clock_without_steps():
  with pytest.raises(ValueError, match="max_steps"):
    episode_clock.EpisodeClock(max_steps=0)


def step(**facts):
  return TextStep(
    observation="b\na", task="t", admissible_actions=("x", "w"), facts=facts
  )


def test_recipe_key():
  key = state_keys.recipe_key(step(look="l", inventory="i"))
  assert json.loads(key) == ["b\na", "l", "i", "w", "x"]


def test_parts_of_a_key_do_not_run_together():
  assert state_keys.joined(["a", "b"]) != state_keys.joined(["a b"])
  assert state_keys.joined(['a","b']) != state_keys.joined(["a", "b"])


def test_missing_fact_names_the_option():
  with pytest.raises(ValueError, match="true_state=True"):
    state_keys.true_key(step())
  with pytest.raises(ValueError, match="admissible_actions=True"):
    keys.recipe_key(step(look="l", inventory="i"))


def test_order_of_lines_is_nothing_to_scienceworld():
  one = step(look="1\n2", inventory="3\n4", valid_actions="[]")
  other = step(look="2\n1", inventory="4\n3", valid_actions="[]")
  assert keys.recipe_key(one) == keys.recipe_key(other)
  third = step(look="2\n1", inventory="4", valid_actions="[]")
  assert keys.recipe_key(one) != keys.recipe_key(third)


def test_true_state_of_scienceworld():
  def state(warm, progress="none", links=(2, 1)):
    tree = {"a": {"temperatureC": warm, "links": list(links), "none": None}}
    return object_tree.true_state(tree, progress=progress)

  assert state(20.1) == state(20.2) == state(20.2, links=(1, 2))
  assert state(20.1) != state(21.2)
  assert state(20.1) != state(20.1, "one")


def test_true_state_of_cookingworld():
  tree = {"player_location": "kitchen", "apple": {"isCut": False}}
  same = {"apple": {}, "player_location": "kitchen"}
  cut = {"player_location": "kitchen", "apple": {"isCut": True}}
  assert cooking.true_state(tree, score=0) == cooking.true_state(same, score=0)
  assert cooking.true_state(tree, score=0) != cooking.true_state(cut, score=0)
  assert cooking.true_state(tree, score=0) != cooking.true_state(tree, score=1)
  with pytest.raises(ValueError, match="cookingworld only"):
    cooking.true_state({}, score=0)


TASK = "coin_collector/level=2/3"


@pytest.fixture
def kept_game(tmp_path, monkeypatch):
  """A cache with one made-up game, and where its files are."""
  monkeypatch.setitem(sys.modules, "textworld", sys)

  def make(task_id, folder, timeout_seconds):
    (folder / "game.z8").write_bytes(b"a game")
    (folder / "game.json").write_text("{}")

  monkeypatch.setattr(maker, "_make", make)
  return tmp_path, maker.game_file(TASK, folder=tmp_path).parent


def test_a_game_is_made_once(kept_game, monkeypatch):
  cache, folder = kept_game
  monkeypatch.setattr(maker, "_make", None)
  assert maker.game_file(TASK, folder=cache) == folder / "game.z8"
  assert [path.name for path in cache.iterdir()] == [folder.name]


@pytest.mark.parametrize("name", ["game.z8", "game.json", "checksums.json"])
@pytest.mark.parametrize("content", [None, b"", b"[]"])
def test_broken_game(kept_game, name, content):
  cache, folder = kept_game
  (folder / name).unlink()
  if content is not None:
    (folder / name).write_bytes(content)
  with pytest.raises(TextWorldError, match="broken.*delete the folder"):
    maker.game_file(TASK, folder=cache)


def test_a_faster_process_is_no_error(tmp_path, monkeypatch, kept_game):
  cache, folder = kept_game
  real = maker._make
  folder.rename(cache / "aside")

  def slow(task_id, made, timeout_seconds):
    real(task_id, made, timeout_seconds)
    (cache / "aside").rename(folder)

  monkeypatch.setattr(maker, "_make", slow)
  assert maker.game_file(TASK, folder=cache) == folder / "game.z8"


def test_folder_of_games(monkeypatch, tmp_path):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  assert maker.default_folder() == tmp_path / "graphgpo_jax" / "textworld"
