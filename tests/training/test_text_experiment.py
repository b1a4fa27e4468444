"""Training in text worlds: the phases, the loop, runs as users start them."""

import errno
import functools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphgpo_jax as gg
from graphgpo_jax.envs.text import registry
from graphgpo_jax.rollouts.host import records
from graphgpo_jax.tables import jsonl
from graphgpo_jax.training import (
  loop,
  settings,
  text_experiment,
  text_settings,
  trainer,
)
from graphgpo_jax.training import metrics as metrics_lib

WORLD = "tests.training.coin_world"
STEPS = 6


def make_config(**changes):
  """The config; dotted keys are written with two underscores."""
  config = settings.default_config()
  config.num_updates = 2
  config.tensorboard = False
  config.environment.name = WORLD
  config.panel.size = 3
  config.policy.num_layers = 1
  config.policy.width = 8
  config.policy.num_heads = 2
  config.rollout.tasks_per_update = 2
  config.rollout.rollouts_per_task = 4
  config.loss.num_minibatches = 2
  config.loss.chunk_size = 8
  config.text.max_steps = STEPS
  config.text.num_workers = 1
  config.text.environments_per_worker = 4
  config.text.tasks.all = {"first": 20}
  config.text.reading.max_tokens = 16
  config.text.reading.max_commands = 4
  config.text.reading.max_command_tokens = 2
  config.text.reading.vocabulary_size = 100
  config.update_from_flattened_dict(
    {name.replace("__", "."): value for name, value in changes.items()}
  )
  return config


@functools.cache
def experiment():
  """One for all tests; its workers end with the process."""
  return text_experiment.make_experiment(make_config())


@functools.cache
def played():
  """Rollouts with a success and a failure, their metrics and the state."""
  state = loop.initial_state(experiment(), 0)
  collect = experiment().programs("graphgpo").collect
  for seed in range(30):
    found, metrics = collect(state.params, jax.random.key(seed))
    if 0 < found.rollouts.success.sum() < 8:
      return found, metrics, experiment().last_collection
  raise AssertionError("no mixed batch in 30 draws")


def test_rollouts_are_what_was_played():
  found, metrics, collection = played()
  rollouts = found.rollouts
  assert rollouts.mask.shape == (2, 4, STEPS)
  for episode in collection.episodes:
    here = (episode.plan.group, episode.plan.rollout)
    count = len(episode.turns)
    np.testing.assert_array_equal(rollouts.mask[here], np.arange(STEPS) < count)
    assert bool(rollouts.success[here]) == episode.success
    # Not the 0.5 that the world pays for every step.
    np.testing.assert_array_equal(
      rollouts.reward[here][:count],
      [float(turn.after.success) for turn in episode.turns],
    )
    for step, turn in enumerate(episode.turns):
      read, index, log_prob = turn.action.extra
      assert read.commands[index] == turn.action.command
      assert int(rollouts.action[here][step]) == index
      assert float(rollouts.log_prob[here][step]) == pytest.approx(log_prob)
      for name, leaf in vars(read.observation).items():
        kept = getattr(rollouts.observation, name)
        np.testing.assert_array_equal(kept[here][step], leaf)
  np.testing.assert_allclose(
    metrics["rollout/success"], np.mean([e.success for e in collection.sound])
  )


def test_equal_states_have_equal_keys_and_equal_commands_equal_ids():
  found, _, collection = played()
  keys, ids = {}, {}
  for episode in collection.episodes:
    here = (episode.plan.group, episode.plan.rollout)
    for step, turn in enumerate(episode.turns):
      for offset, state in ((0, turn.before), (1, turn.after)):
        key = tuple(np.asarray(found.rollouts.state_keys)[here][step + offset])
        keys.setdefault(state.observation, set()).add(key)
      command = int(found.command_id[here][step])
      ids.setdefault(turn.action.command, set()).add(command)
  for table in (keys, ids):
    assert all(len(values) == 1 for values in table.values())
    assert len(set().union(*table.values())) == len(table) > 2


def test_log_probs_are_those_of_the_policy():
  found, _, _ = played()
  rollouts = found.rollouts
  params = loop.initial_state(experiment(), 0).params
  logits = jax.jit(experiment().apply_fn)(params, rollouts.observation)
  log_probs = jax.nn.log_softmax(logits)
  own = jnp.take_along_axis(log_probs, rollouts.action[..., None], -1)[..., 0]
  np.testing.assert_allclose(
    np.where(rollouts.mask, own, 0.0), rollouts.log_prob, atol=1e-5
  )


