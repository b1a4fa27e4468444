"""Checkpoints: exact, on other devices, and what is damaged passed over."""

import contextlib
import logging
import resource
import shutil
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from orbax.checkpoint import v1 as ocp

from graphgpo_jax.training import checkpoint, checksums, run_record, state

# Numbers that do not shrink when they are compressed.
_RANDOM = np.random.default_rng(0)
WEIGHTS = _RANDOM.standard_normal((64, 512)).astype(np.float32)


def make_state(step, factor=1.0):
  params = {
    "layer": {"kernel": jnp.asarray(WEIGHTS * factor)},
    "half": jnp.arange(5, dtype=jnp.bfloat16),
    "mask": jnp.array([True, False, True]),
  }
  return state.TrainState(
    params=params,
    opt_state=optax.adam(1e-3).init(params),
    reference_params=None,
    step=jnp.int32(step),
    memory={"graph": jnp.arange(6, dtype=jnp.uint32).reshape(2, 3)},
  )


def equal(one, other):
  """Bit for bit, types included."""
  jax.tree.map(
    lambda a, b: np.testing.assert_array_equal(
      np.asarray(a), np.asarray(b), strict=True
    ),
    one,
    other,
  )


@pytest.fixture
def folder(tmp_path):
  """Checkpoints of three updates."""
  checkpoints = checkpoint.Checkpoints(tmp_path)
  for step in (1, 2, 3):
    checkpoints.save(
      step,
      make_state(step, factor=step),
      run_record.RunRecord(step=step, seconds=step / 3),
    )
  checkpoints.close()
  return tmp_path


def test_what_is_read_is_what_was_written(folder):
  checkpoints = checkpoint.Checkpoints(folder)
  assert checkpoints.steps() == [1, 2, 3]
  found, record = checkpoints.restore_run(make_state(0))
  equal(found, make_state(3, factor=3))
  assert record == run_record.RunRecord(step=3, seconds=1.0)
  checkpoints.close()


def test_the_states_buffers_may_be_given_away_at_once(tmp_path):
  move = jax.jit(
    lambda tree: jax.tree.map(lambda leaf: leaf + 1, tree), donate_argnums=0
  )
  checkpoints = checkpoint.Checkpoints(tmp_path)
  params = {"w": jnp.asarray(WEIGHTS)}
  for step in range(5):
    checkpoints.save(step, make_state(step).replace(params=params))
    params = move(move(params))
  checkpoints.close()
  found, _ = checkpoint.Checkpoints(tmp_path).restore_run(
    make_state(0).replace(params=params)
  )
  expected = jnp.asarray(WEIGHTS)
  for _ in range(8):
    expected = expected + 1
  equal(found.params, {"w": expected})


def place(tree, rows, columns):
  mesh = jax.make_mesh(
    (rows, columns),
    ("a", "b"),
    axis_types=(AxisType.Auto,) * 2,
    devices=jax.devices()[: rows * columns],
  )

  def put(leaf):
    spec = PartitionSpec("a", "b") if leaf.shape == WEIGHTS.shape else None
    return jax.device_put(leaf, NamedSharding(mesh, spec or PartitionSpec()))

  return jax.tree.map(put, tree)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (8, 1), (1, 4)])
def test_another_mesh(tmp_path, shape):
  checkpoints = checkpoint.Checkpoints(tmp_path)
  checkpoints.save(7, place(make_state(7), 4, 2))
  checkpoints.close()
  like = place(make_state(0, factor=0.0), *shape)
  found, _ = checkpoint.Checkpoints(tmp_path).restore_run(like)
  equal(found, make_state(7))
  kernel = found.params["layer"]["kernel"]
  assert kernel.sharding == like.params["layer"]["kernel"].sharding
  assert len(kernel.addressable_shards) == shape[0] * shape[1]


def test_checksums_do_not_depend_on_devices_and_see_every_change():
  tree = make_state(7)
  sums = checksums.tree_checksums(tree)
  assert sums == checksums.tree_checksums(place(tree, 2, 4))
  for index in ((0, 0), (3, 500), (63, 511)):
    changed = WEIGHTS.copy()
    changed.view(np.uint32)[index] ^= 1
    other = tree.replace(
      params={**tree.params, "layer": {"kernel": jnp.asarray(changed)}}
    )
    differing = {
      name
      for name, number in checksums.tree_checksums(other).items()
      if number != sums[name]
    }
    assert differing == {"params/layer/kernel"}
  swapped = WEIGHTS.copy()
  swapped[0], swapped[1] = WEIGHTS[1], WEIGHTS[0]
  other = checksums.tree_checksums({"w": jnp.asarray(swapped)})
  assert other != checksums.tree_checksums({"w": jnp.asarray(WEIGHTS)})


