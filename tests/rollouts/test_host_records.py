"""Episodes as columns and files, and the credit that is found in them."""

import json
import os
import random
import resource

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphgpo_jax as gg
from graphgpo_jax.rollouts.host import collect as collect_lib
from graphgpo_jax.rollouts.host import episodes, records, workers
from graphgpo_jax.tables import jsonl
from graphgpo_jax.tables.logs import credit_file
from tests import log_files
from tests.rollouts import text_corridor

MAX_STEPS = 6
OPTIONS = {"omega": 0.5, "invalid_penalty": 0.1}


def wander(contexts):
  actions = []
  for context in contexts:
    chance = random.Random(str(context.random_key))
    actions.append(
      episodes.Action(
        chance.choice(("east", "east", "wait", "fly")),
        valid=chance.random() < 0.9,
        prompt=context.now.observation + "\u2028\ud800",
        response="<think>\n</think>",
        prompt_tokens=4,
        response_tokens=2,
      )
    )
  return actions


@pytest.fixture(scope="module")
def collection():
  tasks = ("walk-2", "crash-3", "walk-3", "walk-2")
  plans = episodes.plan_episodes(tasks, rollouts_per_task=4, seed=0)
  with workers.WorkerPool(text_corridor.TextCorridor, num_workers=2) as pool:
    return collect_lib.collect(pool, plans, wander, seed=3, max_steps=MAX_STEPS)


def table_of(collection, **options):
  return records.step_columns(
    collection.episodes, text_corridor.state_key, **options
  )


def test_columns_name_the_group_and_leave_failures_out(collection):
  table = table_of(collection, update=7)
  assert set(collection.failures) == {"crash"}
  assert {name: len(column) for name, column in table.items()} == dict.fromkeys(
    table, sum(len(one.turns) for one in collection.sound)
  )
  assert set(table["task"]) == {"7/0/walk-2", "7/2/walk-3", "7/3/walk-2"}
  assert table["t"] == table["step"]
  assert table["trajectory"] == table["rollout"]
  first = collection.episodes[0]
  assert table["observation"][0] == "You are at 0."
  assert table["response_tokens"][0] == 2
  assert table["prompt"][0].startswith("You are at 0.")
  valid = [t.action.valid and t.after.action_valid for t in first.turns]
  assert table["action_valid"][: len(valid)] == valid
  assert not all(table["action_valid"])
  assert records.step_columns([], text_corridor.state_key) == {}


def test_a_success_may_earn_another_reward_than_the_worlds(collection):
  table = table_of(collection, success_reward=7.0)
  assert table["world_reward"] == table_of(collection)["reward"]
  assert set(table["world_reward"]) == {0.0, 1.0}
  turns = [
    (one.success, turn is one.turns[-1])
    for one in collection.sound
    for turn in one.turns
  ]
  assert table["reward"] == [7.0 * (won and last) for won, last in turns]
  assert table["episode_return"] == [7.0 * won for won, _ in turns]
  assert {(True, True), (True, False), (False, True)} <= set(turns)


def test_files_hold_the_credit_of_the_table(collection, tmp_path):
  log = records.RolloutLog(str(tmp_path / "log"))
  log.write(collection.episodes, text_corridor.state_key, update=7)
  (path,) = records.log_files(log.folder, "rollouts")
  output = tmp_path / "credit.jsonl"
  credit_file.credit_file(path, str(output), **OPTIONS)
  table = table_of(collection, update=7)
  assert records_of(path) == [
    dict(zip(table, row, strict=True))
    for row in zip(*table.values(), strict=True)
  ]
  log_files.assert_holds(output, table, gg.assign_credit(table, **OPTIONS))


def test_files_hold_the_credit_of_arrays(collection, tmp_path):
  """The same from padded arrays, without a table."""
  log = records.RolloutLog(str(tmp_path / "log"))
  log.write(collection.episodes, text_corridor.state_key)
  (path,) = records.log_files(log.folder, "rollouts")
  table = jsonl.read_steps(path)
  found = gg.assign_credit(table, **OPTIONS)["advantage"]
  rollouts = [one for one in collection.sound if one.plan.group == 0]
  shape = len(rollouts), MAX_STEPS
  places = np.full((len(rollouts), MAX_STEPS + 1, 1), 99, np.int32)
  reward, mask = np.zeros(shape, np.float32), np.zeros(shape, bool)
  valid = np.ones(shape, bool)
  for row, one in enumerate(rollouts):
    for step, turn in enumerate(one.turns):
      places[row, step] = int(turn.before.observation[11:-1])
      places[row, step + 1] = int(turn.after.observation[11:-1])
      reward[row, step] = turn.after.reward
      valid[row, step] = turn.action.valid and turn.after.action_valid
      mask[row, step] = True

  @jax.jit
  def advantage(keys, success):
    merged = gg.merge_rollouts(keys, reward, success, valid, mask)
    credit, _, _ = gg.credit_group(
      merged.steps, gg.graphgpo, max_nodes=1 + mask.size, **OPTIONS
    )
    return credit.advantage

  success = jnp.asarray([one.success for one in rollouts])
  flat = advantage(gg.fingerprint(jnp.asarray(places)), success)
  expected = np.asarray(flat).reshape(shape)[mask]
  group = [task == "0/0/walk-2" for task in table["task"]]
  assert len(set(np.round(expected, 3))) > 3
  np.testing.assert_allclose(found[group], expected, atol=1e-6)


