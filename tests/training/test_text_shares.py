"""Who plays what of a text world, and that a mesh does not change it."""

import jax
import numpy as np
import pytest

from graphgpo_jax.rollouts.host import episodes
from graphgpo_jax.training import (
  loop,
  text_experiment,
  text_shares,
)
from graphgpo_jax.training import mesh as mesh_lib
from tests.training import test_text_experiment, tiny


def made(group, rollout, failure=None):
  plan = episodes.Plan(2 * group + rollout, group, rollout, "task", 0)
  return episodes.Episode(plan, (), failure, success=rollout == 1)


def test_a_process_owns_the_groups_of_its_devices():
  assert text_shares.own_groups(None, 5) == [0, 1, 2, 3, 4]
  mesh = mesh_lib.make_mesh(4)
  assert text_shares.own_groups(mesh, 8) == list(range(8))
  rows = np.arange(24.0, dtype=np.float32).reshape(8, 3)
  placed = text_shares.to_devices({"rows": rows}, mesh)["rows"]
  assert {shard.data.shape for shard in placed.addressable_shards} == {(2, 3)}
  np.testing.assert_array_equal(placed, rows)
  whole = jax.device_put(rows, mesh_lib.replicated(mesh))
  copy = text_shares.own_copy(whole, mesh)
  assert len(copy.devices()) == 1
  np.testing.assert_array_equal(copy, rows)


def test_panels_are_shared_out(monkeypatch):
  assert text_shares.own_panel(3) == [0, 1, 2]
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  shares = []
  for index in range(2):
    monkeypatch.setattr(jax, "process_index", lambda index=index: index)
    shares.append(text_shares.own_panel(5))
  assert shares == [[0, 2, 4], [1, 3]]


def test_groups_count_from_zero_in_their_own_arrays():
  played = [made(group, rollout) for group in (3, 6) for rollout in (0, 1)]
  renumbered = text_shares.renumber(played, [3, 6])
  assert [one.plan.group for one in renumbered] == [0, 0, 1, 1]
  # Chance hangs on the index, which stays.
  assert [one.plan.index for one in renumbered] == [6, 7, 12, 13]


def test_outcomes_come_in_the_order_of_their_episodes():
  found = text_shares.gather_outcomes([made(2, 1), made(0, 0)])
  assert [one.index for one in found] == [0, 5]
  assert [one.success for one in found] == [False, True]
  assert text_shares.add_up({"turns": 3}) == {"turns": 3}


@pytest.mark.slow
def test_a_mesh_changes_nothing_but_the_order_of_sums():
  def run(data):
    own = text_experiment.make_experiment(
      test_text_experiment.make_config(
        mesh__data=data, rollout__tasks_per_update=4
      )
    )
    start = loop.initial_state(own, 3)
    updates = loop.iterate(own, start, seed=3, estimator="graphgpo")
    found = [tiny.without_times(metrics) for _, metrics in updates]
    own.close()
    return found

  alone, divided = run(1), run(2)
  assert sum(line.get("loss/gradient_norm", 0.0) for line in alone) > 0
  for one, other in zip(alone, divided, strict=True):
    assert one == pytest.approx(other, rel=0, abs=1e-5)
