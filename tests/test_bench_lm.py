"""The bench of language models: its sections and the binary."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.lm_bench import (
  accelerator,
  decode,
  memory,
  models,
  options,
  sections,
  torch_peer,
  train,
)

ROOT = pathlib.Path(__file__).parent.parent


def tiny(**changes):
  given = {
    "model": "tiny",
    "repeats": 1,
    "quick": True,
    "batches": (1, 2),
    "prompt_tokens": 4,
    "new_tokens": 8,
    "rows": 2,
    "row_tokens": 16,
    "chunk": 4,
  }
  return options.Options(**given | changes)


def test_shape_of_smollm2():
  model = models.SHAPES["random:smollm2"]
  module = models._module(model)
  tokens = jnp.zeros((1, 2), jnp.int32)
  params = jax.eval_shape(module.init, jax.random.key(0), tokens, tokens == 0)[
    "params"
  ]
  assert models.num_parameters(params) == 134_515_008
  # Keys and values of 3 heads of 64, 30 layers, float32.
  assert models.cache_bytes_per_token(model) == 2 * 30 * 3 * 64 * 4
  # Twice the weights, the embedding's use as a readout included, and a little
  # for attention; norms have no products.
  flops = models.forward_flops(model, 1)
  norms = 576 * 61
  assert flops == 2 * (134_515_008 - norms) + 4 * 30 * 9 * 64
  assert models.forward_flops(model, 256) > 256 * flops


def test_rows_have_no_padding_and_loss_on_their_latter_half():
  rows = train.random_rows(64, 3, 10)
  assert rows.tokens.shape == (3, 10) and rows.mask.all()
  np.testing.assert_array_equal(rows.loss_mask, [[False] * 5 + [True] * 5] * 3)


def test_step_seconds_leave_starting_up_out(monkeypatch):
  calls = []

  def in_turns(contestants, prepare, repeats):
    for name, call in contestants.items():
      call(prepare(name))
    return {"long": [10.0, 12.0, 99.0], "short": [4.0, 7.0, 96.0]}

  monkeypatch.setattr(decode.bench_machine, "in_turns", in_turns)
  found = decode.step_seconds(calls.append, (2, 5), 3)
  # Rounds of 2, 5/3 and 1 second a step.
  assert found == pytest.approx(5 / 3)
  assert calls == [2, 5, 2, 5]


@pytest.mark.slow
def test_decode():
  found = decode.measure(tiny())
  assert [record["batch"] for record in found["batches"]] == [1, 2]
  assert "tokens/s" in decode.table(found)


@pytest.mark.parametrize("rate, words", [(50.0, "50.0"), (7.0, "7.0")])
def test_decode_states_its_goal(rate, words):
  record = {"batch": 16, "step_seconds": 16 / rate, "tokens_per_second": rate}
  line = decode.table({"batches": [record]}).splitlines()[1]
  assert words in line and line.endswith(">= 48")


@pytest.mark.slow
def test_train():
  found = train.measure(tiny())
  forms = found["forms"]
  assert set(forms) == {"full", "lora"}
  assert forms["lora"]["trained"] > 0
  assert forms["full"]["peak_bytes"] > 12 * forms["full"]["trained"]
  assert found["ratio"] > 0
  assert "<= 0.7" in train.table(found).splitlines()[2]


def test_memory_of_chunks_is_less():
  found = memory.measure(tiny(row_tokens=64))
  peaks = found["peak_bytes"]
  # Logits and their gradient, all at once, are there; and chunks are not.
  logits = 2 * 64 * memory.VOCABULARY * 4
  assert peaks["unchunked"] > logits > peaks["chunked"]
  assert found["ratio"] == peaks["chunked"] / peaks["unchunked"]
  assert "chunks of 4" in memory.table(found)


@pytest.mark.slow
def test_accelerator_runs_on_whatever_is_there():
  found = accelerator.measure_here(
    tiny(), batch=2, prompt=4, rows=2, row_tokens=16, scale=64
  )
  decoding, training = found["decode"], found["train"]
  # Not its sign: among other work the long sampling may be the faster one.
  assert decoding["fraction"] * found["bytes_per_second"] == pytest.approx(
    decoding["bytes_per_step"] * decoding["tokens_per_second"] / 2
  )
  flops = 3 * 2 * models.forward_flops(models.SHAPES["tiny"], 16)
  assert training["fraction"] * found["flops_per_second"] == pytest.approx(
    flops / training["seconds"]
  )
  model = models.load("tiny", dtype=jnp.bfloat16)
  size = 2 * models.num_parameters(model.params)
  assert models.num_bytes(model.params) == size
  # 2 sequences of 4 and on average 5 tokens, 2 layers of 2 heads of 8.
  assert found["decode"]["bytes_per_step"] == size + 2 * 9 * 2 * 2 * 16 * 2
  assert "TFLOP/s" in accelerator.table(found)


def test_accelerator_is_refused_on_a_cpu():
  found = accelerator.measure(tiny())
  assert found["missing"] and accelerator.COMMAND in accelerator.table(found)


def test_what_the_peer_lacks_is_named(monkeypatch):
  monkeypatch.setattr(
    torch_peer.importlib.util,
    "find_spec",
    lambda name: None if name == "transformers" else name,
  )
  assert torch_peer.missing() in (
    "torch is not installed",
    "transformers is not installed",
  )


def run(*arguments):
  environment = dict(os.environ, JAX_PLATFORMS="cpu")
  return subprocess.run(
    [sys.executable, "-m", "experiments.bench_lm", *arguments],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    timeout=600,
  )


@pytest.mark.slow
def test_binary_measures_everything(tmp_path):
  output = tmp_path / "found.json"
  done = run(f"--output={output}", "--quick")
  assert done.returncode == 0, done.stderr
  results = json.loads(output.read_text())
  assert results["model"] == "tiny"
  for name, section in sections.SECTIONS.items():
    assert section.table(results[name]) in done.stdout
  assert {"cores", "jax", "backend", "load_average_after"} <= set(
    results["machine"]
  )


@pytest.mark.parametrize(
  "arguments, words",
  [
    (["--sections=speed"], "--sections: unknown section 'speed'"),
    (["--model=no/such/file.gguf"], "--model=no/such/file.gguf: neither"),
    (["surplus"], "surplus"),
  ],
)
@pytest.mark.slow
def test_bad_arguments_are_named(tmp_path, arguments, words):
  output = tmp_path / "found.json"
  done = run(f"--output={output}", *arguments)
  assert done.returncode != 0 and "Traceback" not in done.stderr
  assert words in done.stderr + done.stdout
  assert not output.exists()
