"""A run that was stopped is, in the end, the run that was not."""

import json
import logging

import jax
import numpy as np
import pytest

from graphgpo_jax.training import (
  checkpoint,
  environment_experiment,
  loop,
  metrics,
  session,
  trainer,
)
from tests.training import notices, test_text_experiment, tiny


class StoppedError(Exception):
  """The process is gone."""


@pytest.fixture(autouse=True)
def shared_programs(monkeypatch):
  """Nothing is compiled anew."""
  restore = checkpoint.Checkpoints.restore_run

  def uncommitted(self, like, **options):
    state, record = restore(self, like, **options)
    return tiny.uncommitted(state), record

  built = tiny.experiment()
  monkeypatch.setattr(environment_experiment, "Experiment", lambda _: built)
  restore_params = checkpoint.Checkpoints.restore_params
  monkeypatch.setattr(checkpoint.Checkpoints, "restore_run", uncommitted)
  monkeypatch.setattr(
    checkpoint.Checkpoints,
    "restore_params",
    lambda self, like: tiny.uncommitted(restore_params(self, like)),
  )


def config_of(**changes):
  return tiny.make_config(seed=tiny.learning_seed(), **changes)


def run_until(monkeypatch, config, folder, step, **options):
  """Trains and is gone before update `step` is in the metrics."""
  record = session.Session.record

  def record_or_stop(self, current, values, **shown):
    if int(current.step) == step:
      raise StoppedError
    return record(self, current, values, **shown)

  with monkeypatch.context() as patch:
    patch.setattr(session.Session, "record", record_or_stop)
    with pytest.raises(StoppedError):
      trainer.train(config, folder, **options)


def lines_of(folder):
  return [
    tiny.without_times(line)
    for line in metrics.read_metrics(folder / "metrics.jsonl")
  ]


def saved(folder, config):
  like = loop.initial_state(
    trainer.text_experiment.make_experiment(config), config.seed
  )
  checkpoints = checkpoint.Checkpoints(folder)
  state = checkpoints.restore(like)
  checkpoints.close()
  return int(state.step), jax.device_get(state)


def kept(folder):
  """What the run kept of its updates, by file."""
  return {
    path.name: path.read_bytes()
    for path in (folder / "rollouts").glob("update-*.jsonl")
  }


def equal_runs(one, other, config):
  assert lines_of(one) == lines_of(other)
  assert kept(one) == kept(other)
  first, second = saved(one, config), saved(other, config)
  assert first[0] == second[0] == config.num_updates
  jax.tree.map(
    lambda a, b: np.testing.assert_array_equal(a, b, strict=True),
    first[1],
    second[1],
  )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
  folder = tmp_path_factory.mktemp("unbroken")
  built = tiny.experiment()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(environment_experiment, "Experiment", lambda _: built)
    trainer.train(config_of(), folder)
  return folder


def test_the_same_seed_gives_the_same_run(unbroken, tmp_path):
  assert len(kept(unbroken)) == config_of().num_updates
  trainer.train(config_of(), tmp_path)
  equal_runs(tmp_path, unbroken, config_of())


@pytest.mark.parametrize("stops", [(0,), (1,), (2,), (3,), (1, 2, 3, 3)])
def test_resumed_is_uninterrupted(unbroken, tmp_path, monkeypatch, stops):
  config = config_of(checkpoint_every=1)
  for step in stops:
    run_until(monkeypatch, config, tmp_path, step)
  trainer.train(config, tmp_path)
  equal_runs(tmp_path, unbroken, config)


@pytest.mark.slow
@pytest.mark.parametrize("stops", [(1,), (2,)])
def test_a_text_world_too(tmp_path, monkeypatch, stops):
  config = test_text_experiment.make_config(checkpoint_every=1)
  built = test_text_experiment.experiment()
  monkeypatch.setattr(
    trainer.text_experiment, "make_experiment", lambda _: built
  )
  trainer.train(config, tmp_path / "unbroken")
  for step in stops:
    run_until(monkeypatch, config, tmp_path / "run", step)
  trainer.train(config, tmp_path / "run")
  equal_runs(tmp_path / "run", tmp_path / "unbroken", config)


def test_a_notice_saves_and_stops(unbroken, tmp_path, monkeypatch, capsys):
  config = config_of(checkpoint_every=0)
  with monkeypatch.context() as patch:
    asked = notices.send(patch, at=2)
    trainer.train(config, tmp_path)
  assert asked == [0, 1, 2]
  assert "stopped by a preemption notice after update 2" in (
    capsys.readouterr().out
  )
  assert saved(tmp_path, config)[0] == 2
  assert lines_of(tmp_path) == lines_of(unbroken)[:3]
  trainer.train(config, tmp_path)
  equal_runs(tmp_path, unbroken, config)


def test_seconds_go_on(unbroken, tmp_path, monkeypatch):
  config = config_of(checkpoint_every=1)
  run_until(monkeypatch, config, tmp_path, 3)
  path = tmp_path / "metrics.jsonl"
  before = metrics.read_metrics(path)[-1]["time/total"]
  trainer.train(config, tmp_path)
  totals = [line["time/total"] for line in metrics.read_metrics(path)]
  assert totals == sorted(totals)
  assert totals[-1] > before


