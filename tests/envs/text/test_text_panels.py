"""Panels of text worlds are what they were."""

import hashlib
import shutil

import pytest

from graphgpo_jax.envs.text import panels, registry
from graphgpo_jax.envs.text.scienceworld import tasks
from graphgpo_jax.envs.text.textworld import games
from graphgpo_jax.envs.text.textworld_express import games as express_games

# Number of tasks and SHA-256: a panel never changes, a new one gets a new name.
LOCKED = {
  "alfworld": (
    128,
    "acd5dbb1b7538bdb8d4ed410a44c98785742a6ade5262bd665ea9a2224c586b6",
  ),
  "scienceworld": (
    120,
    "88b1a2b96581017cf5026723b9b7036bad2f97e052306efa567b958782b5d6de",
  ),
  "sokoban_text": (
    128,
    "b8d2492d427bf123d7559c23ab627386d288d0d5c3ee64d4e2e4cdc64109c389",
  ),
  "textworld": (
    30,
    "d006dac448b9a2ff4f56b518047ccf63031b79773f9b2755aa3b89d05f4dd5cc",
  ),
  "textworld_express_arithmetic": (
    100,
    "13cb7313301157a19c0eb276d0a50758a2f829a3584b01c7ec0c63c55c73f397",
  ),
  "textworld_express_coin": (
    100,
    "283a4716eb03b963a2fb2105b119cc9e9485f2825d3c5868eb133edabec58047",
  ),
  "textworld_express_cookingworld": (
    100,
    "8486aeedcdc02e7db1bec9dc46a4ac2fa0afa3b14f1d11031aa4fed3048c3913",
  ),
  "textworld_express_mapreader": (
    100,
    "9d0002b314467c285e04b51da4b04567bd439260003d690995bc4d3354181ff9",
  ),
  "textworld_express_peckingorder": (
    100,
    "599b664e46b5e1f6a8947e44f832381ab8fa62120783ddf792a746af94f5bb61",
  ),
  "textworld_express_simonsays": (
    100,
    "ef2281dbda3617a95a973680a35e72bb01d9336ee1ea7859420fd939a416553b",
  ),
  "textworld_express_sorting": (
    100,
    "3ad67b3c9dd43e9c99d7aa0bfd417e4417fff8c2abbdda2b9f347858430eeb70",
  ),
  "textworld_express_twc": (
    100,
    "56b7bd392b1e67c1a36ae7a23d8d248fca2c1878d3e9afb1f2cb7dcd57b406ac",
  ),
  "webshop": (
    128,
    "1f0bef901ce98abf487fe612b8630e630cb2a45944cb2a17160863ac451c7d65",
  ),
}


def test_every_panel_is_locked():
  assert panels.panel_names() == sorted(LOCKED)


@pytest.mark.parametrize("name", sorted(LOCKED))
def test_panel_is_what_it_was(name):
  ids = panels.load_panel(name)
  assert (len(ids), panels.panel_sha256(ids)) == LOCKED[name]


@pytest.mark.parametrize("name", sorted(LOCKED))
def test_panel_is_of_the_evaluation_side(name):
  ids = panels.load_panel(name)
  if name == "textworld":
    expected = {
      task
      for game in games.PARAMETERS
      for task in registry.task_ids(name, side="evaluation", game=game)
    }
  elif name == "scienceworld":
    expected = set(registry.task_ids(name, side="evaluation"))
    assert {task.split("/")[0] for task in ids} == set(tasks.VARIATIONS)
  elif name in ("alfworld", "sokoban_text", "webshop"):
    expected = set(registry.task_ids(name, side="evaluation"))
  else:
    game = name.removeprefix("textworld_express_")
    assert game in express_games.PARAMETERS
    expected = set(
      registry.task_ids("textworld_express", side="evaluation", game=game)
    )
  assert set(ids) <= expected


@pytest.mark.parametrize("name", ["nope", "../panels", "", "a/b"])
def test_no_such_panel(name):
  with pytest.raises(ValueError, match="no such panel"):
    panels.load_panel(name)


@pytest.mark.parametrize("text", ["", "\n", "a/b/1\na/b/1\n"])
def test_broken_panel(text, tmp_path, monkeypatch):
  (tmp_path / "mine.txt").write_text(text)
  monkeypatch.setattr(panels, "_FOLDER", tmp_path)
  with pytest.raises(ValueError, match="broken"):
    panels.load_panel("mine")


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """The panels in a folder of the test's own."""
  shutil.copytree(panels._FOLDER, tmp_path / "panels")
  monkeypatch.setattr(panels, "_FOLDER", tmp_path / "panels")
  return tmp_path / "panels"


def test_sums_beside_the_lists_are_those_here(folder):
  lines = (folder / "SHA256SUMS").read_text().splitlines()
  assert lines == [f"{LOCKED[name][1]}  {name}.txt" for name in sorted(LOCKED)]
  # And of the files as they are, so that sha256sum finds the same.
  for line in lines:
    digest, name = line.split()
    assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize(
  "change",
  [
    lambda lines: lines[:-1],
    lambda lines: [*lines, "coin/default/1"],
    lambda lines: [lines[1], lines[0], *lines[2:]],
    lambda lines: [lines[0].upper(), *lines[1:]],
  ],
)
def test_a_changed_panel_is_refused(change, folder):
  path = folder / "textworld_express_coin.txt"
  lines = path.read_text().splitlines()
  path.write_text("\n".join(change(lines)) + "\n")
  with pytest.raises(
    ValueError,
    match="'textworld_express_coin' is not what it was: SHA-256 .*283a4716",
  ):
    panels.load_panel("textworld_express_coin")
  path.write_text("\r\n".join(lines))
  assert panels.load_panel("textworld_express_coin") == lines


@pytest.mark.parametrize("sums", ["", "zz\n", None])
def test_a_panel_without_a_sum_is_refused(sums, folder):
  (folder / "SHA256SUMS").unlink()
  if sums is not None:
    (folder / "SHA256SUMS").write_text(sums)
  with pytest.raises(ValueError, match="SHA256SUMS has no line for it"):
    panels.load_panel("webshop")


def test_order_counts():
  assert panels.panel_sha256(["a", "b"]) != panels.panel_sha256(["b", "a"])
