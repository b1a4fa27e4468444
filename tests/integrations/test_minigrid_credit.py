"""experiments.minigrid_credit: random walks, and what is printed of them."""

import numpy as np
import pytest

from tests import binaries

pytest.importorskip("minigrid")

from experiments import minigrid_walks  # noqa: E402

pytestmark = pytest.mark.extra("gym")

EMPTY = "MiniGrid-Empty-5x5-v0"


def run(place, *arguments):
  return binaries.finish(
    binaries.start(
      place, "minigrid_credit", f"--environment={EMPTY}", *arguments
    )
  )


def test_tells_the_room_its_distances_and_its_actions():
  env = minigrid_walks.make_environment(EMPTY)
  table = minigrid_walks.walk(env, [2, 3], 12)
  text = minigrid_walks.describe(env, 3, table, omega=0.5)
  head, room, _, distances, actions = text.split("\n\n")
  assert head.startswith("seed 3: ") and "of 12 walks succeeded" in head
  assert room.splitlines()[3] == "WG    GGWG"
  # The goal is at the third place of the third row; one step in front of it.
  rows = [line.split() for line in distances.splitlines()]
  assert rows[3][3] == "GG" and rows[3][2] == "1" == rows[2][3]
  assert int(rows[1][1]) == 5  # two forward, a turn, two forward
  names = [line.split()[0] for line in actions.splitlines()[1:]]
  assert {"forward", "left", "right"} <= set(names)
  share = {line.split()[0]: line.split()[2] for line in actions.splitlines()}
  assert share["done"] == "0.0%" != share["forward"]


def test_distances_stand_where_success_can_be_reached_from():
  # Two columns of floor: from the left one nobody knows a way.
  room = "WG>>  GG\nWG    WG"
  table = {"observation": [(1, 0, 0, "", b""), (2, 0, 0, "", b"")]}
  credit = {"distance": np.array([2.0, 1]), "next_distance": np.array([2.0, 0])}
  shown = minigrid_walks.distance_map(room, table, credit)
  assert shown == "WG --  1 GG\nWG .. .. WG"


def test_rooms_of_one_seed_are_one_task():
  env = minigrid_walks.make_environment(EMPTY)
  table = minigrid_walks.walk(env, [1, 2], 3)
  firsts = {
    table["observation"][row] for row, t in enumerate(table["t"]) if t == 0
  }
  assert firsts == {(1, 1, 0, "", env.unwrapped.grid.encode().tobytes())}
  assert len(set(zip(table["task"], table["trajectory"], strict=True))) == 6


@pytest.mark.slow
def test_binary_prints_each_room(tmp_path):
  status, text, errors = run(tmp_path, "--seeds=0,4", "--rollouts=8")
  assert status == 0, errors
  assert text.count("of 8 walks succeeded") == 2 and "seed 4" in text


@pytest.mark.slow
@pytest.mark.parametrize(
  "argument, word",
  [
    ("--environment=MiniGrid-Nowhere-v0", "MiniGrid-Nowhere-v0"),
    ("--seeds=a", "'a'"),
    ("--rollouts=0", "0 rollouts"),
    ("--omega=2", "omega"),
  ],
)
def test_bad_flags_are_named(argument, word, tmp_path):
  status, _, errors = run(tmp_path, "--rollouts=1", argument)
  assert status == 1 and "Traceback" not in errors
  (line,) = [line for line in errors.splitlines() if line[:6] == "error:"]
  assert word in line
