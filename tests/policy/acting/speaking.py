"""A tiny language model that speaks in whole commands.

Its tokenizer is no code: many texts have the same ids, and ids that say the
same differ. Whoever makes ids from a response's text gets others.
"""

import zlib

import jax
import jax.numpy as jnp
import numpy as np

from graphgpo_jax.policy.pretrained import load
from tests.policy import tiny_language_models

EOS = 2
VOCABULARY = tiny_language_models.SHALLOW.vocabulary_size
_PIECES = (
  "<action>move up</action>",
  "<action> Move  UP </action>",
  "<action>take coin</action>",
  "<action>move down</action>",
  "<action>fly</action>",
  "hm ",
  "<action>",
  "<action>fall</action>",
)


class Words:
  """A tokenizer of pieces; each word of a text falls on some id."""

  def encode(self, text):
    return [
      3 + zlib.crc32(word.encode()) % (VOCABULARY - 3) for word in text.split()
    ]

  def decode(self, ids):
    return "".join(
      _PIECES[index % len(_PIECES)] for index in ids if index != EOS
    )


class Template:
  """A chat template without special tokens."""

  def render(self, messages):
    return "\n".join(f"{m['role']}: {m['content']}" for m in messages)


def pretrained(config=tiny_language_models.SHALLOW):
  """On buffers of its own, since a run takes them over."""
  _, variables = tiny_language_models.build(config)
  return load.Pretrained(
    config=config,
    params=jax.tree.map(
      lambda leaf: jnp.asarray(np.array(leaf)), variables["params"]
    ),
    tokenizer=Words(),
    chat_template=Template(),
    eos_ids=(EOS,),
    max_positions=4096,
  )
