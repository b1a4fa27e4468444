"""The same numbers as `transformers` with torch, from the same files."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.policy import chat, kv_cache, language_model, tokenizer
from graphgpo_jax.policy.pretrained import export, load
from tests.policy import made_tokenizers

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip(
  "transformers", reason="transformers is not installed"
)

pytestmark = [pytest.mark.extra("parity"), pytest.mark.extra("lm")]

LENGTH, VOCABULARY = 24, 97
# Logits of the models below are of size 1.
TOLERANCE = 1e-4

LLAMA3 = {
  "rope_type": "llama3",
  "factor": 8.0,
  "low_freq_factor": 1.0,
  "high_freq_factor": 4.0,
  # So short that some wavelengths lie on either side, and some in between.
  "original_max_position_embeddings": 32,
}
YARN = {
  "rope_type": "yarn",
  "factor": 4.0,
  "original_max_position_embeddings": 32,
}
LINEAR = {"rope_type": "linear", "factor": 3.0}

MODELS = {
  "llama": ("Llama", {"tie_word_embeddings": False}),
  "llama_tied": ("Llama", {"tie_word_embeddings": True}),
  "llama3": ("Llama", {"rope_parameters": {**LLAMA3, "rope_theta": 500.0}}),
  "llama_linear": (
    "Llama",
    {"rope_parameters": {**LINEAR, "rope_theta": 500.0}},
  ),
  "llama_bias": ("Llama", {"attention_bias": True}),
  "qwen2": ("Qwen2", {"tie_word_embeddings": False}),
  "qwen2_tied": ("Qwen2", {"tie_word_embeddings": True}),
  "qwen2_yarn": ("Qwen2", {"rope_parameters": {**YARN, "rope_theta": 500.0}}),
  "qwen3": ("Qwen3", {"tie_word_embeddings": False, "head_dim": 12}),
  "qwen3_tied": ("Qwen3", {"tie_word_embeddings": True, "head_dim": 12}),
  "qwen3_bias": ("Qwen3", {"attention_bias": True, "head_dim": 12}),
}


def make_reference(name):
  """A random model of transformers; every tensor differs from its default."""
  family, options = MODELS[name]
  config = getattr(transformers, f"{family}Config")(
    vocab_size=VOCABULARY,
    hidden_size=32,
    intermediate_size=56,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    **options,
  )
  torch.manual_seed(0)
  model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
  with torch.no_grad():
    for key, weights in model.named_parameters():
      scale = weights.shape[-1] ** -0.5 if weights.ndim == 2 else 0.3
      noise = torch.randn_like(weights) * scale
      is_norm = key.endswith("norm.weight")
      weights.copy_(1 + noise if is_norm else noise)
  return model.float()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("parity")


@pytest.fixture(params=MODELS, scope="module")
def pair(request, folder):
  """A reference and what is loaded from the files that it saves."""
  reference = make_reference(request.param)
  path = folder / request.param
  reference.save_pretrained(path, max_shard_size="20KB")
  assert len(list(path.glob("*.safetensors"))) > 1
  return reference, load.load(path)


def tokens_and_masks():
  rng = np.random.default_rng(0)
  tokens = rng.integers(0, VOCABULARY, size=(3, LENGTH)).astype(np.int32)
  left = np.arange(LENGTH) >= np.array([[0], [5], [17]])
  return tokens, left


def reference_logits(reference, tokens, mask):
  positions = np.maximum(np.cumsum(mask, axis=-1) - 1, 0)
  with torch.no_grad():
    output = reference(
      input_ids=torch.tensor(tokens, dtype=torch.long),
      attention_mask=torch.tensor(mask, dtype=torch.long),
      position_ids=torch.tensor(positions, dtype=torch.long),
    )
  return output.logits.numpy()


@functools.cache
def compiled(config):
  model = language_model.LanguageModel(config)

  def extend(params, tokens, mask, cache):
    variables = {"params": params}
    hidden, cache = model.apply(variables, tokens, mask, cache, method="extend")
    return model.apply(variables, hidden, method="logits"), cache

  return jax.jit(model.apply), jax.jit(extend)


def assert_close(found, expected, mask):
  # Else equality would say little.
  assert np.std(expected[mask]) > 0.3
  np.testing.assert_allclose(found[mask], expected[mask], atol=TOLERANCE)


def test_logits(pair):
  reference, found = pair
  tokens, left = tokens_and_masks()
  apply, _ = compiled(found.config)
  for mask in (np.ones_like(left), left):
    expected = reference_logits(reference, tokens, mask)
    logits = apply({"params": found.params}, tokens, mask)
    assert_close(logits, expected, mask)


def test_logits_with_a_cache(pair):
  reference, found = pair
  tokens, left = tokens_and_masks()
  _, extend = compiled(found.config)
  for mask in (np.ones_like(left), left):
    expected = reference_logits(reference, tokens, mask)
    cache = kv_cache.empty_cache(found.config.transformer, 3, LENGTH)
    parts = []
    # A prompt in two chunks, then token by token.
    for part in np.split(np.arange(LENGTH), [8, 16, *range(17, LENGTH)]):
      logits, cache = extend(
        found.params, tokens[:, part], mask[:, part], cache
      )
      parts.append(logits)
    assert_close(np.concatenate(parts, axis=1), expected, mask)


def test_export_is_loaded_by_transformers(pair, tmp_path):
  reference, found = pair
  export.export(found, tmp_path / "out", shard_bytes=20_000)
  again, report = transformers.AutoModelForCausalLM.from_pretrained(
    tmp_path / "out", output_loading_info=True, dtype="float32"
  )
  assert not report["missing_keys"] and not report["unexpected_keys"]
  tokens, left = tokens_and_masks()
  np.testing.assert_allclose(
    reference_logits(again.eval(), tokens, left)[left],
    reference_logits(reference, tokens, left)[left],
    atol=1e-6,
  )


def test_bfloat16_export_is_loaded_by_transformers(folder, tmp_path):
  reference = make_reference("qwen3")
  reference.bfloat16().save_pretrained(tmp_path / "made")
  found = load.load(tmp_path / "made", dtype=jnp.bfloat16)
  export.export(found, tmp_path / "out")
  again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
  assert again.dtype == torch.bfloat16
  for (name, one), (_, other) in zip(
    reference.named_parameters(), again.named_parameters(), strict=True
  ):
    assert torch.equal(one, other), name


TEMPLATE = (
  "{{ bos_token }}{% for m in messages %}\n"
  "  {% if m.role == 'user' %}\n"
  "<|im_start|>{{ m.content | trim }}<|im_end|>\n"
  "  {%- else -%}\n"
  "    {{ m | tojson }}\n"
  "  {%- endif %}\n"
  "{% endfor %}"
  "{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)
MESSAGES = [
  {"role": "system", "content": "Ünder <the> desk."},
  {"role": "user", "content": "  take apple 12\n\n"},
  {"role": "assistant", "content": "It's in 'fridge' 1."},
]


def test_exported_tokenizer_and_template(folder, tmp_path):
  reference = make_reference("llama")
  reference.resize_token_embeddings(400)
  reference.save_pretrained(tmp_path / "made")
  words = tokenizer.Tokenizer(
    made_tokenizers.smollm(),
    special_tokens={"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"},
  )
  words.save(tmp_path / "made", chat_template=TEMPLATE)
  found = load.load(tmp_path / "made")
  assert isinstance(found.chat_template, chat.ChatTemplate)
  export.export(found, tmp_path / "out")
  theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
  for add in (True, False):
    text = theirs.apply_chat_template(
      MESSAGES, tokenize=False, add_generation_prompt=add
    )
    rendered = found.chat_template.render(MESSAGES, add_generation_prompt=add)
    assert rendered == text
    ids = theirs(text, add_special_tokens=False)["input_ids"]
    assert found.chat_ids(MESSAGES, add_generation_prompt=add) == ids
  assert theirs.eos_token == "<|im_end|>"


def test_qwen2_tokenizer_of_transformers():
  import json

  backend = made_tokenizers.train(made_tokenizers.smollm().pre_tokenizer)
  model = json.loads(backend.to_str())["model"]
  merges = [tuple(pair) for pair in model["merges"]]
  theirs = transformers.Qwen2Tokenizer(vocab=model["vocab"], merges=merges)
  ours = tokenizer.Tokenizer.from_gguf(
    {
      "tokenizer.ggml.model": "gpt2",
      "tokenizer.ggml.pre": "qwen2",
      "tokenizer.ggml.tokens": sorted(model["vocab"], key=model["vocab"].get),
      "tokenizer.ggml.merges": [" ".join(pair) for pair in merges],
    },
    where="",
  )
  for text in [
    *made_tokenizers.CORPUS,
    "12345\n\n \tIT'S they'll",
    "e\u0301é 日本語 🙂   x",
  ]:
    assert ours.encode(text) == theirs(text)["input_ids"]
