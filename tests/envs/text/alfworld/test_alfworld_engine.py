"""The fast engine against the stock one, and what it says of broken games."""

import os
import subprocess
import sys

import pytest

from tests.envs.text.alfworld import small_rooms

pytestmark = pytest.mark.extra("text")


@pytest.fixture(scope="module", autouse=True)
def _packages():
  for module in ("fast_downward", "textworld"):
    pytest.importorskip(module, reason=f"the extra [text] has {module}")
  from graphgpo_jax.envs.text.alfworld import packages

  try:
    packages.require("alfworld")
  except ImportError as error:
    pytest.skip(str(error))


@pytest.fixture(scope="module")
def game():
  from graphgpo_jax.envs.text.alfworld.fast_engine import load_game

  return load_game(small_rooms.game("pick_cool_then_place_in_recep", "a"))


@pytest.fixture
def engine():
  from graphgpo_jax.envs.text.alfworld.fast_engine import FastEngine

  engine = FastEngine()
  yield engine
  engine.close()


@pytest.mark.parametrize(
  "episodes", [6, pytest.param(200, marks=pytest.mark.slow)]
)
def test_transcripts_equal_the_stock_engine(episodes):
  from experiments.text_bench import alfworld
  from experiments.text_bench.options import Options

  options = Options(episodes=episodes, steps=15, seed=episodes)
  won = lines = 0
  for fast, stock in alfworld.episodes(small_rooms.games(), options):
    assert fast == stock
    won += fast[-1][-1]
    lines += len(fast)
  assert lines > 5 * episodes
  assert 0 < won < episodes


@pytest.mark.slow
def test_transcripts_equal_the_stock_engine_in_real_rooms():
  from experiments.text_bench import alfworld
  from experiments.text_bench.options import Options

  options = Options(episodes=12, steps=12, seed=1)
  found = alfworld.measure(options)
  assert found["transcripts_equal"]
  assert found["fast"]["steps"] == found["stock"]["steps"] > 12


def test_a_game_can_be_begun_again(engine, game):
  def play():
    turns = [engine.reset(game)]
    turns += [engine.step(command) for command in engine.plan()]
    return turns

  first = play()
  assert first[-1].won
  assert play() == first


def test_the_library_forgets_states_without_a_trace(engine, game, monkeypatch):
  from graphgpo_jax.envs.text.alfworld import fast_engine

  first = engine.reset(game)
  monkeypatch.setattr(fast_engine, "_MOST_STATES", 1)
  for _ in range(3):
    engine.step(first.admissible_commands[0])
  assert engine.reset(game) == first


def test_engines_do_not_share_a_state(engine, game):
  from graphgpo_jax.envs.text.alfworld.fast_engine import FastEngine

  other = FastEngine()
  engine.reset(game)
  command = engine.plan()[0]
  first = engine.step(command)
  other.reset(game)
  assert other.step("look").feedback.startswith("You are in the middle")
  assert engine.step("look").feedback.startswith("You are facing")
  assert other.step(command) == first
  other.close()


def test_a_plan_begins_where_the_agent_is(engine, game):
  engine.reset(game)
  plan = engine.plan()
  for command in plan[:-2]:
    engine.step(command)
  assert engine.plan() == plan[-2:]


def test_a_plan_frees_the_hand_first(engine, game):
  turn = engine.reset(game)
  for command in [name for name in turn.admissible_commands if "go" in name]:
    turn = engine.step(command)
    takes = [c for c in turn.admissible_commands if c.startswith("take knife")]
    if takes:
      engine.step(takes[0])
      break
  plan = engine.plan()
  assert any(command.startswith("move knife") for command in plan)
  for command in plan:
    turn = engine.step(command)
  assert turn.won


def test_many_engines_come_and_go(game):
  from graphgpo_jax.envs.text.alfworld.fast_engine import FastEngine

  for _ in range(20):
    engine = FastEngine()
    assert not engine.reset(game).won
    engine.close()
    engine.close()
  with pytest.raises(ValueError, match="closed"):
    engine.reset(game)


