"""Real weights: SmolLM2-135M-Instruct, 134,515,008 parameters."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.policy import language_model
from graphgpo_jax.policy.pretrained import load
from graphgpo_jax.policy.sampling import options as options_lib
from graphgpo_jax.policy.sampling import sampler as sampler_lib

pytestmark = [pytest.mark.slow, pytest.mark.extra("lm")]

ROOT = pathlib.Path(__file__).parents[3]
QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
MESSAGES = [{"role": "user", "content": QUESTION}]
TEXTS = [
  "Hello, world! It's 2024-05-06.",
  "naïve 🙂 日本語 عربي\n\n\ttabs   and spaces",
  "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
  # Digits only: before "½" llama.cpp cuts, too, but transformers takes no
  # notice of tokenizer.ggml.pre.
  "e\u0301 1234567 x2",
]


@pytest.fixture(scope="module")
def model(smollm2):
  return load.load(smollm2)


def test_what_is_loaded(model):
  leaves = jax.tree.leaves(model.params)
  assert sum(leaf.size for leaf in leaves) == 134_515_008
  assert model.config.tied_embeddings and model.eos_ids == (2,)
  prompt = model.tokenizer.decode(model.chat_ids(MESSAGES), skip_special=False)
  assert prompt.startswith("<|im_start|>system\nYou are a helpful AI assistant")
  assert prompt.endswith(
    f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
  )


def test_greedy_answer(model):
  sampler = sampler_lib.Sampler(
    language_model.LanguageModel(model.config),
    {"params": model.params},
    eos_ids=model.eos_ids,
  )
  (sample,) = sampler.sample(
    [model.chat_ids(MESSAGES)],
    jax.random.key(0),
    options_lib.SamplingOptions(temperature=0.0, max_tokens=32),
  )
  assert model.tokenizer.decode(sample.tokens) == ANSWER
  assert sample.stopped and sample.tokens[-1] == model.eos_ids[0]


@pytest.mark.extra("parity")
def test_transformers_agrees(model, smollm2):
  torch = pytest.importorskip("torch", reason="torch is not installed")
  transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed"
  )
  folder, file = os.path.split(smollm2)
  theirs = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
  for text in TEXTS:
    ids = theirs(text, add_special_tokens=False)["input_ids"]
    assert model.tokenizer.encode(text) == ids
    assert model.tokenizer.decode(ids, skip_special=False) == text
  rendered = theirs.apply_chat_template(
    MESSAGES, tokenize=False, add_generation_prompt=True
  )
  assert model.chat_template.render(MESSAGES) == rendered
  ids = model.chat_ids(MESSAGES)
  assert ids == theirs(rendered, add_special_tokens=False)["input_ids"]
  reference = transformers.AutoModelForCausalLM.from_pretrained(
    folder, gguf_file=file, dtype=torch.float32
  )
  with torch.no_grad():
    expected = reference(torch.tensor([ids])).logits.numpy()
  tokens = jnp.asarray([ids], jnp.int32)
  found = jax.jit(language_model.LanguageModel(model.config).apply)(
    {"params": model.params}, tokens, jnp.ones(tokens.shape, bool)
  )
  # Logits of size 20 after 30 layers: 1e-4 is for small models.
  np.testing.assert_allclose(found, expected, atol=1e-3)
  np.testing.assert_array_equal(found.argmax(-1), expected.argmax(-1))


def test_generate_prints_the_answer(smollm2):
  done = subprocess.run(
    [
      sys.executable,
      "-m",
      "experiments.generate",
      f"--model={smollm2}",
      f"--prompt={QUESTION}",
      "--max_tokens=32",
      "--temperature=0",
    ],
    cwd=ROOT,
    env=dict(os.environ, JAX_PLATFORMS="cpu"),
    capture_output=True,
    text=True,
    timeout=900,
  )
  assert (done.returncode, done.stdout) == (0, ANSWER + "\n"), done.stderr
