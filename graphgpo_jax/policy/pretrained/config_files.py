"""Hugging Face's config.json as a `LanguageModelConfig`, and back.

Only what the project's transformer computes is accepted: a setting that would
change the result and has no place here is refused, never dropped.
"""

import dataclasses
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp

from graphgpo_jax.policy import (
  attention,
  json_files,
  language_model,
  rope,
  transformer_config,
)

CONFIG_FILE = "config.json"
GENERATION_FILE = "generation_config.json"


@dataclasses.dataclass(frozen=True)
class _Family:
  """What an architecture's name says beyond its config.json."""

  model_type: str
  qkv_bias: bool = False
  qk_norm: bool = False
  # Size of a head where config.json is silent; width / heads where None.
  head_dim: int | None = None
  # Whether `attention_bias` of config.json is obeyed: it gives all four
  # projections of attention a bias.
  optional_bias: bool = False


ARCHITECTURES: Mapping[str, _Family] = {
  "LlamaForCausalLM": _Family("llama", optional_bias=True),
  "Qwen2ForCausalLM": _Family("qwen2", qkv_bias=True),
  "Qwen3ForCausalLM": _Family(
    "qwen3", qk_norm=True, head_dim=128, optional_bias=True
  ),
}

_REQUIRED = object()


class _Fields:
  """A mapping from a file, read with types; errors name file and field."""

  def __init__(self, values: Mapping[str, Any], where: str):
    self.values = values
    self.where = where

  def get(self, name: str, kind: type, default: Any = _REQUIRED) -> Any:
    """The field as `kind`; the default where it is absent or null."""
    value = self.values.get(name)
    if value is None:
      if default is _REQUIRED:
        raise ValueError(f"{self.where}: {name} is missing")
      return default
    if kind is float and type(value) in (int, float):
      try:
        value = float(value)
        finite = math.isfinite(value)
      except OverflowError:
        finite = False
      if not finite:
        raise ValueError(f"{self.where}: {name} should be a finite number")
    if type(value) is not kind:
      raise ValueError(
        f"{self.where}: {name}={value!r} should be of type {kind.__name__}"
      )
    return value

  def refuse_unless(self, name: str, wanted: Any) -> None:
    """Refuses any value but one, which absence stands for too."""
    value = self.values.get(name)
    if value is not None and value != wanted:
      raise ValueError(
        f"{self.where}: {name}={value!r} is not supported, only {wanted!r}"
      )


def parse_config(
  values: Mapping[str, Any], *, where: str, dtype: Any = jnp.float32
) -> language_model.LanguageModelConfig:
  """Turns the fields of a config.json into a `LanguageModelConfig`.

  Args:
    values: the file's fields.
    where: name of the file, for errors.
    dtype: type of parameters and activations, float32 or bfloat16.

  Returns:
    The config of the same model.

  Raises:
    ValueError: an unknown architecture, a missing or malformed field, or a
      setting that the transformer does not have.
  """
  fields = _Fields(values, where)
  family = ARCHITECTURES[_architecture(values, where)]
  fields.refuse_unless("hidden_act", "silu")
  fields.refuse_unless("use_sliding_window", False)
  fields.refuse_unless("mlp_bias", False)
  fields.refuse_unless("partial_rotary_factor", 1.0)
  fields.refuse_unless("quantization_config", None)
  for kind in fields.get("layer_types", list, []):
    if kind != "full_attention":
      raise ValueError(
        f"{where}: layer_types holds {kind!r}; only 'full_attention' is "
        "supported"
      )
  heads = fields.get("num_attention_heads", int)
  base, scaling = _rope(fields)
  bias = family.optional_bias and fields.get("attention_bias", bool, False)
  sizes = {
    "num_layers": fields.get("num_hidden_layers", int),
    "width": fields.get("hidden_size", int),
    "num_heads": heads,
    "num_kv_heads": fields.get("num_key_value_heads", int, heads),
    "head_dim": fields.get("head_dim", int, family.head_dim),
    "mlp_width": fields.get("intermediate_size", int),
  }
  vocabulary_size = fields.get("vocab_size", int)
  tied = fields.get("tie_word_embeddings", bool, False)
  epsilon = fields.get("rms_norm_eps", float, 1e-6)
  try:
    inner = transformer_config.TransformerConfig(
      **sizes,
      causal=True,
      rope=True,
      rope_base=base,
      rope_scaling=None if scaling is None else rope.RopeScaling(**scaling),
      qkv_bias=bias or family.qkv_bias,
      out_bias=bias,
      qk_norm=family.qk_norm,
      norm_epsilon=epsilon,
      dtype=dtype,
      param_dtype=dtype,
      attention=attention.grouped_attention,
    )
    return language_model.LanguageModelConfig(
      vocabulary_size=vocabulary_size,
      transformer=inner,
      tied_embeddings=tied,
    )
  except ValueError as error:
    raise ValueError(f"{where}: {error}") from error


def max_positions(values: Mapping[str, Any], *, where: str) -> int | None:
  """Longest sequence that a model was made for, if its config.json tells.

  Raises:
    ValueError: it is no whole number.
  """
  return _Fields(values, where).get("max_position_embeddings", int, None)


def _architecture(values: Mapping[str, Any], where: str) -> str:
  named = values.get("architectures") or [
    name
    for name, family in ARCHITECTURES.items()
    if family.model_type == values.get("model_type")
  ]
  known = tuple(ARCHITECTURES)
  if isinstance(named, list) and len(named) == 1 and named[0] in known:
    return named[0]
  raise ValueError(
    f"{where}: unknown architecture {named or values.get('model_type')!r}; "
    f"known: {', '.join(ARCHITECTURES)}"
  )


