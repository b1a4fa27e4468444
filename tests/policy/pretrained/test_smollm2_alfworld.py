"""SmolLM2 with adapters in ALFWorld: the config's two updates, really run."""

import json
import pathlib

import numpy as np
import pytest

from experiments.configs import text_alfworld_smollm2
from graphgpo_jax.rollouts.host import records
from graphgpo_jax.training import language_trainer, metrics

pytestmark = [
  pytest.mark.slow,
  pytest.mark.extra("lm"),
  pytest.mark.extra("text"),
]


def test_two_updates(smollm2, tmp_path):
  for package in ("alfworld", "textworld"):
    pytest.importorskip(package, reason=f"{package} is not installed")
  config = text_alfworld_smollm2.get_config()
  config.model.path = smollm2
  language_trainer.train(config, tmp_path / "run")
  lines = metrics.read_metrics(tmp_path / "run" / "metrics.jsonl")
  assert [line["step"] for line in lines] == [1, 2]
  for line in lines:
    assert np.isfinite(list(line.values())).all()
    assert line["rollout/steps"] > 0 and line["rollout/failed_episodes"] == 0
  # Where all steps are worth the same there is nothing to learn.
  trained = [line for line in lines if not line["optimiser/skipped"]]
  assert trained
  for line in trained:
    assert line["sampler/difference_max"] < 0.01
    assert line["loss/gradient_norm"] > 0
  rows = [
    json.loads(text)
    for path in records.log_files(str(tmp_path / "run" / "rollouts"))
    for text in pathlib.Path(path).read_text().splitlines()
  ]
  assert {row["update"] for row in rows} == {1, 2}
  assert all(row["prompt"].startswith("<|im_start|>") for row in rows)
  assert all(row["response_tokens"] > 0 for row in rows)
