"""Dumps of verl-agent's batch: read, credited, written back row by row."""

import json
import sys

import numpy as np
import pytest

from graphgpo_jax import tables
from graphgpo_jax.tables import readers
from graphgpo_jax.tables.readers import verl_agent_dump
from tests.test_assign_credit_binary import run
from tests.verl_agent_rows import ROWS, TABLE, batch_of, with_rows

OPTIONS = {"omega": 0.5, "invalid_penalty": 0.0}


def write(path, rows):
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return str(path)


def credit_of(path, output, **options):
  readers.credit_dump(path, str(output), **OPTIONS, **options)
  lines = [json.loads(line) for line in output.read_text().splitlines()]
  return {name: [line[name] for line in lines] for name in lines[0]}


def assert_credit(found, table=TABLE, rows=slice(None)):
  expected = tables.assign_credit(table, **OPTIONS)
  for name, column in expected.items():
    np.testing.assert_array_equal(
      np.float32(found[name][rows]), column, err_msg=name
    )


@pytest.fixture
def path(tmp_path):
  return tmp_path / "7.jsonl"


def test_credit_is_that_of_the_table_by_hand(path, tmp_path):
  found = credit_of(write(path, ROWS), tmp_path / "credit.jsonl")
  for name in ("task", "trajectory", "t"):
    assert found[name] == TABLE[name]
  assert_credit(found)
  # hall, kitchen, cellar; the ends of failures are one step past the farthest.
  assert found["distance"] == [2, 2, 1, 1, 3, 2]
  assert found["next_distance"] == [1, 3, 0, 1, 2, 4]


def test_optional_keys_become_columns(path):
  rows = with_rows(
    rewards=[0, 0, 10, 0, 0, -1],
    is_action_valid=[True, False, True, True, True, True],
    output=list("uvwxyz"),
    next_anchor_obs=["kitchen", "cellar", "cup", "chair", "hall", "garden"],
    turn_step=TABLE["t"],
  )
  found = readers.read_steps(write(path, rows))
  assert found.num_rows == 6 and found.rows.tolist() == list(range(6))
  steps = {name: list(column) for name, column in found.steps.items()}
  assert steps == TABLE | {
    "next_observation": [
      *("kitchen", "cellar", "cup", "chair", "hall", "garden")
    ],
    "reward": [0, 0, 10, 0, 0, -1],
    "action_valid": [True, False, True, True, True, True],
    "action": list("uvwxyz"),
  }


def test_turns_put_shuffled_rows_in_order(path, tmp_path):
  order = [5, 2, 4, 0, 3, 1]
  rows = with_rows(turn_step=TABLE["t"])
  found = credit_of(
    write(path, [rows[row] for row in order]), tmp_path / "credit.jsonl"
  )
  assert found["t"] == [TABLE["t"][row] for row in order]
  assert_credit(
    {name: np.array(found[name])[np.argsort(order)] for name in found}
  )


def test_other_names_and_a_column_of_success(path, tmp_path):
  won = [row["episode_rewards"] > 0 for row in ROWS]
  rows = [
    {"group": row["uid"], "id": row["traj_uid"], "text": row["anchor_obs"]}
    | {"won": success, "price": 1}
    for row, success in zip(ROWS, won, strict=True)
  ]
  columns = {"task": "group", "trajectory": "id", "observation": "text"}
  columns |= {"success": "won", "cost": "price"}
  found = credit_of(
    write(path, rows), tmp_path / "credit.jsonl", columns=columns
  )
  assert_credit(found)


def test_success_may_need_more_than_some_return(path):
  steps = readers.read_steps(write(path, ROWS), success_above=10.0).steps
  assert not any(steps["success"])


