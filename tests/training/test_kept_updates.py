"""The steps of a few updates, kept for a person to look at."""

import json

import jax
import numpy as np
import pytest

import graphgpo_jax
from graphgpo_jax import envs
from graphgpo_jax.envs import host_states, pictures
from graphgpo_jax.report import kept_steps
from graphgpo_jax.rollouts import on_device, replay
from graphgpo_jax.training import kept_updates
from tests.training import made_rollouts, tiny


@pytest.mark.parametrize(
  "updates, total, wanted",
  [
    (0, 9, []),
    (1, 9, [9]),
    (2, 9, [1, 9]),
    (5, 9, [1, 3, 5, 7, 9]),
    (8, 2, [1, 2]),
  ],
)
def test_updates_that_are_kept(updates, total, wanted):
  config = tiny.make_config(keep__updates=updates, num_updates=total)
  assert sorted(kept_updates.kept_updates(config)) == wanted


def rows_of(folder):
  return {
    path.name: [json.loads(line) for line in path.read_text().splitlines()]
    for path in sorted((folder / "rollouts").iterdir())
  }


def test_what_is_kept_is_what_was_played(tmp_path):
  _, rollouts = tiny.mixed_rollouts()
  config = tiny.make_config(keep__tasks=2)
  keep = kept_updates.make_keep(config, tiny.experiment().environment, tmp_path)
  keep(1, rollouts)
  (rows,) = rows_of(tmp_path).values()
  played = jax.device_get(rollouts)
  assert len(rows) == played.mask.sum()
  for row in rows:
    at = row["group"], row["rollout"], row["step"]
    assert played.mask[at]
    assert row["action"] == played.action[at]
    assert row["success"] == played.success[at[:2]]
    assert row["action_valid"] == played.action_valid[at]
    high, low = played.state_keys[at].tolist()
    assert row["observation"] == f"{high:08x}{low:08x}"
    assert row["picture"].startswith("You stand ")
    assert row["action_text"]
  # A task's file can be given to assign_credit as it is.
  kept = kept_steps.find_steps(tmp_path)
  for extents in kept.places[1].values():
    graphgpo_jax.assign_credit(kept_steps.read_steps(extents), "grpo")


def test_pictures_say_what_the_actions_did(tmp_path):
  _, rollouts = tiny.mixed_rollouts()
  environment = tiny.experiment().environment
  keep = kept_updates.make_keep(tiny.make_config(), environment, tmp_path)
  keep(1, rollouts)
  (rows,) = rows_of(tmp_path).values()
  walks = [row for row in rows if row["action_text"].startswith("go to ")]
  assert walks
  following = {(one["task"], one["trajectory"], one["t"]): one for one in rows}
  for row in walks:
    after = following.get((row["task"], row["trajectory"], row["t"] + 1))
    shown = after["picture"] if after else row["next_picture"]
    place = row["action_text"].removeprefix("go to ")
    assert f"You stand at the {place} " in shown or not row["action_valid"]


def test_an_update_that_is_not_wanted_is_not_kept(tmp_path):
  config = tiny.make_config(num_updates=10, keep__updates=2)
  keep = kept_updates.make_keep(config, tiny.experiment().environment, tmp_path)
  keep(5, made_rollouts.random_rollouts())
  assert not list(tmp_path.iterdir())


def test_a_full_share_leaves_tasks_out(tmp_path, caplog):
  rollouts = made_rollouts.random_rollouts(tasks=6, rollouts=40)
  config = tiny.make_config(keep__tasks=6, keep__megabytes=1)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(kept_updates, "_MEGABYTE", 3 * 100_000)
    keep = kept_updates.make_keep(
      config, tiny.experiment().environment, tmp_path
    )
  keep(1, rollouts)
  (rows,) = rows_of(tmp_path).values()
  tasks = {row["group"] for row in rows}
  assert 0 < len(tasks) < 6
  assert f"{len(tasks)} of 6 tasks have room" in caplog.text
  size = (tmp_path / "rollouts" / "update-000001.jsonl").stat().st_size
  assert size <= 100_000


def test_a_disk_that_takes_nothing_does_not_end_the_run(tmp_path, caplog):
  (tmp_path / "rollouts").write_text("in the way")
  keep = kept_updates.make_keep(
    tiny.make_config(), tiny.experiment().environment, tmp_path
  )
  keep(1, made_rollouts.random_rollouts())
  assert "update 1 is not kept" in caplog.text


@pytest.mark.parametrize(
  "name, options",
  [
    ("household", {"tier": 1, "slip": 0.4}),
    ("sokoban", {"height": 6, "width": 6, "num_boxes": 1, "horizon": 15}),
  ],
)
@pytest.mark.slow
def test_replayed_states_are_those_that_were_played(name, options):
  environment = envs.make_environment(name, **options)
  keys = jax.random.split(jax.random.key(3), 2)
  tasks = jax.vmap(environment.sample_task)(keys)

  def apply_fn(params, observation):
    return np.zeros(1) + observation.action_mask * 3.0

  played = jax.device_get(
    on_device.collect_rollouts(
      environment, apply_fn, None, tasks, keys, rollouts_per_task=3
    )
  )
  states = replay.replay_states(
    environment, played.task, played.play_key, played.action
  )
  model, _ = environment.reset(keys[0], jax.tree.map(lambda x: x[0], tasks))
  found = jax.vmap(jax.vmap(jax.vmap(environment.state_key)))(
    host_states.to_states(model, states)
  )
  mask = np.pad(played.mask, ((0, 0), (0, 0), (1, 0)), constant_values=True)
  np.testing.assert_array_equal(
    np.asarray(found)[mask], played.state_keys[mask]
  )
  show, named = pictures.text_viewer(environment)
  first = jax.tree.map(lambda leaf: leaf[0, 0, 0], jax.device_get(states))
  assert len(show(first)) > 20
  assert named(first, int(played.action[0, 0, 0]))