def test_lines_that_come_out_the_same_stay(unbroken, tmp_path, monkeypatch):
  config = config_of(checkpoint_every=2)
  run_until(monkeypatch, config, tmp_path, 2)
  path = tmp_path / "metrics.jsonl"
  # No checkpoint yet: two lines will be played again.
  before = path.read_bytes()
  trainer.train(config, tmp_path)
  assert path.read_bytes().startswith(before)
  equal_runs(tmp_path, unbroken, config)


def test_lines_that_come_out_otherwise_are_replaced(
  unbroken, tmp_path, monkeypatch, caplog
):
  """As on a device whose sums have no fixed order."""
  config = config_of(checkpoint_every=2)
  run_until(monkeypatch, config, tmp_path, 2)
  path = tmp_path / "metrics.jsonl"
  lines = metrics.read_metrics(path)
  lines[1]["rollout/length"] += 1e-6
  path.write_text("".join(json.dumps(line) + "\n" for line in lines))
  trainer.train(config, tmp_path)
  assert "update 1, repeated after a restart, came out otherwise" in caplog.text
  assert "rollout/length" in caplog.text
  equal_runs(tmp_path, unbroken, config)


def test_a_file_cut_within_a_line_of_long_ago(
  unbroken, tmp_path, monkeypatch, caplog
):
  """The lines are lost, so the checkpoint before them is taken."""
  config = config_of(checkpoint_every=1)
  run_until(monkeypatch, config, tmp_path, 3)
  path = tmp_path / "metrics.jsonl"
  content = path.read_bytes()
  lines = content.splitlines(keepends=True)
  path.write_bytes(b"".join(lines[:2]) + lines[2][:30])
  with caplog.at_level(logging.WARNING):
    trainer.train(config, tmp_path)
  assert "checkpoints/2 is passed over" in caplog.text
  equal_runs(tmp_path, unbroken, config)


def test_a_lost_metrics_file_does_not_lose_the_training(
  unbroken, tmp_path, monkeypatch, caplog
):
  config = config_of(checkpoint_every=1)
  run_until(monkeypatch, config, tmp_path, 3)
  (tmp_path / "metrics.jsonl").unlink()
  trainer.train(config, tmp_path)
  assert "lacks lines before every checkpoint" in caplog.text
  assert lines_of(tmp_path) == lines_of(unbroken)[3:]


def test_the_newest_good_checkpoint_of_a_run(
  unbroken, tmp_path, monkeypatch, caplog
):
  config = config_of(checkpoint_every=1)
  run_until(monkeypatch, config, tmp_path, 3)
  (tmp_path / "checkpoints" / "2" / "state" / "manifest.ocdbt").write_bytes(
    b"\0" * 10
  )
  trainer.train(config, tmp_path)
  assert "checkpoints/2 is passed over and moved to" in caplog.text
  assert (tmp_path / "checkpoints" / "set_aside" / "2").is_dir()
  equal_runs(tmp_path, unbroken, config)


def test_all_checkpoints_bad_starts_anew(
  unbroken, tmp_path, monkeypatch, caplog
):
  config = config_of(checkpoint_every=1)
  run_until(monkeypatch, config, tmp_path, 3)
  for step in (1, 2):
    folder = tmp_path / "checkpoints" / str(step)
    (folder / "state" / "_METADATA").unlink()
  trainer.train(config, tmp_path)
  assert "has no checkpoint left that is good" in caplog.text
  equal_runs(tmp_path, unbroken, config)


def test_the_order_of_restore(unbroken, tmp_path, monkeypatch, capsys):
  config = config_of(checkpoint_every=1)
  other = tmp_path / "other"
  run_until(monkeypatch, config, other, 2)
  before = sorted(other.rglob("*"))
  # The whole state of another run, before the parameters of a third.
  started = config_of(checkpoint_every=1, init_from=str(unbroken))
  own = tmp_path / "own"
  run_until(monkeypatch, started, own, 3, resume_from=other)
  assert f"starts after update 1 from the state of {other}" in (
    capsys.readouterr().out
  )
  assert sorted(other.rglob("*")) == before
  # The own checkpoint before both.
  trainer.train(started, own, resume_from=other)
  assert "starts after update 2 from its own" in capsys.readouterr().out
  assert lines_of(own) == lines_of(unbroken)[2:]
  third = tmp_path / "third"
  trainer.train(started, third)
  assert f"update 0 from the parameters of {unbroken}" in (
    capsys.readouterr().out
  )
  assert [line["step"] for line in lines_of(third)] == [0, 1, 2, 3]
  with pytest.raises(ValueError, match="holds no run"):
    trainer.train(config, tmp_path / "fourth", resume_from=tmp_path)
  wrong = config_of(checkpoint_every=1, init_from=str(tmp_path / "nowhere"))
  with pytest.raises(ValueError, match="nowhere"):
    trainer.train(wrong, tmp_path / "fourth")
  # What was mended may begin where the mistake was.
  trainer.train(started, tmp_path / "fourth")
  assert lines_of(tmp_path / "fourth") == lines_of(third)


def test_another_generator_of_random_numbers_is_refused(tmp_path, monkeypatch):
  config = config_of(checkpoint_every=1)
  run_until(monkeypatch, config, tmp_path, 2)
  monkeypatch.setattr(session.run_record, "describe_key", lambda key: "rbg:1")
  with pytest.raises(ValueError, match="was trained with the random key"):
    trainer.train(config, tmp_path)
