"""Logs of steps: JSON lines, Parquet, rollouts, and unfinished runs on them."""

from graphgpo_jax.rollouts.host import episodes, records, wire
from graphgpo_jax.tables import jsonl
from graphgpo_jax.tables.logs import (
  batch,
  credit_file,
  jsonl_source,
  parquet_source,
  spill,
  workspace,
)
from graphgpo_jax.tables.logs import records as log_records
from tests import log_files, oracle
from tests.fuzz.target import Target, replaced
from tests.rollouts import text_corridor


def _write_log(name):
  def make(folder):
    log_files.write(folder / name, oracle.random_table(1, tasks=3))

  return make


def _read_source(source):
  """Every value of every row, checked as credit needs it."""
  maker = log_records.RecordMaker(source.optional, stop=False)
  for part in source.batches(batch.Position()):
    maker.make(part)
  for _ in source.keys(batch.Position()):
    pass


def _read_jsonl(folder):
  path = str(folder / "log.jsonl")
  _read_source(jsonl_source.JsonlSource(path, with_actions=True))
  jsonl.read_steps(path)


def _read_parquet(folder):
  path = str(folder / "log.parquet")
  _read_source(parquet_source.ParquetSource(path, with_actions=True))


def _credit(name):
  def read(folder):
    credit_file.credit_file(
      str(folder / name), str(folder / f"credit-{name}"), on_error="skip"
    )

  return read


def _make_rollouts(folder):
  corridor = text_corridor.TextCorridor()
  played = []
  plans = episodes.plan_episodes(["walk-2"], rollouts_per_task=3, seed=0)
  for plan, words in zip(
    plans, (["east", "east"], ["wait", "fly"], ["west"]), strict=True
  ):
    now, turns = corridor.reset(plan.task_id, seed=plan.seed), []
    for word in words:
      after = corridor.step(word)
      # As a worker sends it.
      after = wire.unpack_step(wire.decode(wire.encode(wire.pack_step(after))))
      turns.append(episodes.Turn(now, episodes.Action(word, prompt="é"), after))
      now = after
    played.append(
      episodes.Episode(
        plan=plan, turns=tuple(turns), failure=None, success=now.success
      )
    )
  log = records.RolloutLog(str(folder))
  log.write(played, text_corridor.state_key, update=3)


def _read_rollouts(folder):
  for path in records.log_files(str(folder), "rollouts"):
    _read_source(jsonl_source.JsonlSource(path))
    jsonl.read_steps(path)


class _KilledError(Exception):
  pass


def _plain_identity(path):
  del path
  return {}


def _unfinished(folder):
  """`credit_file` on small buckets, wherever the log lies."""
  with (
    replaced(credit_file, "_file_identity", _plain_identity),
    replaced(spill, "_BUCKET_ROWS", 20),
  ):
    return credit_file.credit_file(
      str(folder / "log.jsonl"),
      str(folder / "credit.jsonl"),
      on_error="skip",
      rows_per_commit=8,
    )


def _make_unfinished(stage):
  def make(folder):
    table = oracle.random_table(1, tasks=3)
    if stage != "stream":
      table = oracle.reorder(table, log_files.interleave(table, 2))
    log_files.write(folder / "log.jsonl", table)
    commit = workspace.Workspace.commit

    def commit_and_stop(self, state):
      commit(self, state)
      if state["stage"] == stage:
        raise _KilledError

    with replaced(workspace.Workspace, "commit", commit_and_stop):
      try:
        _unfinished(folder)
      except _KilledError:
        return
    raise AssertionError(f"no run stops at stage {stage!r}")

  return make


def _read_unfinished(folder):
  known = {path.name for path in folder.iterdir()}
  known |= {"credit.jsonl", "credit.jsonl.errors.jsonl"}
  try:
    _unfinished(folder)
  finally:
    found = {path.name for path in folder.iterdir()}
    assert found <= known, f"{found - known} lie outside of their folder"
    assert (folder / "log.jsonl").exists(), "the log was moved away"


TARGETS = (
  Target("jsonl", _write_log("log.jsonl"), _read_jsonl, 2000, 90),
  Target(
    "parquet",
    _write_log("log.parquet"),
    _read_parquet,
    1500,
    packages=("pyarrow",),
  ),
  Target("rollouts", _make_rollouts, _read_rollouts, 700, 50),
  Target("credit", _write_log("log.jsonl"), _credit("log.jsonl"), 150, 10),
  *(
    Target(
      f"unfinished_{stage}",
      _make_unfinished(stage),
      _read_unfinished,
      100,
      4,
      damages=("*.partial/*", "*.partial/manifest.json"),
    )
    for stage in ("stream", "split", "credit", "join", "publish")
  ),
)