def test_rows_that_are_not_active_have_no_credit(path, tmp_path):
  rows = with_rows(active_masks=[1] * 6)
  over = dict(ROWS[3], active_masks=0, anchor_obs="over")
  rows = [*rows[:4], over, *rows[4:], over]
  place = [0, 1, 2, 3, 5, 6]
  written = write(path, rows)
  found = credit_of(written, tmp_path / "credit.jsonl")
  assert found["advantage"][4] is None and found["task"][7] is None
  assert_credit({name: np.array(found[name])[place] for name in found})


@pytest.mark.extra("logs")
def test_tensors_hold_the_same_credit(path, tmp_path):
  from safetensors import numpy as tensor_files

  rows = with_rows(active_masks=[1] * 6)
  rows.append(dict(ROWS[0], active_masks=0))
  output = tmp_path / "credit.safetensors"
  readers.credit_dump(write(path, rows), str(output), **OPTIONS)
  found = tensor_files.load_file(output)
  assert all(column.dtype == np.float32 for column in found.values())
  assert all(np.isnan(column[6]) for column in found.values())
  assert_credit(found, rows=slice(6))


@pytest.mark.extra("logs")
def test_what_the_copied_file_writes_is_read(tmp_path):
  rows = with_rows(is_action_valid=[np.bool_(True)] * 6)
  batch = batch_of(rows)
  verl_agent_dump.dump_batch(batch, str(tmp_path / "3"), list("uvwxyz"))
  assert batch["turn_step"].tolist() == TABLE["t"]
  assert {file.name for file in tmp_path.iterdir()} == {
    "3.safetensors",
    "3.json",
  }
  found = credit_of(str(tmp_path / "3.safetensors"), tmp_path / "credit.jsonl")
  assert_credit(found)
  steps = readers.read_steps(str(tmp_path / "3.safetensors")).steps
  assert list(steps["action"]) == list("uvwxyz")


@pytest.mark.extra("logs")
def test_states_may_be_pictures(tmp_path):
  shades = {"hall": 0, "kitchen": 80, "cellar": 160, "desk": 240}
  pictures = [
    np.full((4, 4, 3), shades[row["anchor_obs"]], np.uint8) for row in ROWS
  ]
  batch = batch_of(with_rows(anchor_obs=pictures))
  verl_agent_dump.dump_batch(batch, str(tmp_path / "3"))
  found = credit_of(str(tmp_path / "3.safetensors"), tmp_path / "credit.jsonl")
  assert_credit(found)


@pytest.mark.extra("logs")
def test_bfloat16_is_read(tmp_path):
  import ml_dtypes
  from safetensors import numpy as tensor_files

  verl_agent_dump.dump_batch(batch_of(ROWS), str(tmp_path / "3"))
  path = tmp_path / "3.safetensors"
  tensors = tensor_files.load_file(path)
  tensors["episode_rewards"] = tensors["episode_rewards"].astype(
    ml_dtypes.bfloat16
  )
  tensor_files.save_file(tensors, path)
  assert_credit(credit_of(str(path), tmp_path / "credit.jsonl"))


def changed(row, **values):
  rows = [dict(one) for one in ROWS]
  for name, value in values.items():
    if value is KeyError:
      del rows[row][name]
    else:
      rows[row][name] = value
  return rows


