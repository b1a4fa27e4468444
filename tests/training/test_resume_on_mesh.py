"""A run on a mesh that divides everything, stopped and taken up again."""

import jax
import pytest

from graphgpo_jax.training import checkpoint, environment_experiment, trainer
from tests.training import test_resume, tiny


def make_config(**changes):
  return tiny.make_config(
    checkpoint_every=1,
    mesh__data=2,
    mesh__fsdp=2,
    mesh__tensor=2,
    rollout__tasks_per_update=4,
    panel__size=4,
    # No step's advantage may be 0 only because its group had no success.
    estimator_options__graphgpo__penalty_only_with_success=False,
    **changes,
  )


@pytest.mark.slow
def test_resumed_is_uninterrupted_on_a_mesh(tmp_path, monkeypatch):
  config = make_config()
  built = environment_experiment.Experiment(config)
  assert dict(built.mesh.shape) == {"data": 2, "fsdp": 2, "tensor": 2}
  monkeypatch.setattr(environment_experiment, "Experiment", lambda _: built)
  places, restore = [], checkpoint.Checkpoints.restore_run

  def watched(self, like, **options):
    state, record = restore(self, like, **options)
    places.append(jax.tree.map(lambda leaf: leaf.sharding, state))
    return state, record

  monkeypatch.setattr(checkpoint.Checkpoints, "restore_run", watched)
  unbroken, stopped = tmp_path / "unbroken", tmp_path / "run"
  trainer.train(config, unbroken)
  lines = test_resume.lines_of(unbroken)
  # A run that learns nothing would come out the same whatever is restored.
  assert all(line["loss/gradient_norm"] > 1e-3 for line in lines[1:])
  for step in (2, 3):
    test_resume.run_until(monkeypatch, config, stopped, step)
  trainer.train(config, stopped)
  # Restored in parts, where the programs have them, and nowhere else.
  assert places == [built.state_shardings] * 2
  assert built.optimise._cache_size() == 1
  # Parameters, both of Adam's moments, the step, and every metric but times.
  test_resume.equal_runs(stopped, unbroken, config)
