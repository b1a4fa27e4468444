"""Imitating an expert, and starting from what it gave."""

import jax
import numpy as np
import optax
import pytest

from graphgpo_jax.envs.text import types
from graphgpo_jax.policy.acting import reading
from graphgpo_jax.rollouts.host import expert
from graphgpo_jax.training import (
  checkpoint,
  imitation,
  trainer,
  warm_start,
)
from tests.training import coin_world, test_text_experiment, tiny

make_config = test_text_experiment.make_config


def lessons(**options):
  options = {"seed": 0, "max_steps": 6} | options
  return expert.play_expert(coin_world.make(), ["coin-0", "coin-1"], **options)


def test_the_expert_plays_its_plan():
  for episode in lessons():
    commands = [one.command for one in episode]
    assert commands == ["move up", "move up", "take coin"]
    assert [len(one.context.past) for one in episode] == [0, 1, 2]
    assert episode[2].context.now.observation == "You are in the attic."


def test_straying_shows_the_way_back():
  right = {
    "You are in the kitchen.": "move up",
    "You are in the hall.": "move up",
    "You are in the attic.": "take coin",
  }
  played = lessons(stray=0.5, max_steps=30)
  for episode in played:
    for one in episode:
      assert one.command == right[one.context.now.observation]
  assert max(len(episode) for episode in played) > 3
  again = lessons(stray=0.5, max_steps=30)
  assert [len(e) for e in again] == [len(e) for e in played]


def test_who_cannot_be_asked():
  with pytest.raises(ValueError, match="stray"):
    lessons(stray=1.0)
  environment = coin_world.make()

  class Silent:
    name = "silent"
    reset, step, close = environment.reset, environment.step, environment.close

  with pytest.raises(ValueError, match="'silent' has no expert"):
    expert.play_expert(Silent(), ["coin-0"], seed=0, max_steps=3)


def test_an_expert_without_a_command_is_named():
  environment = coin_world.make()
  environment.plan = lambda: []
  with pytest.raises(types.TextWorldError, match="'coin-0'.*no command"):
    expert.play_expert(environment, ["coin-0"], seed=0, max_steps=3)


SPEC = reading.ReadingSpec(vocabulary_size=100, max_tokens=16, max_commands=4)


def test_lessons_as_arrays():
  episode = lessons()[0]
  found = imitation.read_lessons(episode, SPEC)
  assert found.num_left_out == 0
  # Admissible commands are sorted: move down, move up, (take coin,) wait.
  np.testing.assert_array_equal(found.action, [1, 1, 2])
  assert found.observation.tokens.shape == (3, 16)
  few = reading.ReadingSpec(max_commands=2)
  assert imitation.read_lessons(episode, few).num_left_out == 1
  with pytest.raises(ValueError, match="max_commands=1"):
    imitation.read_lessons(episode, reading.ReadingSpec(max_commands=1))


def test_every_lesson_once_an_epoch():
  made = imitation.batches(10, batch_size=3, epochs=2, seed=0)
  assert [len(rows) for rows in made] == [3] * 6
  for epoch in (made[:3], made[3:]):
    assert len(set(np.concatenate(epoch))) == 9
  few = imitation.batches(2, batch_size=5, epochs=1, seed=0)
  assert set(few[0]) == {0, 1}
  with pytest.raises(ValueError, match="batch_size"):
    imitation.batches(2, batch_size=0, epochs=1, seed=0)


@pytest.mark.slow
def test_a_run_starts_where_imitation_ended(tmp_path):
  config = make_config(num_updates=1)
  experiment = test_text_experiment.experiment()
  lines = []
  found = warm_start.imitate_expert(
    experiment,
    tmp_path / "warm",
    config,
    episodes=10,
    stray=0.2,
    epochs=60,
    batch_size=8,
    optimizer=optax.adam(3e-2),
    report=lines.append,
  )
  assert found["before"]["eval/success_greedy"] == 0.0
  assert found["after"]["eval/success_greedy"] == 1.0
  assert found["imitation/agreement"] > 0.9
  assert lines[0].startswith("10 episodes, ")
  started = make_config(num_updates=1, init_from=str(tmp_path / "warm"))
  trainer.train(started, tmp_path / "run")
  first = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0]
  assert '"eval/success_greedy": 1.0' in first


def save(folder, **changes):
  """A work directory with a checkpoint of fresh parameters."""
  config = tiny.make_config(**changes)
  (folder).mkdir()
  (folder / "config.json").write_text(config.to_json())
  checkpoints = checkpoint.Checkpoints(folder)
  state = tiny.fresh_state(5)
  checkpoints.save(0, state)
  checkpoints.close()
  return state


def test_parameters_alone_are_taken(tmp_path):
  saved = save(tmp_path / "one")
  like = tiny.fresh_state(0)
  state = warm_start.start_from(tmp_path / "one", like)
  jax.tree.map(np.testing.assert_array_equal, state.params, saved.params)
  assert int(state.step) == 0
  assert state.reference_params is None
  held = warm_start.start_from(
    tmp_path / "one", like.replace(reference_params=like.params)
  )
  jax.tree.map(
    np.testing.assert_array_equal, held.reference_params, saved.params
  )


def test_another_policys_parameters_are_refused(tmp_path):
  save(tmp_path / "one")
  like = tiny.fresh_state(0)
  wider = jax.tree.map(
    lambda leaf: np.zeros((*leaf.shape, 2), "f4"), like.params
  )
  with pytest.raises(ValueError, match="another policy: parameter .* there"):
    warm_start.start_from(tmp_path / "one", like.replace(params=wider))
  more = {**like.params, "more": like.params}
  with pytest.raises(ValueError, match="only the policy has a parameter more/"):
    warm_start.start_from(tmp_path / "one", like.replace(params=more))
  with pytest.raises(ValueError, match="holds no run"):
    warm_start.start_from(tmp_path / "two", like)
