"""A run with its folder, on programs that all these tests share."""

import json

import pytest

from graphgpo_jax.training import (
  checkpoint,
  environment_experiment,
  metrics,
  settings,
  trainer,
)
from tests.training import tiny


@pytest.fixture(autouse=True)
def shared_programs(monkeypatch):
  """Nothing is compiled anew: only the folder's side is under test here."""

  def build(config):
    settings.check_config(config)
    return tiny.experiment()

  restore = checkpoint.Checkpoints.restore_run

  def uncommitted(self, like, **options):
    state, record = restore(self, like, **options)
    return tiny.uncommitted(state), record

  monkeypatch.setattr(environment_experiment, "Experiment", build)
  monkeypatch.setattr(
    checkpoint.Checkpoints,
    "restore_run",
    uncommitted,
  )


def config_of(**changes):
  return tiny.make_config(seed=tiny.learning_seed(), **changes)


def curve(folder):
  return [
    tiny.without_times(line)
    for line in metrics.read_metrics(folder / "metrics.jsonl")
  ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """Folder and last metrics of a run that nothing disturbed."""
  folder = tmp_path_factory.mktemp("finished")
  built = tiny.experiment()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(environment_experiment, "Experiment", lambda _: built)
    last = trainer.train(config_of(), folder, profile_steps=range(2, 3))
  return folder, last


def test_a_run_leaves_its_files(finished, capsys):
  folder, last = finished
  assert sorted(path.name for path in folder.iterdir()) == [
    "checkpoints",
    "config.json",
    "metrics.jsonl",
    "profile",
    "rollouts",
  ]
  assert list(folder.glob("profile/plugins/profile/*/*.xplane.pb"))
  lines = metrics.read_metrics(folder / "metrics.jsonl")
  assert [line["step"] for line in lines] == [0, 1, 2, 3]
  assert lines[-1] == {"step": 3, **last}
  for line in lines:
    assert "eval/success" in line and "time/evaluate" in line
    assert line["time/host_gigabytes"] > 0 and line["time/compile"] >= 0
  checkpoints = checkpoint.Checkpoints(folder)
  assert checkpoints.latest_step() == 3
  checkpoints.close()


def test_evaluate_reproduces_the_last_line(finished):
  folder, last = finished
  found = trainer.evaluate(config_of(), folder)
  expected = {
    name: value for name, value in last.items() if name.startswith("eval/")
  }
  assert found == {"step": 3, **expected}
  json.dumps(found)


def test_started_again_it_trains_nothing(finished, capsys):
  folder, _ = finished
  before = (folder / "metrics.jsonl").read_bytes()
  assert trainer.train(config_of(), folder) == {}
  assert "holds the finished run" in capsys.readouterr().out
  assert (folder / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
  "stop, checkpoint_every", [(0, 1), (1, 0), (2, 1), (2, 2)]
)
def test_a_stopped_run_goes_on(
  finished, tmp_path, monkeypatch, stop, checkpoint_every
):
  """Stopped after a line is written and before its checkpoint is."""
  config = config_of(checkpoint_every=checkpoint_every)
  write = metrics.MetricsWriter.write

  def write_and_stop(writer, step, values):
    write(writer, step, values)
    if step == stop:
      raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(metrics.MetricsWriter, "write", write_and_stop)
    with pytest.raises(KeyboardInterrupt):
      trainer.train(config, tmp_path)
  assert len(curve(tmp_path)) == stop + 1
  trainer.train(config, tmp_path)
  assert curve(tmp_path) == curve(finished[0])


def test_evaluate_needs_a_run_and_a_checkpoint(finished, tmp_path):
  with pytest.raises(ValueError, match="holds no run"):
    trainer.evaluate(config_of(), tmp_path)
  assert list(tmp_path.iterdir()) == []
  with pytest.raises(ValueError, match=r"another config.*panel\.size"):
    trainer.evaluate(config_of(panel__size=3), finished[0])
  (tmp_path / "config.json").write_text(
    (finished[0] / "config.json").read_text()
  )
  with pytest.raises(ValueError, match="no checkpoint"):
    trainer.evaluate(config_of(), tmp_path)


def test_another_config_is_refused(finished):
  before = {path: path.stat().st_mtime_ns for path in finished[0].iterdir()}
  with pytest.raises(ValueError, match="another config; it differs in "):
    trainer.train(config_of(num_updates=9), finished[0])
  after = {path: path.stat().st_mtime_ns for path in finished[0].iterdir()}
  assert before == after


def test_a_refused_config_claims_no_folder(tmp_path, monkeypatch):
  monkeypatch.undo()  # Here the environment itself is asked.
  for name, value in (
    ("estimator", "ppo"),
    ("environment__tier", 99),
    ("policy__num_heads", 3),
    ("loss__dual_clip", 0.5),
  ):
    folder = tmp_path / name
    with pytest.raises(ValueError):
      trainer.train(tiny.make_config(**{name: value}), folder)
    assert not folder.exists()
