"""A chat model's answer to a prompt.

Command:

  python -m experiments.generate --model=DIR_OR_GGUF \
    --prompt="What is the capital of France?" --max_tokens=64 --temperature=0

--model is a directory with config.json, safetensors and tokenizer.json, or a
.gguf file, of the Llama or Qwen2, Qwen2.5 or Qwen3 family (pip install
graphgpo-jax[lm]). On a terminal the answer appears as it is drawn. --mesh=1,1,4
computes each product on four devices; fsdp divides the weights only. With
SmolLM2-135M-Instruct the command above prints:

  The capital of France is Paris.
"""

import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from absl import flags

from experiments import running
from experiments import streamer as streamer_lib
from graphgpo_jax.policy import language_model, partition
from graphgpo_jax.policy.pretrained import load, placing
from graphgpo_jax.policy.sampling import options as options_lib
from graphgpo_jax.policy.sampling import sampler as sampler_lib

_MODEL = flags.DEFINE_string(
  "model", None, "Model directory or .gguf file.", required=True
)
_PROMPT = flags.DEFINE_string(
  "prompt", None, "What the user says.", required=True
)
_SYSTEM = flags.DEFINE_string(
  "system", None, "System message; the model's own default without it."
)
_MAX_TOKENS = flags.DEFINE_integer("max_tokens", 256, "Longest answer, tokens.")
_TEMPERATURE = flags.DEFINE_float(
  "temperature", 1.0, "Divisor of the logits; 0 takes the likeliest token."
)
_TOP_K = flags.DEFINE_integer("top_k", 0, "Likeliest tokens kept; 0 for all.")
_TOP_P = flags.DEFINE_float("top_p", 1.0, "Mass of the tokens kept, to 1.")
_STOP = flags.DEFINE_multi_string("stop", [], "String that ends the answer.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the draws.")
_DTYPE = flags.DEFINE_enum(
  "dtype", "float32", ["float32", "bfloat16"], "Type of the weights."
)
_MESH = flags.DEFINE_list(
  "mesh", None, "Sizes of data,fsdp,tensor; one device without it."
)

# Few, so that a terminal shows words as they come.
_TOKENS_AT_ONCE = 4


def _sharding() -> placing.ShardingRule | None:
  if _MESH.value is None:
    return None
  sizes = [int(size) for size in _MESH.value if size.isdecimal()]
  if len(sizes) != len(partition.AXES) or len(sizes) != len(_MESH.value):
    raise ValueError(
      f"--mesh={','.join(_MESH.value)} must be three numbers: data,fsdp,tensor"
    )
  return partition.sharding_rule(partition.make_mesh(*sizes))


def main(argv: Sequence[str]) -> None:
  """Prints the answer."""
  running.refuse_arguments(argv)
  options = options_lib.SamplingOptions(
    temperature=_TEMPERATURE.value,
    top_k=_TOP_K.value,
    top_p=_TOP_P.value,
    max_tokens=_MAX_TOKENS.value,
  )
  pretrained = load.load(
    _MODEL.value, dtype=jnp.dtype(_DTYPE.value), sharding=_sharding()
  )
  messages = [{"role": "user", "content": _PROMPT.value}]
  if _SYSTEM.value is not None:
    messages.insert(0, {"role": "system", "content": _SYSTEM.value})
  prompt = pretrained.chat_ids(messages)
  decode = pretrained.require_tokenizer().decode
  sampler = sampler_lib.Sampler(
    language_model.LanguageModel(pretrained.config),
    {"params": pretrained.params},
    eos_ids=pretrained.eos_ids,
    stop_strings=_STOP.value,
    decode=decode,
    max_length=pretrained.max_positions,
    segment=_TOKENS_AT_ONCE,
  )
  streamer = streamer_lib.Streamer(decode, sys.stdout)
  # Elsewhere than on a terminal an answer comes whole, or not at all.
  terminal = sys.stdout.isatty()
  (sample,) = sampler.sample(
    [prompt],
    jax.random.key(_SEED.value),
    options,
    stream=(lambda _, tokens: streamer.add(tokens)) if terminal else None,
  )
  streamer.finish(sample.tokens)


if __name__ == "__main__":
  running.run(main)