def test_failures_are_listed(collection, tmp_path):
  log = records.RolloutLog(str(tmp_path))
  log.write(collection.episodes, text_corridor.state_key, update=2)
  (path,) = records.log_files(str(tmp_path), "failed")
  rows = records_of(path)
  failed = [one for one in collection.episodes if one.failed]
  assert [row["rollout"] for row in rows] == [
    one.plan.rollout for one in failed
  ]
  assert {(row["update"], row["task_id"]) for row in rows} == {(2, "crash-3")}
  assert {row["failure"] for row in rows} == {"crash"}
  assert [row["actions"] for row in rows] == [
    [turn.action.command for turn in one.turns] for one in failed
  ]


def test_cut_last_line_is_read_around(collection, tmp_path):
  log = records.RolloutLog(str(tmp_path / "log"))
  log.write(collection.sound, text_corridor.state_key)
  (path,) = records.log_files(log.folder)
  with open(path, "rb+") as file:
    file.truncate(file.seek(0, 2) - 20)
  # A log that goes on does not touch the broken file.
  again = records.RolloutLog(log.folder)
  again.write(collection.sound, text_corridor.state_key, update=1)
  first, second = records.log_files(log.folder)
  assert first == path
  assert len(records_of(second)) == sum(len(o.turns) for o in collection.sound)
  output = tmp_path / "credit.jsonl"
  with pytest.raises(ValueError, match="line"):
    credit_file.credit_file(path, str(output), **OPTIONS)
  summary = credit_file.credit_file(
    path, str(output), on_error="skip", restart=True, **OPTIONS
  )
  whole = table_of(collection)
  last = collection.sound[-1]
  rows = range(len(whole["t"]) - len(last.turns))
  kept = {name: [column[r] for r in rows] for name, column in whole.items()}
  assert summary.left_out == len(last.turns)
  log_files.assert_holds(output, kept, gg.assign_credit(kept, **OPTIONS))


def test_the_oldest_files_give_way(collection, tmp_path):
  group = [one for one in collection.sound if one.plan.group == 0]
  probe = records.RolloutLog(str(tmp_path / "probe"))
  probe.write(group, text_corridor.state_key, update=10)
  (path,) = records.log_files(probe.folder)
  size = os.path.getsize(path)
  log = records.RolloutLog(
    str(tmp_path / "log"), max_file_bytes=2 * size, max_total_bytes=5 * size
  )
  for update in range(10, 21):
    log.write(group, text_corridor.state_key, update=update)
  kept = [
    {row["update"] for row in records_of(path)}
    for path in records.log_files(log.folder)
  ]
  # Two groups a file; the newest five at most.
  assert kept == [{16, 17}, {18, 19}, {20}]
  small = records.RolloutLog(
    str(tmp_path / "small"), max_file_bytes=1, max_total_bytes=size - 1
  )
  small.write(group, text_corridor.state_key, update=10)
  assert small.dropped == 1 and not records.log_files(small.folder)


def test_on_a_full_disk_a_group_is_dropped_whole(collection, tmp_path, caplog):
  group = [one for one in collection.sound if one.plan.group == 0]
  log = records.RolloutLog(str(tmp_path))
  log.write(group, text_corridor.state_key, update=1)
  (path,) = records.log_files(log.folder)
  limit = resource.getrlimit(resource.RLIMIT_FSIZE)
  # Room for a group and a half.
  half_more = os.path.getsize(path) * 3 // 2
  resource.setrlimit(resource.RLIMIT_FSIZE, (half_more, limit[1]))
  try:
    log.write(group, text_corridor.state_key, update=2)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
  assert log.dropped == 1 and "a group is dropped" in caplog.text
  log.write(group, text_corridor.state_key, update=3)
  assert records.log_files(log.folder) == [path]
  assert {row["update"] for row in records_of(path)} == {1, 3}


def test_other_files_are_left_alone(collection, tmp_path):
  (tmp_path / "notes.jsonl").write_text("mine" * 1000)
  (tmp_path / "rollouts-000009.jsonl").write_text("")
  log = records.RolloutLog(str(tmp_path), max_file_bytes=1)
  log.write(collection.sound[:1], text_corridor.state_key)
  names = sorted(path.name for path in tmp_path.iterdir())
  assert names == [
    "notes.jsonl",
    "rollouts-000009.jsonl",
    "rollouts-000010.jsonl",
  ]


@pytest.mark.parametrize("sizes", [(0, 10), (11, 10)])
def test_sizes_are_checked(sizes, tmp_path):
  with pytest.raises(ValueError, match="max_file_bytes"):
    records.RolloutLog(
      str(tmp_path), max_file_bytes=sizes[0], max_total_bytes=sizes[1]
    )


def records_of(path):
  with open(path) as file:
    return [json.loads(line) for line in file.read().split("\n") if line]