@pytest.mark.parametrize("estimator", ["graphgpo", "crbc"])
def test_credit_and_optimiser(estimator):
  found, _, _ = played()
  programs = experiment().programs(estimator)
  advantage, _ = programs.assign(found)
  assert np.abs(advantage).max() > 0
  assert not np.asarray(advantage)[~np.asarray(found.rollouts.mask)].any()
  state = loop.initial_state(experiment(), 0)
  before = jax.device_get(state.params)
  state, _ = programs.optimise(state, found, advantage, jax.random.key(0))
  with pytest.raises(AssertionError):
    chex.assert_trees_all_close(before, jax.device_get(state.params))


def test_the_loop_draws_the_same_twice():
  def run():
    start = loop.initial_state(experiment(), 3)
    return [
      {
        name: value
        for name, value in metrics.items()
        if not name.startswith("time/")
      }
      for _, metrics in loop.iterate(
        experiment(), start, seed=3, estimator="graphgpo"
      )
    ]

  first = run()
  assert first == run()
  assert list(range(len(first))) == [0, 1, 2]
  assert 0.0 <= first[0]["eval/success"] <= 1.0
  assert first[0]["eval/failed_episodes"] == 0.0
  assert first[1]["rollout/steps"] > 0


def test_a_state_key_of_the_users():
  path = "tests.training.coin_world:floor_key"
  own = text_experiment.make_experiment(make_config(text__state_key=path))
  state = loop.initial_state(own, 0)
  found, _ = own.programs("graphgpo").collect(state.params, jax.random.key(0))
  own.close()
  upstairs, floors = [], []
  for episode in own.last_collection.episodes:
    here = (episode.plan.group, episode.plan.rollout)
    upstairs += ["attic" in turn.before.observation for turn in episode.turns]
    keys = np.asarray(found.rollouts.state_keys)[here]
    floors += map(tuple, keys[: len(episode.turns)])
  assert len(set(floors)) == 2
  assert len(set(zip(floors, upstairs, strict=True))) == 2


@pytest.mark.parametrize("estimator", ["graphgpo", "grpo", "gigpo"])
def test_advantages_are_those_of_the_log(estimator, tmp_path):
  found, _, collection = played()
  advantage, _ = experiment().programs(estimator).assign(found)
  experiment().last_collection = collection
  told = experiment().open_log(tmp_path)(1, None)
  assert told == {"checkpoint/groups_not_logged": 0.0}
  (path,) = (tmp_path / "rollouts").glob("*.jsonl")
  table = jsonl.read_steps(path)
  options = experiment().config.estimator_options[estimator].to_dict()
  expected = gg.assign_credit(table, estimator=estimator, **options)
  written = [json.loads(line) for line in path.read_text().splitlines()]
  at = tuple(
    np.array([[row["group"], row["rollout"], row["step"]] for row in written]).T
  )
  np.testing.assert_allclose(
    np.asarray(advantage)[at], expected["advantage"], atol=1e-5
  )
  assert len(written) == np.asarray(found.rollouts.mask).sum()
  turns = [turn for one in collection.sound for turn in one.turns]
  for row, turn in zip(written, turns, strict=True):
    assert row["prompt"].startswith("Take the coin.\n")
    assert turn.before.observation in row["prompt"].splitlines()
    assert set(turn.before.admissible_actions) < set(row["prompt"].splitlines())


def test_lost_groups_are_told_and_a_resumed_run_is_the_same(
  tmp_path, caplog, monkeypatch
):
  def run():
    """A run from the start, whose lines are compared with those there are."""
    writer = metrics_lib.MetricsWriter(tmp_path, tensorboard=False)
    writer.go_on_from(-1)
    told = []
    for state, values in loop.iterate(
      experiment(),
      loop.initial_state(experiment(), 0),
      seed=0,
      estimator="graphgpo",
      keep=experiment().open_log(tmp_path),
    ):
      writer.write(int(state.step), values)
      told.append(values.get("checkpoint/groups_not_logged"))
    writer.close()
    return told

  def logged():
    paths = (tmp_path / "rollouts").glob("*.jsonl")
    return "".join(path.read_text() for path in paths)

  def fail(path, lines):
    raise OSError(errno.ENOSPC, "No space left on device", path)

  with monkeypatch.context() as patch:
    patch.setattr(records, "_write_whole", fail)
    # Of each update alone, not of all so far.
    assert run() == [None, 2.0, 2.0]
  assert not logged()
  before = (tmp_path / "metrics.jsonl").read_bytes()
  assert run() == [None, 0.0, 0.0]
  assert logged()
  assert (tmp_path / "metrics.jsonl").read_bytes() == before
  assert "came out otherwise" not in caplog.text