# Rows, columns, and words of the message.
BAD = {
  "a key is missing in one line": (
    changed(3, uid=KeyError),
    {},
    ["line 4", "'uid'", "line 1 has it"],
  ),
  "an optional key in some lines": (
    changed(2, rewards=1.0),
    {},
    ["line 1", "'rewards'"],
  ),
  "no task": (with_rows(uid=None), {}, ["'uid'", "rollout_data_dir"]),
  "no outcome": (
    with_rows(episode_rewards=None),
    {},
    ["'episode_rewards'", "missing"],
  ),
  "a named key is missing": (ROWS, {"t": "turn"}, ["'turn'", "named"]),
  "a column that does not exist": (ROWS, {"reward_": "r"}, ["'reward_'"]),
  "an id of a wrong type": (changed(1, uid=None), {}, ["line 2", "'uid'"]),
  "a list as an id": (
    changed(1, traj_uid=[1]),
    {},
    ["line 2", "'traj_uid'", "[1]"],
  ),
  "a return that is text": (
    changed(4, episode_rewards="ten"),
    {},
    ["line 5", "'episode_rewards'", "'ten'"],
  ),
  "a return that is not finite": (
    changed(4, episode_rewards=float("nan")),
    {},
    ["line 5", "'episode_rewards'"],
  ),
  "two returns of a rollout": (
    changed(2, episode_rewards=4.0),
    {},
    ["line 3", "'episode_rewards'", "10.0", "line 1"],
  ),
  "a rollout without its end": (
    ROWS[:5],
    {},
    ["line 5", "'episode_lengths'", "2 rows", "3"],
  ),
  "verl's step for the turn": (
    with_rows(step=[7] * 6),
    {"t": "step"},
    ["line 3", "'step'", "line 1", "updates"],
  ),
  "a turn is missing": (
    with_rows(turn_step=[0, 0, 2, 0, 1, 2]),
    {},
    ["line 3", "'turn_step'", "expected turn 1"],
  ),
  "a turn is no integer": (
    with_rows(turn_step=[0, 0, 1.5, 0, 1, 2]),
    {},
    ["line 3", "'turn_step'", "1.5"],
  ),
  "nothing active": (with_rows(active_masks=[0] * 6), {}, ["active"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows_are_named(case, path, tmp_path):
  rows, columns, words = BAD[case]
  output = tmp_path / "credit.jsonl"
  with pytest.raises(ValueError) as error:
    readers.credit_dump(write(path, rows), str(output), columns=columns)
  for word in words:
    assert word in str(error.value), word
  if case != "a column that does not exist":
    assert str(path) in str(error.value)
  assert not output.exists()


@pytest.mark.parametrize(
  "text, words",
  [
    (json.dumps(ROWS[0]) + "\n" + json.dumps(ROWS[1])[:40], ["line 2", "JSON"]),
    ("[1]\n", ["line 1", "list"]),
    ("", ["empty"]),
    (json.dumps(ROWS[0]) + "\n\n" + json.dumps(ROWS[1]), ["line 2", "blank"]),
    ("\xff{}\n", ["line 1", "JSON"]),
  ],
)
def test_damaged_lines_are_named(text, words, path):
  path.write_bytes(text.encode("latin-1"))
  with pytest.raises(ValueError) as error:
    readers.read_steps(str(path))
  for word in [str(path), *words]:
    assert word in str(error.value)


def test_what_stock_verl_writes_is_refused_with_advice(path):
  rows = [
    {"input": "q", "output": "r", "gts": None, "score": 1.0, "step": 7}
  ] * 2
  with pytest.raises(ValueError, match="'uid'.*missing.*verl_agent_dump"):
    readers.read_steps(write(path, rows))


@pytest.mark.extra("logs")
@pytest.mark.parametrize(
  "change, words",
  [
    (lambda tensors, lists: lists["uid"].pop(), ["'uid'", "5 rows", "6"]),
    (
      lambda tensors, lists: tensors.update(uid=np.arange(6)),
      ["'uid'", "one of them"],
    ),
    (
      lambda tensors, lists: lists.update(anchor_obs="hall"),
      ["'anchor_obs'", "list"],
    ),
    (
      lambda tensors, lists: tensors.update(rewards=np.zeros((6, 2))),
      ["'rewards'", "[6, 2]"],
    ),
    (
      lambda tensors, lists: tensors.update(rewards=np.zeros(())),
      ["'rewards'", "single"],
    ),
    (
      lambda tensors, lists: tensors.update(
        episode_rewards=np.array([10, 0, 10, 0, np.inf, 0.0])
      ),
      ["row 4", "'episode_rewards'"],
    ),
    (lambda tensors, lists: lists.clear(), ["'uid'", "missing"]),
  ],
)
def test_bad_tensors_are_named(change, words, tmp_path):
  from safetensors import numpy as tensor_files

  verl_agent_dump.dump_batch(batch_of(ROWS), str(tmp_path / "3"))
  path, sidecar = tmp_path / "3.safetensors", tmp_path / "3.json"
  tensors = tensor_files.load_file(path)
  lists = json.loads(sidecar.read_text())
  change(tensors, lists)
  tensor_files.save_file(tensors, path)
  sidecar.write_text(json.dumps(lists))
  with pytest.raises(ValueError) as error:
    readers.read_steps(str(path))
  for word in words:
    assert word in str(error.value), str(error.value)


@pytest.mark.extra("logs")
@pytest.mark.parametrize("name", ["3.safetensors", "3.json"])
def test_files_that_are_cut_are_named(name, tmp_path):
  verl_agent_dump.dump_batch(batch_of(ROWS), str(tmp_path / "3"))
  cut = tmp_path / name
  cut.write_bytes(cut.read_bytes()[:-20])
  with pytest.raises(ValueError, match=name):
    readers.read_steps(str(tmp_path / "3.safetensors"))


@pytest.mark.extra("logs")
@pytest.mark.parametrize("name", ["3.safetensors", "3.json"])
def test_a_dump_is_not_written_over(name, tmp_path):
  verl_agent_dump.dump_batch(batch_of(ROWS), str(tmp_path / "3"))
  before = (tmp_path / name).read_bytes()
  with pytest.raises(ValueError, match="--output"):
    readers.credit_dump(str(tmp_path / "3.safetensors"), str(tmp_path / name))
  assert (tmp_path / name).read_bytes() == before


@pytest.mark.extra("logs")
def test_without_the_extra_its_command_is_named(tmp_path, monkeypatch):
  verl_agent_dump.dump_batch(batch_of(ROWS), str(tmp_path / "3"))
  monkeypatch.setitem(sys.modules, "safetensors", None)
  with pytest.raises(ImportError, match=r"graphgpo-jax\[logs\]"):
    readers.read_steps(str(tmp_path / "3.safetensors"))


def test_binary_reads_a_dump(path, tmp_path, capsys):
  rows = [dict(row, state=row.pop("anchor_obs")) for row in with_rows()]
  output = tmp_path / "credit.jsonl"
  arguments = [
    f"--rollouts={write(path, rows)}",
    f"--output={output}",
    "--omega=0.5",
    "--invalid_penalty=0",
    "--format=verl_agent",
  ]
  status, _, errors = run(capsys, *arguments)
  assert status == 1 and "'anchor_obs'" in errors and "--columns" in errors
  status, text, errors = run(capsys, *arguments, "--columns=observation=state")
  assert (status, errors) == (0, "")
  assert "6 steps of 3 rollouts of 2 tasks; 1 rollouts" in text
  lines = [json.loads(line) for line in output.read_text().splitlines()]
  assert_credit({name: [line[name] for line in lines] for name in lines[0]})


@pytest.mark.parametrize(
  "arguments, word",
  [
    (["--format=verl_agent", "--on_error=skip"], "on_error"),
    (["--format=verl_agent", "--columns=task"], "--columns"),
    (["--columns=task=uid"], "--format=verl_agent"),
    (["--success_above=1"], "--format=verl_agent"),
    (["--format=verl_agent", "--output=credit.parquet"], "credit.parquet"),
  ],
)
def test_flags_that_do_not_fit_are_named(
  arguments, word, path, tmp_path, capsys
):
  rollouts = write(path, ROWS)
  status, _, errors = run(
    capsys,
    f"--rollouts={rollouts}",
    f"--output={tmp_path / 'credit.jsonl'}",
    *arguments,
  )
  assert status == 1 and word in errors and errors.startswith("error:")
  assert [file.name for file in tmp_path.iterdir()] == [path.name]
