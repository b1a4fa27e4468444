"""A worker process of a text world that is killed while a run trains."""

import pytest

from graphgpo_jax.training import metrics, text_settings, trainer
from tests.training import dying_world, test_text_experiment


@pytest.mark.slow
def test_a_killed_worker_is_counted_and_training_goes_on(tmp_path):
  config = test_text_experiment.make_config(
    num_updates=6,
    checkpoint_every=1,
    environment__name="tests.training.dying_world",
    rollout__tasks_per_update=4,
    rollout__rollouts_per_task=2,
  )
  (tasks,) = text_settings.task_sets(config, side="train")
  assert dying_world.DEADLY in tasks and len(tasks) == 10
  trainer.train(config, tmp_path)
  lines = metrics.read_metrics(tmp_path / "metrics.jsonl")
  assert [line["step"] for line in lines] == list(range(7))
  failed = [line["rollout/failed_episodes"] for line in lines[1:]]
  # Four tasks an update: the deadly one is drawn in some and not in all.
  assert sum(failed) > 0 and min(failed) == 0
  for line in lines[1:]:
    assert line["rollout/steps"] > 0
  assert list((tmp_path / "rollouts").glob("failed-*.jsonl"))
