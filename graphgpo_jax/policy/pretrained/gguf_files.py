"""Config and tensors of a GGUF file, dequantised."""

import dataclasses
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from graphgpo_jax.policy import lm_extra, rope
from graphgpo_jax.policy.pretrained import gguf_header, names

ARCHITECTURES = {
  "llama": "LlamaForCausalLM",
  "qwen2": "Qwen2ForCausalLM",
  "qwen3": "Qwen3ForCausalLM",
}

_ROPE_FREQUENCIES = "rope_freqs.weight"
# What the frequencies of every released model with scaling "llama3" were
# computed with; GGUF keeps their ratios only.
_LLAMA3 = {
  "low_freq_factor": 1.0,
  "high_freq_factor": 4.0,
  "original_max_position_embeddings": 8192,
}


@dataclasses.dataclass(frozen=True)
class _Tensor:
  """Where a tensor lies in the file."""

  shape: tuple[int, ...]
  kind: Any
  offset: int
  row_bytes: int


class GGUFFile:
  """Metadata and tensors of a GGUF file.

  Implements `placing.TensorSource`.

  Attributes:
    where: the file's name.
    metadata: plain Python values by key.
  """

  def __init__(self, path: pathlib.Path):
    """Reads the header.

    Raises:
      ValueError: the file is truncated, no GGUF file or one of several parts.
      ImportError: gguf is not installed.
    """
    self._gguf = lm_extra.require("gguf", "a GGUF file")
    self.where = str(path)
    try:
      gguf_header.check(path)
      # The reader maps the file and keeps an array per word of the vocabulary;
      # nothing of it is kept here.
      reader = self._gguf.GGUFReader(path)
      self.metadata: dict[str, Any] = {
        key: field.contents() for key, field in reader.fields.items()
      }
      self._tensors = {
        tensor.name: _Tensor(
          # The file has the fastest axis first.
          shape=tuple(int(size) for size in reversed(tensor.shape)),
          kind=tensor.tensor_type,
          offset=int(tensor.data_offset),
          row_bytes=int(tensor.n_bytes)
          // int(np.prod(tensor.shape[1:], dtype=np.int64)),
        )
        for tensor in reader.tensors
      }
    except (ValueError, LookupError, TypeError, ArithmeticError) as error:
      raise ValueError(
        f"{path}: truncated, or no GGUF file: {error}"
      ) from error
    if self.metadata.get("split.count", 1) not in (0, 1):
      raise ValueError(
        f"{path}: one part of several; merge them with gguf-split --merge"
      )
    # Query and key heads whose rows llama.cpp reorders, by ends of names.
    self._reordered: dict[str, int] = {}
    if self.metadata.get("general.architecture") == "llama":
      heads = self._number("attention.head_count", int)
      self._reordered = {
        "attn_q": heads,
        "attn_k": self._number("attention.head_count_kv", int, heads),
      }

  def names(self) -> Collection[str]:
    """Names of all tensors."""
    return self._tensors.keys()

  def shape(self, name: str) -> tuple[int, ...]:
    """Shape of a tensor, [out, in] for a projection."""
    return self._tensors[name].shape

  def check_type(self, name: str) -> None:
    """Refuses integers, and quantisations that gguf cannot undo.

    Raises:
      ValueError: the tensor is of such a type.
    """
    kind = self._tensors[name].kind
    try:
      block, size = self._gguf.GGML_QUANT_SIZES[kind]
      self._dequantize(np.zeros((1, size), np.uint8), kind)
    except (NotImplementedError, KeyError) as error:
      raise ValueError(
        f"{self.where}: tensor {name!r} is of type {kind.name}, which cannot "
        "be read as floating-point numbers"
      ) from error

  def read(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
    """A block of a tensor, float32, its rows in Hugging Face's order."""
    tensor = self._tensors[name]
    if len(tensor.shape) == 1:
      flat = self._rows(name, tensor, 0, 1)[0]
      return self._in_order(name, flat, tensor.shape[0])[index]
    rows, columns = index
    size = tensor.shape[0] // self._heads(name) if self._heads(name) else 1
    # Whole heads, because reordering needs them.
    first = rows.start // size * size
    last = -(-rows.stop // size) * size
    block = self._rows(name, tensor, first, last)
    block = self._in_order(name, block, size)
    return block[rows.start - first : rows.stop - first, columns]

  def _heads(self, name: str) -> int:
    """Heads of a tensor whose rows are reordered; 0 for every other."""
    parts = name.split(".")
    return self._reordered.get(parts[-2], 0) if len(parts) > 1 else 0

  def _in_order(self, name: str, block: np.ndarray, size: int) -> np.ndarray:
    """Undoes llama.cpp's order, which pairs row 2 i with row 2 i + 1.

    The project, as Hugging Face, pairs row i of a head with row i + K / 2.
    """
    heads = self._heads(name)
    if not heads:
      return block
    if block.ndim == 1:
      size //= heads
    pairs = block.reshape(-1, size // 2, 2, *block.shape[1:])
    return np.swapaxes(pairs, 1, 2).reshape(block.shape)

  def _rows(
    self, name: str, tensor: _Tensor, first: int, last: int
  ) -> np.ndarray:
    count = (last - first) * tensor.row_bytes
    raw = np.fromfile(
      self.where,
      np.uint8,
      count,
      offset=tensor.offset + first * tensor.row_bytes,
    )
    if len(raw) < count:
      raise ValueError(f"{self.where}: truncated within tensor {name!r}")
    return self._dequantize(raw.reshape(last - first, -1), tensor.kind)

  def _dequantize(self, raw: np.ndarray, kind: Any) -> np.ndarray:
    if kind == self._gguf.GGMLQuantizationType.F64:
      return raw.view(np.float64)
    return self._gguf.dequantize(raw, kind)

  def config_fields(self) -> dict[str, Any]:
    """The metadata as the fields of a config.json.

    Returns:
      Fields for `config_files.parse_config`.

    Raises:
      ValueError: an unknown architecture, a missing or malformed key, or a
        setting that the transformer does not have.
    """
    name = self.metadata.get("general.architecture")
    if name not in tuple(ARCHITECTURES):
      raise ValueError(
        f"{self.where}: unknown architecture {name!r}; known: "
        f"{', '.join(ARCHITECTURES)}"
      )
    if self._number("expert_count", int, 0):
      raise ValueError(
        f"{self.where}: a mixture of experts, which is not supported"
      )
    width = self._number("embedding_length", int)
    heads = self._number("attention.head_count", int)
    if heads < 1:
      raise ValueError(f"{self.where}: {name}.attention.head_count={heads}")
    head = self._number("attention.key_length", int, width // heads)
    for key in ("attention.value_length", "rope.dimension_count"):
      if self._number(key, int, head) != head:
        raise ValueError(
          f"{self.where}: {name}.{key}={self._number(key, int)} differs from "
          f"the head's size {head}, which is not supported"
        )
    bias = names.GGUF.name("q_bias", 0) in self._tensors
    without = names.GGUF.name("out_bias", 0) not in self._tensors
    if name == "llama" and bias and without:
      # Llama's switch would ask for a bias of the output projection as well;
      # Qwen2 has none there, and differs in nothing else.
      name = "qwen2"
    table = names.GGUF.name("embedding")
    if table not in self._tensors:
      raise ValueError(f"{self.where}: tensor {table!r} is missing")
    return {
      "architectures": [ARCHITECTURES[name]],
      "vocab_size": self.shape(table)[0],
      "hidden_size": width,
      "intermediate_size": self._number("feed_forward_length", int),
      "num_hidden_layers": self._number("block_count", int),
      "num_attention_heads": heads,
      "num_key_value_heads": self._number(
        "attention.head_count_kv", int, heads
      ),
      "head_dim": head,
      "attention_bias": bias,
      "rms_norm_eps": self._number("attention.layer_norm_rms_epsilon", float),
      "rope_theta": self._number("rope.freq_base", float, 10_000.0),
      "rope_scaling": self._rope_scaling(head),
      "max_position_embeddings": self._number("context_length", int, None),
      "tie_word_embeddings": names.GGUF.name("head") not in self._tensors,
    }

  def _number(self, key: str, kind: type, *default: Any) -> Any:
    """A number of the architecture's own metadata."""
    key = f"{self.metadata.get('general.architecture')}.{key}"
    if key not in self.metadata and default:
      return default[0]
    value = self.metadata.get(key)
    if type(value) not in (kind, int):
      raise ValueError(
        f"{self.where}: {key}={value!r} should be of type {kind.__name__}"
      )
    return kind(value)

  def _rope_scaling(self, head: int) -> Mapping[str, Any] | None:
    """Scaling of the rotation, as config.json would hold it."""
    if _ROPE_FREQUENCIES in self._tensors:
      return self._llama3_scaling(head)
    architecture = self.metadata["general.architecture"]
    kind = self.metadata.get(f"{architecture}.rope.scaling.type", "none")
    if kind == "none":
      return None
    if self._number("rope.scaling.attn_factor", float, 1.0) != 1.0:
      raise ValueError(
        f"{self.where}: {architecture}.rope.scaling.attn_factor is not "
        "supported"
      )
    scaling = {
      "rope_type": kind,
      "factor": self._number("rope.scaling.factor", float),
    }
    if kind == "yarn":
      scaling["original_max_position_embeddings"] = self._number(
        "rope.scaling.original_context_length", int
      )
    return scaling

  def _llama3_scaling(self, head: int) -> Mapping[str, Any]:
    """Finds the llama3 scaling that the stored divisors come from."""
    name = _ROPE_FREQUENCIES
    self.check_type(name)
    if self.shape(name) != (head // 2,):
      raise ValueError(
        f"{self.where}: tensor {name!r} has shape {list(self.shape(name))}; "
        f"expected [{head // 2}]"
      )
    divisor = self.read(name, (slice(0, head // 2),))
    base = self._number("rope.freq_base", float, 10_000.0)
    if base <= 1 or not np.isfinite(divisor).all() or (divisor <= 0).any():
      raise ValueError(
        f"{self.where}: tensor {name!r} should hold positive numbers, for a "
        f"base above 1, got {base}"
      )
    factor = round(float(divisor.max()), 3)
    scaling = rope.RopeScaling(
      kind="llama3",
      factor=max(factor, 1.0),
      low_freq_factor=_LLAMA3["low_freq_factor"],
      high_freq_factor=_LLAMA3["high_freq_factor"],
      original_max_position=int(_LLAMA3["original_max_position_embeddings"]),
    )
    plain = rope.inverse_frequencies(head, base=base)
    scaled = rope.inverse_frequencies(head, base=base, scaling=scaling)
    if not np.allclose(plain / divisor, scaled, rtol=1e-4, atol=0.0):
      raise ValueError(
        f"{self.where}: tensor {name!r} is no llama3 scaling with the "
        "constants of the released models"
      )
    return {"rope_type": "llama3", "factor": factor, **_LLAMA3}