@pytest.mark.slow
def test_a_run_with_a_workdir(tmp_path):
  config = make_config(num_updates=1)
  trainer.train(config, tmp_path / "run")
  lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
  assert [json.loads(line)["step"] for line in lines] == [0, 1]
  (log,) = (tmp_path / "run" / "rollouts").glob("*.jsonl")
  rows = [json.loads(line) for line in log.read_text().splitlines()]
  assert len(rows) == json.loads(lines[1])["rollout/steps"]
  table = {name: [row[name] for row in rows] for name in rows[0]}
  credit = gg.assign_credit(table, estimator="graphgpo")
  assert np.isfinite(credit["advantage"]).all()
  found = trainer.evaluate(config, tmp_path / "run")
  assert found["step"] == 1
  assert found["eval/success"] == json.loads(lines[1])["eval/success"]


def test_broken_episodes_are_counted_and_earn_nothing():
  # One of the ten tasks breaks its engine.
  own = text_experiment.make_experiment(
    make_config(
      text__tasks__all__first=10,
      rollout__tasks_per_update=10,
      rollout__rollouts_per_task=2,
    )
  )
  state = loop.initial_state(own, 0)
  found, metrics = own.programs("grpo").collect(state.params, jax.random.key(0))
  own.close()
  own.close()
  broken = [e.plan.group for e in own.last_collection.episodes if e.failed]
  assert len(broken) == 2
  assert broken[0] == broken[1]
  assert metrics["rollout/failed_episodes"] == 2.0
  mask = np.asarray(found.rollouts.mask).any(2)
  assert not mask[broken[0]].any()
  assert np.delete(mask, broken[0], axis=0).all()


def test_tasks_are_drawn_from_all_sets_alike():
  sets = [["a", "b", "c"], ["x"]]
  drawn = text_settings.draw_tasks(sets, 6, np.random.default_rng(0))
  assert sorted(drawn[::2]) == ["a", "b", "c"]
  assert drawn[1::2] == ["x", "x", "x"]
  again = text_settings.draw_tasks(sets, 6, np.random.default_rng(0))
  assert drawn == again


def test_the_panel_is_of_the_evaluation_side_and_fixed():
  config = make_config(panel__size=10)
  panel = text_settings.panel(config)
  assert sorted(panel) == sorted(
    registry.task_ids(WORLD, side="evaluation", first=20)
  )
  assert panel == text_settings.panel(config)
  assert panel != text_settings.panel(
    make_config(panel__size=10, panel__seed=1)
  )


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [
    ("text__max_steps", 0, "text.max_steps"),
    ("text__num_workers", 0, "text.num_workers"),
    ("text__rollout_megabytes", -1, "text.rollout_megabytes"),
    ("text__state_key", "page", "no state key 'page'"),
    ("text__reading__max_tokens", 0, "config.text.reading: max_tokens"),
    ("text__panel", "nowhere", "no such panel"),
    ("rollout__max_resamples", 1, "rollout.max_resamples=1 is not possible"),
    ("memory__pool_size", 4, "memory.pool_size=4 is not possible"),
    ("mesh__fsdp", 2, "mesh.fsdp=2 is not possible"),
    ("mesh__data", 3, "rollout.tasks_per_update=2 must be a multiple of"),
    ("environment__name", "tests.nowhere", "tests.nowhere"),
    ("environment__name", "json.decoder", "lacks make"),
  ],
)
def test_what_is_refused(name, value, message):
  with pytest.raises(ValueError, match=message):
    text_experiment.make_experiment(make_config(**{name: value}))


def test_tasks_must_be_named():
  config = make_config()
  del config.text.tasks.all
  with pytest.raises(ValueError, match=r"config.text.tasks is empty"):
    text_experiment.make_experiment(config)
  config = make_config()
  with config.unlocked():
    config.text.tasks.all = {"place": 3}
  with pytest.raises(ValueError, match=r"config.text.tasks.all.*place"):
    text_experiment.make_experiment(config)