def _broken(part, change):
  game = small_rooms.game("pick_and_place_simple", "broken")
  game[part] = change(game[part])
  return game


@pytest.mark.parametrize(
  ("part", "change", "message"),
  [
    ("pddl_problem", lambda _: None, "lacks its pddl_problem"),
    ("grammar", lambda _: 3, "lacks its grammar"),
    ("pddl_problem", lambda text: text[:-40], "PDDL is broken"),
    ("pddl_problem", lambda _: "", "PDDL is broken"),
    (
      "pddl_problem",
      lambda t: t.replace("(objectType ?o", "(o ?o"),
      "PDDL is broken",
    ),
    ("pddl_domain", lambda text: text[40:], "PDDL is broken"),
    (
      "pddl_problem",
      lambda t: t.replace("(canContain CounterTopType AppleType)", ""),
      "goal cannot be reached",
    ),
    (
      "pddl_problem",
      lambda text: (
        text[: text.index("(:goal")] + "(:goal (openable Fridge_bar_00)))"
      ),
      "goal holds from the start",
    ),
    ("grammar", lambda text: text[:-40], "grammar cannot be read"),
  ],
)
def test_broken_games_say_what_is_broken(part, change, message):
  from graphgpo_jax.envs.text.alfworld.fast_engine import load_game
  from graphgpo_jax.envs.text.types import TextWorldError

  arguments = list(sys.argv)
  with pytest.raises(TextWorldError, match=message):
    load_game(_broken(part, change))
  assert sys.argv == arguments


def test_what_a_game_file_has_in_braces_is_not_executed(engine, tmp_path):
  from graphgpo_jax.envs.text.alfworld.fast_engine import load_game
  from graphgpo_jax.envs.text.types import TextWorldError

  trap = tmp_path / "trap"
  code = f"{{__import__('pathlib').Path('{trap}').touch()}}"
  game = load_game(
    _broken(
      "grammar",
      lambda text: text.replace("You arrive at {r.name}", f"You {code}"),
    )
  )
  turn = engine.reset(game)
  with pytest.raises(TextWorldError, match="is no expression"):
    engine.step(next(c for c in turn.admissible_commands if "go to" in c))
  assert not trap.exists()


def test_an_empty_grammar_is_named(engine):
  from graphgpo_jax.envs.text.alfworld.fast_engine import load_game
  from graphgpo_jax.envs.text.types import TextWorldError

  game = load_game(_broken("grammar", lambda _: ""))
  with pytest.raises(TextWorldError, match="no rule for #intro#"):
    engine.reset(game)


def test_circles_in_a_grammar_are_named(engine):
  from graphgpo_jax.envs.text.alfworld.fast_engine import load_game
  from graphgpo_jax.envs.text.types import TextWorldError

  game = load_game(
    _broken("grammar", lambda text: text.replace("TODO", "#notImplemented#"))
  )
  circle = load_game(
    _broken("grammar", lambda text: text.replace("#task#", "#intro#"))
  )
  assert not engine.reset(game).won
  with pytest.raises(TextWorldError, match="goes in circles: #intro#"):
    engine.reset(circle)


def test_importing_alfworld_leaves_files_and_variables_alone(tmp_path):
  script = (
    "import os, pathlib\n"
    "from graphgpo_jax.envs.text.alfworld import packages\n"
    "info = packages.require('alfworld.info')\n"
    "assert os.path.isfile(info.ALFRED_PDDL_PATH)\n"
    "assert 'ALFWORLD_DATA' not in os.environ\n"
    "assert not list(pathlib.Path.home().iterdir())\n"
  )
  environment = {**os.environ, "HOME": str(tmp_path)}
  environment.pop("ALFWORLD_DATA", None)
  subprocess.run([sys.executable, "-c", script], env=environment, check=True)
