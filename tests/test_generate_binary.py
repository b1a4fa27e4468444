"""experiments.generate, on a tiny random chat model."""

import io
import os
import pty
import subprocess
import sys

import jax
import pytest

from experiments import streamer as streamer_lib
from graphgpo_jax.policy import language_model, tokenizer
from graphgpo_jax.policy.pretrained import load
from graphgpo_jax.policy.sampling import options, sampler
from tests import binaries
from tests.policy import made_tokenizers
from tests.policy.pretrained import made_models

TEMPLATE = (
  "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
  "<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
PROMPT = "open fridge 1"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """A folder with a chat model of 300 words."""
  folder = tmp_path_factory.mktemp("generate")
  words = tokenizer.Tokenizer(made_tokenizers.smollm())
  fields = made_models.config_fields(
    "qwen2", vocab_size=words.vocabulary_size, eos_token_id=2
  )
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(made_models, "VOCABULARY", words.vocabulary_size)
    tensors = made_models.random_tensors("qwen2")
  made_models.write_directory(folder / "model", fields, tensors)
  words.save(folder / "model", chat_template=TEMPLATE)
  return folder


def arguments(place, *more):
  return [
    f"--model={place / 'model'}",
    f"--prompt={PROMPT}",
    "--max_tokens=12",
    "--temperature=0",
    *more,
  ]


def expected_answer(place, *system):
  model = load.load(place / "model")
  messages = [{"role": "system", "content": text} for text in system]
  messages.append({"role": "user", "content": PROMPT})
  (sample,) = sampler.Sampler(
    language_model.LanguageModel(model.config),
    {"params": model.params},
    eos_ids=model.eos_ids,
  ).sample(
    [model.chat_ids(messages)],
    jax.random.key(0),
    options.SamplingOptions(temperature=0.0, max_tokens=12),
  )
  return model.tokenizer.decode(sample.tokens)


@pytest.mark.extra("lm")
@pytest.mark.slow
def test_answer(place):
  processes = [
    binaries.start(place, "generate", *arguments(place, *more))
    for more in ([], ["--system=Short."])
  ]
  found = [binaries.finish(process) for process in processes]
  expected = [expected_answer(place), expected_answer(place, "Short.")]
  assert len(set(expected)) == 2
  for (status, output, errors), answer in zip(found, expected, strict=True):
    assert (status, output) == (0, answer + "\n"), errors


@pytest.mark.extra("lm")
@pytest.mark.slow
def test_answer_on_a_mesh(place, monkeypatch):
  monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "8")
  process = binaries.start(place, "generate", *arguments(place, "--mesh=2,2,2"))
  status, output, errors = binaries.finish(process)
  assert (status, output) == (0, expected_answer(place) + "\n"), errors


@pytest.mark.extra("lm")
@pytest.mark.slow
def test_answer_on_a_terminal(place):
  terminal, inside = pty.openpty()
  process = subprocess.Popen(
    [sys.executable, "-m", "experiments.generate", *arguments(place)],
    cwd=binaries.ROOT,
    env=dict(os.environ, JAX_PLATFORMS="cpu"),
    stdout=inside,
    stderr=subprocess.DEVNULL,
  )
  os.close(inside)
  output = b""
  while True:
    try:
      part = os.read(terminal, 4096)
    except OSError:  # Linux's way to say that the other side is closed.
      break
    if not part:
      break
    output += part
  os.close(terminal)
  assert process.wait(timeout=600) == 0
  text = output.decode().replace("\r\n", "\n")
  assert text == expected_answer(place).replace("\r\n", "\n") + "\n"


@pytest.mark.extra("lm")
@pytest.mark.slow
@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"model": "nothing"}, "nothing: neither a directory nor a file"),
    ({"max_tokens": "0"}, "max_tokens=0"),
    ({"max_tokens": "500"}, "exceeds max_length=128"),
    ({"template": None}, "no chat template"),
    ({"tokenizer": None}, "tokenizer.json is missing"),
    ({"mesh": "2,2"}, "--mesh=2,2 must be three numbers"),
    ({"mesh": "3,1,1"}, "needs 3 devices, but there are 1"),
  ],
)
def test_refusals_are_one_line(place, tmp_path, changes, words):
  model = tmp_path / "model"
  model.mkdir()
  for path in (place / "model").iterdir():
    (model / path.name).write_bytes(path.read_bytes())
  if "template" in changes:
    (model / "tokenizer_config.json").unlink()
  if "tokenizer" in changes:
    (model / "tokenizer.json").unlink()
  options = {"model": model, "prompt": "x", "max_tokens": "4", **changes}
  process = binaries.start(
    place,
    "generate",
    *[
      f"--{name}={value}"
      for name, value in options.items()
      if name in ("model", "prompt", "max_tokens", "mesh")
    ],
  )
  status, output, errors = binaries.finish(process)
  assert (status, output) == (1, "")
  (line,) = [one for one in errors.splitlines() if "error" in one.lower()]
  assert line.startswith("error: ") and words in line


def test_streamer_only_adds():
  # Bytes of "aé🙂b", a token each; a decoder shows unfinished ones as U+FFFD.
  data = "aé🙂b".encode()

  def decode(tokens):
    return bytes(tokens).decode(errors="replace")

  output = io.StringIO()
  streamer = streamer_lib.Streamer(decode, output)
  seen = []
  for byte in data:
    streamer.add([byte])
    seen.append(output.getvalue())
  assert seen == ["a", "a", "aé", "aé", "aé", "aé", "aé🙂", "aé🙂b"]
  streamer.finish(list(data))
  assert output.getvalue() == "aé🙂b\n"


def test_streamer_writes_what_is_left():
  output = io.StringIO()
  streamer = streamer_lib.Streamer(
    lambda ids: bytes(ids).decode(errors="replace"), output
  )
  streamer.finish(list("é".encode())[:1])
  assert output.getvalue() == "\ufffd\n"
