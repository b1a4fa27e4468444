"""A model of two layers that knows nothing, its words and its sampler."""

import dataclasses
import json
import re
import threading
from typing import Any

import jax
from flax import nnx

from experiments.tunix_example import rooms
from graphgpo_jax import extras

_PURPOSE = "the Tunix example"
qwen2: Any = extras.require("tunix.models.qwen2.model", _PURPOSE, extra="tunix")
base_rollout: Any = extras.require(
  "tunix.rl.rollout.base_rollout", _PURPOSE, extra="tunix"
)
vanilla_rollout: Any = extras.require(
  "tunix.rl.rollout.vanilla_rollout", _PURPOSE, extra="tunix"
)

_ROLES = tuple(
  f"<|im_start|>{role}\n" for role in ("system", "user", "assistant")
)
# Whole calls are words, so that a model that knows nothing makes some.
_CALLS = tuple(
  "<tool_call>"
  + json.dumps({"name": "walk", "arguments": {"door": door}})
  + "</tool_call>"
  for door in rooms.DOORS
)


class Words:
  """A tokenizer that reads the few words it knows and passes over the rest."""

  bos_token, eos_token = "", "<|im_end|>"

  def __init__(self):
    """Numbers the words; 0 is padding."""
    self.words = ("<pad>", self.eos_token, *_ROLES, *_CALLS, *rooms.ROOMS)
    self._ids = {word: number for number, word in enumerate(self.words)}
    self._known = re.compile("|".join(map(re.escape, self.words[1:])))

  def encode(self, text: str, **_) -> list[int]:
    """Ids of the known words of a text, in order."""
    return [self._ids[word] for word in self._known.findall(text)]

  def decode(self, ids: list[int], **_) -> str:
    """The words of ids."""
    return "".join(self.words[number] for number in ids)

  def bos_id(self) -> int:
    """None begins a text; an id that no text has."""
    return -1

  def eos_id(self) -> int:
    """Ends what the model says."""
    return self._ids[self.eos_token]

  def pad_id(self) -> int:
    """Fills rows up."""
    return 0


def make_model(words: Words, seed: int) -> Any:
  """A Qwen2 of two layers with random weights."""
  config = qwen2.ModelConfig(
    num_layers=2,
    vocab_size=len(words.words),
    embed_dim=32,
    hidden_dim=64,
    num_heads=2,
    head_dim=16,
    num_kv_heads=1,
    rope_theta=10_000,
    norm_eps=1e-6,
  )
  model = qwen2.Qwen2(config, rngs=nnx.Rngs(seed))
  # Tunix starts these at zero, to be loaded; there they would stay.
  keys = iter(jax.random.split(jax.random.key(seed), 3 * len(model.layers)))
  for layer in model.layers:
    for part in (layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj):
      part.kernel[...] = jax.random.normal(next(keys), part.kernel.shape) / 8
  return model


class SeededRollout(vanilla_rollout.VanillaRollout):
  """Tunix's own sampler, with another seed for every call and one shape.

  Tunix 0.1.7 samples each call without a seed from the same key, so that the
  rollouts of a group, which begin with the same prompt, would all be the same;
  and it compiles anew for each number of tokens that a conversation has left.
  """

  def __init__(
    self, rollout_actor: Any, tokenizer: Any, mesh: Any, rollout_config: Any
  ):
    """Takes what Tunix's cluster gives a sampler of one's own."""
    del mesh
    config = rollout_actor.config
    super().__init__(
      rollout_actor,
      tokenizer,
      base_rollout.CacheConfig(
        cache_size=rollout_config.kv_cache_size,
        num_layers=config.num_layers,
        num_kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
      ),
    )
    self._tokenizer = tokenizer
    self._most = rollout_config.max_tokens_to_generate
    self._key, self._lock = jax.random.key(0), threading.Lock()

  def generate(self, prompts: list[str], rollout_config: Any, **kwargs) -> Any:
    """Tunix's output, drawn with a key of its own and cut to what is left."""
    with self._lock:
      self._key, key = jax.random.split(self._key)
    left = rollout_config.max_tokens_to_generate
    output = super().generate(
      prompts,
      dataclasses.replace(
        rollout_config,
        # Tunix wants a key of the old kind.
        seed=jax.random.key_data(key),
        max_tokens_to_generate=self._most,
      ),
      **kwargs,
    )
    tokens = [row[:left] for row in output.tokens]
    return dataclasses.replace(
      output,
      tokens=tokens,
      logprobs=[row[:left] for row in output.logprobs],
      text=[self._tokenizer.decode(row.tolist()) for row in tokens],
    )
