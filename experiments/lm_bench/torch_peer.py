"""Decoding by `transformers` with torch on the same card.

Its `generate` as a user calls it: greedy, bfloat16, dynamic cache, PyTorch's
own fused attention. Needs torch with CUDA and transformers.
"""

import importlib.util
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.lm_bench import models
from graphgpo_jax.policy import language_model


def missing() -> str | None:
  """What keeps `make_run` from running here, or None."""
  for name in ("torch", "transformers"):
    if importlib.util.find_spec(name) is None:
      return f"{name} is not installed"
  import torch

  return None if torch.cuda.is_available() else "torch finds no GPU"


def make_run(
  name: str,
  config: language_model.LanguageModelConfig,
  *,
  batch: int,
  prompt_tokens: int,
) -> Callable[[int], None]:
  """Builds the function that is timed.

  Args:
    name: as in `models.load`; of a shape, weights are random.
    config: the model's, read where `name` is a shape.
    batch: sequences at once.
    prompt_tokens: of each.

  Returns:
    `run(new_tokens)`, which returns when the tokens are there.
  """
  import torch

  model = _load(name, config).to("cuda").eval()
  tokens = np.random.default_rng(0).integers(
    0, config.vocabulary_size, (batch, prompt_tokens)
  )
  prompt = torch.as_tensor(tokens, device="cuda")

  def run(new_tokens: int) -> None:
    with torch.inference_mode():
      model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        min_new_tokens=new_tokens,
        max_new_tokens=new_tokens,
        pad_token_id=0,
      )
    torch.cuda.synchronize()

  return run


def _load(name, config):
  import torch
  import transformers

  dtype: Any = torch.bfloat16
  if name in models.SHAPES:
    inner = config.transformer
    shape = transformers.LlamaConfig(
      vocab_size=config.vocabulary_size,
      hidden_size=inner.width,
      intermediate_size=inner.resolved_mlp_width,
      num_hidden_layers=inner.num_layers,
      num_attention_heads=inner.num_heads,
      num_key_value_heads=inner.resolved_num_kv_heads,
      tie_word_embeddings=config.tied_embeddings,
    )
    return transformers.LlamaForCausalLM(shape).to(dtype)
  where, file = name, None
  if os.path.isfile(name):
    where, file = os.path.split(os.path.abspath(name))
  return transformers.AutoModelForCausalLM.from_pretrained(
    where, gguf_file=file, dtype=dtype
  )
