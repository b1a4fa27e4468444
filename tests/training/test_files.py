"""What a run leaves in its folder: metrics, events, config."""

import json
import resource
import sys

import ml_collections
import pytest

from graphgpo_jax.training import metrics as metrics_lib
from graphgpo_jax.training import workdir
from tests.training import tiny


def lines_of(folder):
  return metrics_lib.read_metrics(folder / "metrics.jsonl")


def write(folder, *steps, **values):
  writer = metrics_lib.MetricsWriter(folder, tensorboard=False)
  for step in steps:
    writer.write(step, values)
  writer.close()


def test_one_line_a_step(tmp_path):
  writer = metrics_lib.MetricsWriter(tmp_path, tensorboard=False)
  assert writer.last_step == -1
  writer.write(0, {"eval/success": 0.25, "time/update": 2})
  # On the disk at once, not when the run is over.
  (line,) = lines_of(tmp_path)
  assert line == {"step": 0, "eval/success": 0.25, "time/update": 2.0}
  writer.write(3, {"loss/kl": 1.5})
  writer.close()
  text = (tmp_path / "metrics.jsonl").read_text()
  assert [json.loads(line) for line in text.splitlines()] == lines_of(tmp_path)


def test_started_again_it_appends_and_repeats_no_step(tmp_path):
  write(tmp_path, 0, 1, 2, run=1)
  before = (tmp_path / "metrics.jsonl").read_text()
  write(tmp_path, 1, 2, 2, 0, 3, 3, 4, run=2)
  assert (tmp_path / "metrics.jsonl").read_text().startswith(before)
  found = [(line["step"], line["run"]) for line in lines_of(tmp_path)]
  assert found == [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2)]


@pytest.mark.parametrize("half", ['{"st', '{"step": 2, "run": 1}'])
def test_half_a_line_is_cut_off(tmp_path, half):
  write(tmp_path, 0, 1, run=1)
  with (tmp_path / "metrics.jsonl").open("a") as file:
    file.write(half)
  write(tmp_path, 1, 2, run=2)
  found = [(line["step"], line["run"]) for line in lines_of(tmp_path)]
  assert found == [(0, 1), (1, 1), (2, 2)]


@pytest.mark.parametrize(
  "bad", ["{", "[1]", "7", '{"loss": 1}', '{"step": "x"}', '{"step": null}', ""]
)
def test_an_unreadable_line_is_named(tmp_path, bad):
  write(tmp_path, 0, run=1)
  path = tmp_path / "metrics.jsonl"
  content = path.read_text() + bad + "\n" + '{"step": 2}\n'
  path.write_text(content)
  with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: expected"):
    metrics_lib.MetricsWriter(tmp_path, tensorboard=False)
  assert path.read_text() == content


def test_a_line_that_is_no_text_is_named(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_bytes(b'{"step": 0}\n\xff\xfe\n')
  with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: expected"):
    metrics_lib.read_metrics(path)


def test_tensorboard_events(tmp_path):
  pytest.importorskip("tensorboardX", reason="extra [viz] is not installed")
  writer = metrics_lib.MetricsWriter(tmp_path)
  writer.write(0, {"eval/success": 0.25})
  writer.close()
  (events,) = (tmp_path / "tensorboard").iterdir()
  content = events.read_bytes()
  assert b"eval/success" in content


def test_events_go_on_after_a_full_disk(tmp_path, caplog):
  pytest.importorskip("tensorboardX", reason="extra [viz] is not installed")
  writer = metrics_lib.MetricsWriter(tmp_path)
  writer.write(0, {"before": 0.0})
  limit = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (10, limit[1]))
  try:
    for step in range(1, 50):
      writer.write(step, {"meanwhile": float(step)})
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
  assert "it lacks update 49, which metrics.jsonl has" in caplog.text
  writer.write(50, {"after": 0.0})
  writer.close()
  content = b"".join(
    path.read_bytes() for path in (tmp_path / "tensorboard").iterdir()
  )
  assert b"before" in content and b"after" in content
  assert [line["step"] for line in lines_of(tmp_path)] == list(range(51))


def test_missing_tensorboard_names_the_command(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorboardX", None)
  with pytest.raises(ImportError, match=r"pip install 'graphgpo-jax\[viz\]'"):
    metrics_lib.MetricsWriter(tmp_path)
  assert list(tmp_path.iterdir()) == []
  metrics_lib.MetricsWriter(tmp_path, tensorboard=False).close()


def test_workdir_is_claimed_once_and_again_by_the_same_config(tmp_path):
  config = tiny.make_config()
  folder = workdir.claim_workdir(tmp_path / "a" / "b", config)
  assert [path.name for path in folder.iterdir()] == ["config.json"]
  content = (folder / "config.json").read_text()
  assert workdir.read_config(folder) == json.loads(config.to_json())
  assert workdir.claim_workdir(str(folder), tiny.make_config()) == folder
  assert (folder / "config.json").read_text() == content


def test_workdir_of_another_config_names_what_differs(tmp_path):
  workdir.claim_workdir(tmp_path, tiny.make_config())
  content = (tmp_path / "config.json").read_text()
  other = tiny.make_config(seed=3, estimator_options__graphgpo__omega=0.25)
  with pytest.raises(
    ValueError,
    match=r"estimator_options\.graphgpo\.omega \(0\.8 there, 0\.25 here\), "
    r"seed \(0 there, 3 here\)",
  ):
    workdir.claim_workdir(tmp_path, other)
  fewer = ml_collections.ConfigDict(tiny.make_config().to_dict())
  with fewer.unlocked():
    del fewer.loss.kl
  with pytest.raises(ValueError, match=r"loss\.kl .*None here"):
    workdir.claim_workdir(tmp_path, fewer)
  assert (tmp_path / "config.json").read_text() == content


def test_workdir_that_cannot_be_read(tmp_path):
  with pytest.raises(ValueError, match="holds no run"):
    workdir.read_config(tmp_path)
  (tmp_path / "config.json").write_text("{")
  for read in (
    lambda: workdir.read_config(tmp_path),
    lambda: workdir.claim_workdir(tmp_path, tiny.make_config()),
  ):
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
      read()
  file = tmp_path / "file"
  file.touch()
  with pytest.raises(ValueError, match="is not a folder"):
    workdir.claim_workdir(file, tiny.make_config())


def test_a_buckets_address_is_no_workdir(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ValueError, match=r"gs://b/run is an address"):
    workdir.claim_workdir("gs://b/run", tiny.make_config())
  assert not list(tmp_path.iterdir())


def test_lines_wait_while_the_disk_is_full(tmp_path, caplog):
  """More of them than any buffer holds."""
  path = tmp_path / "metrics.jsonl"
  writer = metrics_lib.MetricsWriter(tmp_path, tensorboard=False)
  writer.write(0, {"loss": 0.0})
  limit = resource.getrlimit(resource.RLIMIT_FSIZE)
  # Room for a line and a half.
  resource.setrlimit(
    resource.RLIMIT_FSIZE, (path.stat().st_size * 3 // 2, limit[1])
  )
  try:
    for step in range(1, 1000):
      writer.write(step, {"loss": float(step)})
    with pytest.raises(OSError):
      writer.position(999)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
  assert "its lines are kept for later" in caplog.text
  writer.write(1000, {"loss": 1000.0})
  writer.close()
  found = [(line["step"], line["loss"]) for line in lines_of(tmp_path)]
  assert found == [(step, float(step)) for step in range(1001)]