def test_host_and_device_count_alike(monkeypatch):
  tree = vars(make_state(7)) | {"key": jax.random.key(3)}
  on_host = checksums.tree_checksums(tree)
  monkeypatch.setattr(checksums, "_SMALL", -1)
  assert checksums.tree_checksums(tree) == on_host


def test_the_newest_and_the_best_are_kept(tmp_path):
  scores = {0: None, 1: 0.2, 2: 0.9, 3: 0.9, 4: 0.1, 5: None, 6: 0.3, 7: 0.2}
  kept = {}
  for step, score in scores.items():
    # Opened anew: scores come from the disk.
    checkpoints = checkpoint.Checkpoints(tmp_path, keep_last=2, keep_best=1)
    record = run_record.RunRecord(step=step, score=score)
    checkpoints.save(step, make_state(step), record)
    checkpoints.close()
    kept[step] = checkpoints.steps()
  assert kept[1] == [0, 1]
  assert kept[4] == [3, 4]
  assert kept[6] == [3, 5, 6]
  assert kept[7] == [3, 6, 7]
  assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {
    "3",
    "6",
    "7",
  }


def truncate_folder(path):
  files = sorted(one for one in path.rglob("*") if one.is_file())
  for one in files[: len(files) // 2]:
    one.unlink()


def empty_folder(path):
  shutil.rmtree(path)
  path.mkdir()


def drop_metadata(path):
  (path / "state" / "_METADATA").unlink()


def drop_record(path):
  (path / "_CHECKPOINT_METADATA").unlink()


def change_record(path):
  file = path / "_CHECKPOINT_METADATA"
  text = file.read_text()
  assert '"seconds": 1.0' in text
  file.write_text(text.replace('"seconds": 1.0', '"seconds": 2.0'))


def halve_largest(path):
  file = largest(path)
  content = file.read_bytes()
  file.write_bytes(content[: len(content) // 2])


def flip_a_bit(path):
  """In an array, which storage keeps without a checksum."""
  file = largest(path)
  content = bytearray(file.read_bytes())
  content[len(content) // 2] ^= 1
  file.write_bytes(content)


def largest(path):
  files = [one for one in path.rglob("*") if one.is_file()]
  return max(files, key=lambda one: one.stat().st_size)


DAMAGES = [
  truncate_folder,
  empty_folder,
  drop_metadata,
  drop_record,
  change_record,
  halve_largest,
  flip_a_bit,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_named_and_set_aside(folder, caplog, damage):
  newest = folder / "checkpoints" / "3"
  damage(newest)
  left = sorted(one.relative_to(newest) for one in newest.rglob("*"))
  checkpoints = checkpoint.Checkpoints(folder)
  with caplog.at_level(logging.WARNING):
    found, record = checkpoints.restore_run(make_state(0))
  equal(found, make_state(2, factor=2))
  assert record.step == 2
  assert f"checkpoint {newest} is passed over" in caplog.text
  # Only who owns the run may move anything.
  assert newest.exists()
  found, _ = checkpoints.restore_run(make_state(0), repair=True)
  equal(found, make_state(2, factor=2))
  assert checkpoints.steps() == [1, 2]
  aside = folder / "checkpoints" / "set_aside" / "3"
  assert sorted(one.relative_to(aside) for one in aside.rglob("*")) == left
  assert f"moved to {aside}" in caplog.text
  # The run comes there again.
  checkpoints.save(3, make_state(3, factor=3))
  found, _ = checkpoints.restore_run(make_state(0))
  equal(found, make_state(3, factor=3))
  damage_again = folder / "checkpoints" / "3"
  empty_folder(damage_again)
  checkpoints.restore_run(make_state(0), repair=True)
  assert (folder / "checkpoints" / "set_aside" / "3-2").is_dir()
  checkpoints.close()


def test_a_flipped_bit_is_traced_to_its_array(folder, caplog):
  flip_a_bit(folder / "checkpoints" / "3")
  checkpoint.Checkpoints(folder).restore_run(make_state(0))
  assert "kernel is not the one that was written" in caplog.text
  params = checkpoint.Checkpoints(folder).restore_params(make_state(0))
  equal(params, make_state(2, factor=2).params)


def test_one_of_an_older_version_has_no_record(tmp_path):
  written = make_state(3, factor=3)
  ocp.save(tmp_path / "checkpoints" / "3", vars(written))
  checkpoints = checkpoint.Checkpoints(tmp_path)
  found, record = checkpoints.restore_run(make_state(0))
  equal(found, written)
  assert record is None
  equal(checkpoints.restore_params(make_state(0)), written.params)


def test_no_good_one(folder):
  for step in (1, 2, 3):
    empty_folder(folder / "checkpoints" / str(step))
  with pytest.raises(checkpoint.NoCheckpointError, match="no checkpoint in"):
    checkpoint.Checkpoints(folder).restore_run(make_state(0))


def test_another_policy_is_no_damage(folder):
  like = make_state(0)
  wider = like.replace(params={**like.params, "half": jnp.zeros(6)})
  checkpoints = checkpoint.Checkpoints(folder)
  with pytest.raises(ValueError, match=r"params/half is bfloat16\[5\] there"):
    checkpoints.restore_run(wider, repair=True)
  assert checkpoints.steps() == [1, 2, 3]
  with pytest.raises(ValueError, match="only the policy has .*params/more"):
    checkpoints.restore_run(like.replace(params={**like.params, "more": 1.0}))


def test_what_a_killed_run_left_is_removed(folder):
  place = folder / "checkpoints"
  for name in ("4.orbax-checkpoint-tmp", "1.deleted"):
    (place / name / "state").mkdir(parents=True)
  checkpoints = checkpoint.Checkpoints(folder)
  assert checkpoints.steps() == [1, 2, 3]
  checkpoints.tidy()
  assert {path.name for path in place.iterdir()} == {"1", "2", "3"}


def test_what_is_written_after_a_failure_is_removed(folder):
  """Orbax's other threads write on when one of them has failed."""
  place = folder / "checkpoints"
  checkpoints = checkpoint.Checkpoints(folder)

  def write_on():
    for number in range(30):
      file = place / "4.orbax-checkpoint-tmp" / "state" / str(number)
      with contextlib.suppress(FileNotFoundError):  # Removed in between.
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
      time.sleep(0.01)

  thread = threading.Thread(target=write_on)
  thread.start()
  checkpoints.count_failure(4, OSError("no space"))
  thread.join()
  checkpoints.close()
  assert {path.name for path in place.iterdir()} == {"1", "2", "3"}


def test_what_comes_late_of_a_failure_is_removed_after_a_good_save(folder):
  place = folder / "checkpoints"
  checkpoints = checkpoint.Checkpoints(folder)
  checkpoints.count_failure(4, OSError("no space"))
  late = place / "4.orbax-checkpoint-tmp"
  late.mkdir()
  checkpoints.save(5, make_state(5))
  checkpoints.wait()
  assert not late.exists()
  late.mkdir()
  checkpoints.close()
  assert {path.name for path in place.iterdir()} == {"2", "3", "5"}


def test_a_full_disk(folder, caplog):
  """Files may not grow beyond 20 kB for a while: writing really fails."""
  checkpoints = checkpoint.Checkpoints(folder)
  limit = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
  try:
    checkpoints.save(4, make_state(4))
    checkpoints.wait()
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
  assert checkpoints.failed_saves == 1
  assert "checkpoint of update 4 could not be written" in caplog.text
  with pytest.raises(OSError, match="last checkpoint could not be written"):
    checkpoints.require_saved()
  # Nothing is left to fill the disk, but for what Orbax's other threads write
  # late; and nothing else was lost.
  assert checkpoints.steps() == [1, 2, 3]
  checkpoints.save(5, make_state(5))
  checkpoints.require_saved()
  assert checkpoints.failed_saves == 1
  assert checkpoints.steps() == [2, 3, 5]
  equal(checkpoints.restore_run(make_state(0))[0], make_state(5))
  checkpoints.close()
  names = {path.name for path in (folder / "checkpoints").iterdir()}
  assert names == {"2", "3", "5"}