def _rope(fields: _Fields) -> tuple[float, dict[str, Any] | None]:
  """Base and fields of the scaling, from either of their two places."""
  # Newer files keep all of it in rope_parameters, older ones the base beside
  # rope_scaling, whose kind very old ones call "type".
  new = fields.get("rope_parameters", dict, {})
  old = fields.get("rope_scaling", dict, {})
  chosen = _Fields(new or old, fields.where)
  chosen.refuse_unless("partial_rotary_factor", 1.0)
  base = chosen.get(
    "rope_theta", float, fields.get("rope_theta", float, 10_000.0)
  )
  kind = chosen.get("rope_type", str, chosen.get("type", str, "default"))
  if kind == "default":
    return base, None
  if kind not in rope.KINDS:
    raise ValueError(
      f"{fields.where}: unknown rope scaling {kind!r}; known: "
      f"{', '.join(rope.KINDS)}"
    )
  options: dict[str, Any] = {}
  if kind == "llama3":
    options = {
      name: chosen.get(name, float)
      for name in ("low_freq_factor", "high_freq_factor")
    }
  if kind == "yarn":
    chosen.refuse_unless("truncate", True)
    chosen.refuse_unless("mscale", None)
    chosen.refuse_unless("mscale_all_dim", None)
    for name, default in (("beta_fast", 32.0), ("beta_slow", 1.0)):
      options[name] = chosen.get(name, float, default)
    options["attention_factor"] = chosen.get("attention_factor", float, None)
  if kind != "linear":
    longest = "max_position_embeddings"
    options["original_max_position"] = chosen.get(
      "original_" + longest, int, None
    ) or fields.get(longest, int)
  return base, {
    "kind": kind,
    "factor": chosen.get("factor", float),
    **options,
  }


def config_fields(
  config: language_model.LanguageModelConfig,
  *,
  max_positions: int | None = None,
) -> dict[str, Any]:
  """Fields of a config.json from which `transformers` builds the same model.

  Args:
    config: the model; causal, with rope.
    max_positions: longest sequence the model was made for, if known.

  Returns:
    JSON-ready fields; `parse_config` of them is `config` up to types.

  Raises:
    ValueError: no architecture has this shape.
  """
  inner = config.transformer
  if not (inner.causal and inner.rope):
    raise ValueError(
      "only a causal transformer with rope can be written as one of "
      + ", ".join(ARCHITECTURES)
    )
  bias = inner.out_bias
  name = next(
    (
      name
      for name, family in ARCHITECTURES.items()
      if family.qk_norm == inner.qk_norm
      and (family.optional_bias or not bias)
      and (bias or family.qkv_bias) == inner.qkv_bias
    ),
    None,
  )
  if name is None:
    raise ValueError(
      f"no architecture has qk_norm={inner.qk_norm}, qkv_bias="
      f"{inner.qkv_bias} and out_bias={bias}; known: {', '.join(ARCHITECTURES)}"
    )
  family = ARCHITECTURES[name]
  fields = {
    "architectures": [name],
    "model_type": family.model_type,
    "vocab_size": config.vocabulary_size,
    "hidden_size": inner.width,
    "intermediate_size": inner.resolved_mlp_width,
    "num_hidden_layers": inner.num_layers,
    "num_attention_heads": inner.num_heads,
    "num_key_value_heads": inner.resolved_num_kv_heads,
    "head_dim": inner.resolved_head_dim,
    "hidden_act": "silu",
    "rms_norm_eps": inner.norm_epsilon,
    "rope_theta": inner.rope_base,
    "rope_scaling": _rope_fields(inner.rope_scaling),
    "tie_word_embeddings": config.tied_embeddings,
    "torch_dtype": str(jnp.dtype(inner.param_dtype)),
  }
  if family.optional_bias:
    fields["attention_bias"] = bias
  if family.model_type.startswith("qwen"):
    fields["use_sliding_window"] = False
  if max_positions is not None:
    fields["max_position_embeddings"] = max_positions
  return fields


def _rope_fields(scaling: rope.RopeScaling | None) -> dict[str, Any] | None:
  if scaling is None:
    return None
  fields: dict[str, Any] = {
    "rope_type": scaling.kind,
    "factor": scaling.factor,
  }
  names = {
    "linear": (),
    "llama3": ("low_freq_factor", "high_freq_factor"),
    "yarn": ("beta_fast", "beta_slow", "attention_factor"),
  }[scaling.kind]
  for name in names:
    if getattr(scaling, name) is not None:
      fields[name] = getattr(scaling, name)
  if scaling.kind != "linear":
    fields["original_max_position_embeddings"] = scaling.original_max_position
  return fields


def eos_ids(directory: pathlib.Path) -> tuple[int, ...]:
  """Tokens that end a generation, by generation_config.json or config.json.

  Raises:
    ValueError: a file that is no JSON, or an id that is no whole number.
  """
  for path in (directory / GENERATION_FILE, directory / CONFIG_FILE):
    found = (
      json_files.read_object(path).get("eos_token_id")
      if path.is_file()
      else None
    )
    if found is not None:
      return tuple(_whole_numbers(found, f"{path}: eos_token_id"))
  return ()


def _whole_numbers(found: Any, where: str) -> Iterator[int]:
  for value in found if isinstance(found, list) else [found]:
    if type(value) is not int:
      raise ValueError(f"{where}={found!r} holds more than whole numbers")
    yield value
