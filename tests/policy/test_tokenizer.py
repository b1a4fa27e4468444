import json
import re

import pytest

from graphgpo_jax.policy import tokenizer
from tests.policy import made_tokenizers

pytestmark = pytest.mark.extra("lm")

TEXTS = [
  "",
  "The quick brown fox, it's quick.",
  "12345 apples and 7",
  "a  b \n\n c\t",
  "naïve 🙂 日本語 عربي",
  "<|im_start|>user\nopen fridge 1<|im_end|>\n",
  "e\u0301 \u00e9",  # The same letter, in two pieces and in one.
  "IT'S DON'T they'LL",
]


def pre_tokenizer(name):
  from tokenizers import Regex, pre_tokenizers

  if name == "gpt-2":
    return pre_tokenizers.ByteLevel(add_prefix_space=False)
  if name == "smollm":
    return made_tokenizers.smollm().pre_tokenizer
  digits = {"qwen2": r"\p{N}", "llama-bpe": r"\p{N}{1,3}"}[name]
  pattern = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|"
    + digits
    + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
  )
  return pre_tokenizers.Sequence(
    [
      pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
      pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
  )


def train(name):
  from tokenizers import normalizers

  return made_tokenizers.train(
    pre_tokenizer(name),
    normalizers.NFC() if name == "qwen2" else None,
    ignore_merges=name == "llama-bpe",
  )


def gguf_metadata(backend, name):
  model = json.loads(backend.to_str())["model"]
  tokens = sorted(model["vocab"], key=model["vocab"].get)
  special = made_tokenizers.SPECIAL
  return {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": name,
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.token_type": [3 if one in special else 1 for one in tokens],
    "tokenizer.ggml.merges": [" ".join(pair) for pair in model["merges"]],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.eot_token_id": 0,
  }


@pytest.mark.parametrize("name", ["gpt-2", "smollm", "qwen2", "llama-bpe"])
def test_rebuilt_from_gguf_metadata(name):
  backend = train(name)
  built = tokenizer.Tokenizer.from_gguf(gguf_metadata(backend, name), where="")
  assert built.vocabulary_size == backend.get_vocab_size()
  for text in [*TEXTS, *made_tokenizers.CORPUS]:
    ids = backend.encode(text, add_special_tokens=False).ids
    assert built.encode(text) == ids
    assert built.decode(ids) == backend.decode(ids)
    kept = built.decode(ids, skip_special=False)
    assert kept == backend.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("gpt-2", "1234|'|S|Ċ|Ċ|x"),
    ("smollm", "1|2|3|4|'|S|Ċ|Ċ|x"),
    ("qwen2", "1|2|3|4|'S|ĊĊ|x"),
    ("llama-bpe", "123|4|'S|ĊĊ|x"),
  ],
)
def test_merges_do_not_cross_cuts(name, expected):
  tokens = [*"1234'SĊx", "12", "123", "1234", "'S", "ĊĊ"]
  metadata = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": name,
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.merges": ["1 2", "12 3", "123 4", "' S", "Ċ Ċ"],
  }
  built = tokenizer.Tokenizer.from_gguf(metadata, where="")
  found = [tokens[index] for index in built.encode("1234'S\n\nx")]
  assert found == expected.split("|")


def test_special_tokens_by_gguf_metadata():
  metadata = gguf_metadata(made_tokenizers.smollm(), "smollm")
  built = tokenizer.Tokenizer.from_gguf(metadata, where="")
  assert built.special_tokens == {
    "bos_token": "<|im_start|>",
    "eos_token": "<|im_end|>",
  }
  assert tokenizer.gguf_eos_ids(metadata) == (2, 0)
  assert built.encode("<|im_end|>") == [2]
  assert built.decode([2]) == ""
  assert built.decode([2], skip_special=False) == "<|im_end|>"


def write(path, settings=None, old=None):
  made_tokenizers.smollm().save(str(path / "tokenizer.json"))
  for name, content in [
    ("tokenizer_config", settings),
    ("special_tokens_map", old),
  ]:
    if content is not None:
      (path / f"{name}.json").write_text(json.dumps(content))


def test_from_directory(tmp_path):
  write(
    tmp_path,
    {"eos_token": "<|im_end|>", "bos_token": {"content": "<|im_start|>"}},
    {"pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
  )
  found = tokenizer.Tokenizer.from_directory(tmp_path)
  assert found.special_tokens == {
    "eos_token": "<|im_end|>",
    "bos_token": "<|im_start|>",
    "pad_token": "<|endoftext|>",
  }
  backend = made_tokenizers.smollm()
  for text in TEXTS:
    assert found.encode(text) == backend.encode(text).ids
    assert found.decode(found.encode(text), skip_special=False) == text


def test_nothing_is_put_before_or_after_a_text(tmp_path):
  import tokenizers

  backend = made_tokenizers.smollm()
  plain = backend.encode("open fridge").ids
  backend.post_processor = tokenizers.processors.TemplateProcessing(
    single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
  )
  assert backend.encode("open fridge").ids == [1, *plain]
  assert tokenizer.Tokenizer(backend).encode("open fridge") == plain


def test_token_id():
  found = tokenizer.Tokenizer(
    made_tokenizers.smollm(),
    special_tokens={"eos_token": "<|im_end|>", "pad_token": "<pad>"},
    where="model",
  )
  assert found.token_id("<|im_end|>") == found.token_id("eos_token") == 2
  for name, text in [
    ("<|tool|>", "<|tool|>"),
    ("bos_token", "bos_token"),
    ("pad_token", "<pad>"),
  ]:
    with pytest.raises(
      ValueError, match=re.escape(f"model: no token '{text}'")
    ):
      found.token_id(name)


def test_save_and_load(tmp_path):
  write(tmp_path, {"eos_token": "<|im_end|>"})
  found = tokenizer.Tokenizer.from_directory(tmp_path)
  (tmp_path / "copy").mkdir()
  found.save(tmp_path / "copy", chat_template="{{ messages }}")
  again = tokenizer.Tokenizer.from_directory(tmp_path / "copy")
  assert again.special_tokens == found.special_tokens
  assert all(again.encode(text) == found.encode(text) for text in TEXTS)
  settings = (tmp_path / "copy" / "tokenizer_config.json").read_text()
  assert json.loads(settings)["chat_template"] == "{{ messages }}"


def test_files_at_fault(tmp_path):
  with pytest.raises(ValueError, match="tokenizer.json is missing"):
    tokenizer.Tokenizer.from_directory(tmp_path)
  (tmp_path / "tokenizer.json").write_text('{"model": 3}')
  with pytest.raises(ValueError, match="tokenizer.json: no tokenizer"):
    tokenizer.Tokenizer.from_directory(tmp_path)
  write(tmp_path)
  (tmp_path / "tokenizer_config.json").write_text("[]")
  with pytest.raises(ValueError, match="tokenizer_config.json: a JSON object"):
    tokenizer.Tokenizer.from_directory(tmp_path)
