"""Which tensors of a model file make which parameter.

The project merges projections that read the same input into one, [in, out];
model files hold them apart, [out, in]. A parameter is therefore its tensors
side by side, transposed.
"""

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import chex
import flax.traverse_util

from graphgpo_jax.policy import language_model

Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A tensor as a file should hold it."""

  name: str
  shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Parameter:
  """A parameter and the tensors it is made of.

  Attributes:
    shape: shape in the project.
    tensors: rows of the first, then of the second, ... run along `axis`.
    axis: axis of the parameter along which the tensors' rows run: the last
      one of a kernel, which is transposed, and the first one otherwise.
  """

  shape: tuple[int, ...]
  tensors: tuple[Tensor, ...]
  axis: int


@dataclasses.dataclass(frozen=True)
class Naming:
  """How a kind of file calls tensors; `{}` stands for the block's number.

  Attributes:
    block: common start of the names of a block's tensors.
    roles: the rest of the name, by role; outside of blocks the whole name.
    ignored: pattern of tensors that hold nothing to load.
  """

  block: str
  roles: Mapping[str, str]
  ignored: str

  def name(self, role: str, block: int | None = None) -> str:
    """Name of the tensor of a role, in a block or outside of all."""
    start = "" if block is None else self.block.format(block)
    return start + self.roles[role]


HUGGING_FACE = Naming(
  block="model.layers.{}.",
  roles={
    "embedding": "model.embed_tokens.weight",
    "final_norm": "model.norm.weight",
    "head": "lm_head.weight",
    "attention_norm": "input_layernorm.weight",
    "mlp_norm": "post_attention_layernorm.weight",
    "q": "self_attn.q_proj.weight",
    "k": "self_attn.k_proj.weight",
    "v": "self_attn.v_proj.weight",
    "q_bias": "self_attn.q_proj.bias",
    "k_bias": "self_attn.k_proj.bias",
    "v_bias": "self_attn.v_proj.bias",
    "q_norm": "self_attn.q_norm.weight",
    "k_norm": "self_attn.k_norm.weight",
    "out": "self_attn.o_proj.weight",
    "out_bias": "self_attn.o_proj.bias",
    "gate": "mlp.gate_proj.weight",
    "up": "mlp.up_proj.weight",
    "down": "mlp.down_proj.weight",
  },
  # Constants of the rotation that old checkpoints carry along.
  ignored=r".*\.rotary_emb\.inv_freq",
)

GGUF = Naming(
  block="blk.{}.",
  roles={
    "embedding": "token_embd.weight",
    "final_norm": "output_norm.weight",
    "head": "output.weight",
    "attention_norm": "attn_norm.weight",
    "mlp_norm": "ffn_norm.weight",
    "q": "attn_q.weight",
    "k": "attn_k.weight",
    "v": "attn_v.weight",
    "q_bias": "attn_q.bias",
    "k_bias": "attn_k.bias",
    "v_bias": "attn_v.bias",
    "q_norm": "attn_q_norm.weight",
    "k_norm": "attn_k_norm.weight",
    "out": "attn_output.weight",
    "out_bias": "attn_output.bias",
    "gate": "ffn_gate.weight",
    "up": "ffn_up.weight",
    "down": "ffn_down.weight",
  },
  # Read with the metadata: they say how the rotation is scaled.
  ignored=r"rope_freqs\.weight",
)


def parameter_table(
  config: language_model.LanguageModelConfig, naming: Naming
) -> dict[Path, Parameter]:
  """Every parameter of a model with the tensors that make it.

  Args:
    config: the model.
    naming: `HUGGING_FACE` or `GGUF`.

  Returns:
    Parameters by path, e.g. ("transformer", "block_0", "mlp", "down",
    "kernel").
  """
  table: dict[Path, Parameter] = {}
  inner = config.transformer
  width, head = inner.width, inner.resolved_head_dim
  qkv = dict(inner.projection_parts("qkv"))

  def kernel(path: Path, inputs: int, parts: Mapping[str, int], *block: int):
    """Projections by role, of one input, side by side."""
    tensors = tuple(
      Tensor(naming.name(role, *block), (size, inputs))
      for role, size in parts.items()
    )
    table[path] = Parameter((inputs, sum(parts.values())), tensors, axis=1)

  def vector(path: Path, parts: Mapping[str, int], *block: int):
    tensors = tuple(
      Tensor(naming.name(role, *block), (size,)) for role, size in parts.items()
    )
    table[path] = Parameter((sum(parts.values()),), tensors, axis=0)

  shape = (config.vocabulary_size, width)
  table["embedding", "table"] = Parameter(
    shape, (Tensor(naming.name("embedding"), shape),), axis=0
  )
  inputs = {
    ("attention", "qkv"): width,
    ("attention", "out"): inner.num_heads * head,
    ("mlp", "gate_up"): width,
    ("mlp", "down"): inner.resolved_mlp_width,
  }
  for block in range(inner.num_layers):
    start = ("transformer", f"block_{block}")
    for (place, name), size in inputs.items():
      parts = dict(inner.projection_parts(name))
      kernel((*start, place, name, "kernel"), size, parts, block)
    if inner.qkv_bias:
      biases = {f"{role}_bias": size for role, size in qkv.items()}
      vector((*start, "attention", "qkv", "bias"), biases, block)
    if inner.out_bias:
      bias = {"out_bias": width}
      vector((*start, "attention", "out", "bias"), bias, block)
    if inner.qk_norm:
      for norm in ("q_norm", "k_norm"):
        vector((*start, "attention", norm, "scale"), {norm: head}, block)
    for norm in ("attention_norm", "mlp_norm"):
      vector((*start, norm, "scale"), {norm: width}, block)
  vector(("transformer", "final_norm", "scale"), {"final_norm": width})
  if not config.tied_embeddings:
    kernel(("head", "kernel"), width, {"head": config.vocabulary_size})
  return table


def check_names(
  found: Collection[str],
  table: Mapping[Path, Parameter],
  naming: Naming,
  *,
  where: str,
) -> None:
  """Checks that a file holds all tensors of a model and no others.

  Args:
    found: names of the file's tensors.
    table: what `parameter_table` says.
    naming: the naming of both.
    where: the file, for errors.

  Raises:
    ValueError: a tensor is missing, or one is there that nothing would use.
  """
  wanted = {
    tensor.name for parameter in table.values() for tensor in parameter.tensors
  }
  missing = sorted(wanted - set(found))
  if missing:
    raise ValueError(f"{where}: tensor {_some(missing)} is missing")
  head = naming.name("head")
  # With tied embeddings a head is a second copy of the table.
  surplus = [
    name
    for name in sorted(set(found) - wanted)
    if name != head and not re.fullmatch(naming.ignored, name)
  ]
  if surplus:
    raise ValueError(
      f"{where}: tensor {_some(surplus)} belongs to no parameter of the model"
    )


def _some(names: list[str]) -> str:
  rest = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
  return repr(names[0]) + rest


def named_leaves(
  config: language_model.LanguageModelConfig, params: Any
) -> Iterator[tuple[Parameter, chex.Array]]:
  """Pairs parameters with the tensors of a Hugging Face file.

  Args:
    config: the model.
    params: its tree, as `LanguageModel.init` makes it.

  Yields:
    What each parameter is made of, and its array.

  Raises:
    ValueError: the tree is not this model's; the message names what differs.
  """
  table = parameter_table(config, HUGGING_FACE)
  leaves = flax.traverse_util.flatten_dict(params)
  for path in sorted(set(table) ^ set(leaves)):
    what = "belongs to no part of the model" if path in leaves else "is missing"
    raise ValueError(f"parameter {'/'.join(path)} {what}")
  for path, parameter in table.items():
    if leaves[path].shape != parameter.shape:
      raise ValueError(
        f"parameter {'/'.join(path)} has shape {leaves[path].shape}; expected "
        f"{parameter.shape}"
      )
  for path, parameter in table.items():
    yield parameter, leaves[path]
