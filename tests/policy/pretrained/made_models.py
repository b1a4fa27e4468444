"""Tiny random models, written as their makers write them.

Tensor names stand here as files have them, and not as the package builds them.
"""

import json

import numpy as np

WIDTH, HEADS, KV_HEADS, HEAD, MLP, LAYERS, VOCABULARY = 16, 4, 2, 6, 24, 2, 40

FIELDS = {
  "vocab_size": VOCABULARY,
  "hidden_size": WIDTH,
  "intermediate_size": MLP,
  "num_hidden_layers": LAYERS,
  "num_attention_heads": HEADS,
  "num_key_value_heads": KV_HEADS,
  "head_dim": HEAD,
  "hidden_act": "silu",
  "rms_norm_eps": 1e-5,
  "rope_theta": 500.0,
  "max_position_embeddings": 128,
}
FAMILIES = {
  "llama": ("LlamaForCausalLM", {"tie_word_embeddings": True}),
  "llama_bias": ("LlamaForCausalLM", {"attention_bias": True}),
  "qwen2": ("Qwen2ForCausalLM", {"tie_word_embeddings": False}),
  "qwen3": ("Qwen3ForCausalLM", {"tie_word_embeddings": True}),
  "qwen3_bias": ("Qwen3ForCausalLM", {"attention_bias": True}),
}


def config_fields(family, **changes):
  architecture, more = FAMILIES[family]
  return {"architectures": [architecture], **FIELDS, **more, **changes}


def random_tensors(family, dtype=np.float32):
  rng = np.random.default_rng(0)
  tensors = {}

  def add(name, *shape):
    tensors[name] = rng.normal(size=shape).astype(dtype)

  add("model.embed_tokens.weight", VOCABULARY, WIDTH)
  add("model.norm.weight", WIDTH)
  if not FAMILIES[family][1].get("tie_word_embeddings"):
    add("lm_head.weight", VOCABULARY, WIDTH)
  for layer in range(LAYERS):
    start = f"model.layers.{layer}."
    add(start + "input_layernorm.weight", WIDTH)
    add(start + "post_attention_layernorm.weight", WIDTH)
    for part, heads in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
      add(f"{start}self_attn.{part}_proj.weight", heads * HEAD, WIDTH)
      if family == "qwen2" or family.endswith("_bias"):
        add(f"{start}self_attn.{part}_proj.bias", heads * HEAD)
    if family.startswith("qwen3"):
      add(start + "self_attn.q_norm.weight", HEAD)
      add(start + "self_attn.k_norm.weight", HEAD)
    add(start + "self_attn.o_proj.weight", WIDTH, HEADS * HEAD)
    add(start + "mlp.gate_proj.weight", MLP, WIDTH)
    add(start + "mlp.up_proj.weight", MLP, WIDTH)
    add(start + "mlp.down_proj.weight", WIDTH, MLP)
    if family.endswith("_bias"):
      add(start + "self_attn.o_proj.bias", WIDTH)
  return tensors


def expected_params(tensors):
  """The project's tree, built by hand."""

  def kernel(start, *parts):
    weights = [tensors[f"{start}{part}_proj.weight"].T for part in parts]
    return {"kernel": np.concatenate(weights, axis=1)}

  transformer = {"final_norm": {"scale": tensors["model.norm.weight"]}}
  for layer in range(LAYERS):
    start = f"model.layers.{layer}."
    attention = {
      "qkv": kernel(start + "self_attn.", "q", "k", "v"),
      "out": kernel(start + "self_attn.", "o"),
    }
    if start + "self_attn.q_proj.bias" in tensors:
      biases = [tensors[f"{start}self_attn.{part}_proj.bias"] for part in "qkv"]
      attention["qkv"]["bias"] = np.concatenate(biases)
    if start + "self_attn.o_proj.bias" in tensors:
      attention["out"]["bias"] = tensors[start + "self_attn.o_proj.bias"]
    for norm in ("q_norm", "k_norm"):
      if f"{start}self_attn.{norm}.weight" in tensors:
        scale = tensors[f"{start}self_attn.{norm}.weight"]
        attention[norm] = {"scale": scale}
    transformer[f"block_{layer}"] = {
      "attention_norm": {"scale": tensors[start + "input_layernorm.weight"]},
      "attention": attention,
      "mlp_norm": {"scale": tensors[start + "post_attention_layernorm.weight"]},
      "mlp": {
        "gate_up": kernel(start + "mlp.", "gate", "up"),
        "down": kernel(start + "mlp.", "down"),
      },
    }
  params = {
    "embedding": {"table": tensors["model.embed_tokens.weight"]},
    "transformer": transformer,
  }
  if "lm_head.weight" in tensors:
    params["head"] = {"kernel": tensors["lm_head.weight"].T}
  return params


def write_directory(path, fields, *shards, **more_files):
  """config.json, and one safetensors file or several with their index."""
  from safetensors import numpy as safetensors_numpy

  path.mkdir(parents=True, exist_ok=True)
  (path / "config.json").write_text(json.dumps(fields))
  for name, content in more_files.items():
    (path / f"{name}.json").write_text(json.dumps(content))
  if len(shards) == 1:
    safetensors_numpy.save_file(shards[0], path / "model.safetensors")
    return
  index = {}
  for number, shard in enumerate(shards):
    file = f"model-{number}.safetensors"
    safetensors_numpy.save_file(shard, path / file)
    index |= dict.fromkeys(shard, file)
  text = json.dumps({"metadata": {}, "weight_map": index})
  (path / "model.safetensors.index.json").write_text(text)


GGUF_NAMES = {
  "model.embed_tokens.weight": "token_embd.weight",
  "model.norm.weight": "output_norm.weight",
  "lm_head.weight": "output.weight",
  "input_layernorm": "attn_norm",
  "post_attention_layernorm": "ffn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.q_norm": "attn_q_norm",
  "self_attn.k_norm": "attn_k_norm",
  "self_attn.o_proj": "attn_output",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
}


def gguf_name(name):
  if not name.startswith("model.layers."):
    return GGUF_NAMES[name]
  _, _, layer, rest = name.split(".", 3)
  role, kind = rest.rsplit(".", 1)
  return f"blk.{layer}.{GGUF_NAMES[role]}.{kind}"


def permuted(weights, heads):
  """llama.cpp's order of the rows of queries and keys."""
  halves = weights.reshape(heads, 2, -1, *weights.shape[1:])
  return halves.swapaxes(1, 2).reshape(weights.shape)


def write_gguf(path, family, tensors, *, quantize=None, change=None):
  """A GGUF file of a model, with a small byte-level tokenizer.

  Args:
    path: the file.
    family: one of FAMILIES.
    tensors: as Hugging Face's files hold them.
    quantize: type for the matrices; float32 where None.
    change: function of the writer, called before tensors are added.
  """
  import gguf

  architecture = family.split("_")[0]
  writer = gguf.GGUFWriter(path, architecture)
  writer.add_block_count(LAYERS)
  writer.add_context_length(FIELDS["max_position_embeddings"])
  writer.add_embedding_length(WIDTH)
  writer.add_feed_forward_length(MLP)
  writer.add_head_count(HEADS)
  writer.add_head_count_kv(KV_HEADS)
  writer.add_key_length(HEAD)
  writer.add_value_length(HEAD)
  writer.add_layer_norm_rms_eps(FIELDS["rms_norm_eps"])
  writer.add_rope_freq_base(FIELDS["rope_theta"])
  writer.add_tokenizer_model("gpt2")
  writer.add_tokenizer_pre("smollm")
  words = [*"abcdefghijklmnopqrstuvwxyz0123456789", "ab", "Ġ", "<|end|>", "Ġa"]
  assert len(words) == VOCABULARY
  writer.add_token_list(words)
  writer.add_token_types([3 if word == "<|end|>" else 1 for word in words])
  writer.add_token_merges(["a b", "Ġ a"])
  writer.add_eos_token_id(words.index("<|end|>"))
  writer.add_chat_template("{{ messages[0]['content'] }}{{ eos_token }}")
  if change is not None:
    change(writer)
  for name, values in tensors.items():
    if architecture == "llama":
      heads = {"q_proj": HEADS, "k_proj": KV_HEADS}.get(name.split(".")[-2])
      values = values if heads is None else permuted(values, heads)
    if quantize is None or values.ndim == 1:
      writer.add_tensor(gguf_name(name), values.astype(np.float32))
    else:
      data = gguf.quantize(values.astype(np.float32), quantize)
      writer.add_tensor(gguf_name(name), data, raw_dtype=quantize)
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()
