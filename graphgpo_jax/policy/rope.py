"""Rotary position embedding, and its stretchings to longer contexts."""

import dataclasses
import math

import chex
import jax.numpy as jnp
import numpy as np

KINDS = ("linear", "llama3", "yarn")


@dataclasses.dataclass(frozen=True)
class RopeScaling:
  """How the frequencies of a model are stretched to a longer context.

  Attributes:
    kind: "linear" divides every frequency by `factor`; "llama3" divides the
      low ones only, with a smooth passage; "yarn" divides the low ones and
      makes the scores sharper as well.
    factor: how many times longer the context became, at least 1.
    original_max_position: context length of the original training, in tokens;
      needed by "llama3" and "yarn".
    low_freq_factor: "llama3": a wavelength longer than
      `original_max_position / low_freq_factor` tokens is divided in full.
    high_freq_factor: "llama3": one shorter than
      `original_max_position / high_freq_factor` tokens stays.
    beta_fast: "yarn": a pair that turns more often than this over the original
      context stays.
    beta_slow: "yarn": one that turns less often is divided in full.
    attention_factor: "yarn": factor on rotated queries and keys;
      0.1 ln(factor) + 1 where None.
  """

  kind: str
  factor: float
  original_max_position: int | None = None
  low_freq_factor: float = 1.0
  high_freq_factor: float = 4.0
  beta_fast: float = 32.0
  beta_slow: float = 1.0
  attention_factor: float | None = None

  def __post_init__(self):
    if self.kind not in KINDS:
      raise ValueError(f"kind={self.kind!r} of rope scaling is none of {KINDS}")
    if self.factor < 1:
      raise ValueError(f"factor={self.factor} must be at least 1")
    if self.kind == "linear":
      return
    if self.original_max_position is None or self.original_max_position < 1:
      raise ValueError(
        f"original_max_position={self.original_max_position} must be a number "
        f"of tokens for kind={self.kind!r}"
      )
    if self.kind == "llama3" and not (
      0 < self.low_freq_factor < self.high_freq_factor
    ):
      raise ValueError(
        f"low_freq_factor={self.low_freq_factor} must be positive and below "
        f"high_freq_factor={self.high_freq_factor}"
      )
    if self.kind == "yarn" and not 0 < self.beta_slow < self.beta_fast:
      raise ValueError(
        f"beta_slow={self.beta_slow} must be positive and below "
        f"beta_fast={self.beta_fast}"
      )

  @property
  def context(self) -> int:
    """`original_max_position`, of the kinds that need it."""
    if self.original_max_position is None:
      raise ValueError(f"kind={self.kind!r} has no original_max_position")
    return self.original_max_position

  @property
  def resolved_attention_factor(self) -> float:
    """Factor on rotated queries and keys, with the default filled in."""
    if self.kind != "yarn":
      return 1.0
    if self.attention_factor is not None:
      return self.attention_factor
    return 0.1 * math.log(self.factor) + 1.0


def inverse_frequencies(
  head_dim: int, *, base: float, scaling: RopeScaling | None = None
) -> np.ndarray:
  """Angle per position of each pair of a head's components.

  f_i = base ** (-2 i / K), in radians per token, and with a scaling by s:
  linear, f_i / s; otherwise f_i (1 - w_i) / s + f_i w_i with a weight w_i that
  falls from 1 (high frequencies, kept) to 0 (low ones, divided):
  llama3, w = clip((C / wavelength - low) / (high - low), 0, 1) for an original
  context of C tokens; yarn, linear in i between the pairs that turn
  `beta_fast` and `beta_slow` times over C.

  Args:
    head_dim: K, even.
    base: wavelength base.
    scaling: the stretching, if any.

  Returns:
    float32 [K / 2] of NumPy, computed in float64: a constant of a program.

  Reference: arXiv 2104.09864 (RoPE), 2306.15595 (linear), 2407.21783 (Llama
    3), 2309.00071 (YaRN).
  """
  half = head_dim // 2
  frequency = float(base) ** (-np.arange(half) / half)
  if scaling is None:
    return frequency.astype(np.float32)
  if scaling.kind == "linear":
    kept = np.zeros(half)
  elif scaling.kind == "llama3":
    turns = scaling.context * frequency / (2 * math.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
  else:
    kept = 1.0 - _yarn_ramp(head_dim, base, scaling)
  frequency = frequency * ((1.0 - kept) / scaling.factor + kept)
  return frequency.astype(np.float32)


def _yarn_ramp(head_dim: int, base: float, scaling: RopeScaling) -> np.ndarray:
  """0 up to the pair that turns `beta_fast` times, 1 from `beta_slow` on."""

  def pair_that_turns(times: float) -> float:
    wavelength = scaling.context / (times * 2 * math.pi)
    return head_dim * math.log(wavelength) / (2 * math.log(base))

  # Whole pairs, within the head's size rather than its number of pairs: the
  # public YaRN weights were trained with these bounds.
  first = max(math.floor(pair_that_turns(scaling.beta_fast)), 0)
  last = min(math.ceil(pair_that_turns(scaling.beta_slow)), head_dim - 1)
  width = max(last - first, 0.001)
  return np.clip((np.arange(head_dim // 2) - first) / width, 0.0, 1.0)


def rotate_by_position(
  heads: chex.Array,
  positions: chex.Array,
  *,
  base: float,
  scaling: RopeScaling | None = None,
) -> chex.Array:
  """Rotary position embedding (RoPE), first half paired with second half.

  The pair (x_i, x_{i + K/2}) turns by the angle position * f_i, with f from
  `inverse_frequencies`, so that the product of a query and a key depends on
  the difference of their positions only. This is the pairing of the public
  Llama and Qwen weights.

  Args:
    heads: [N, L, H, K], queries or keys, K even.
    positions: int32 [N, L].
    base: wavelength base.
    scaling: stretching to a longer context, if any.

  Returns:
    [N, L, H, K] in the type of `heads`; computed in float32.

  Reference: arXiv 2104.09864.
  """
  chex.assert_rank([heads, positions], [4, 2])
  frequency = inverse_frequencies(heads.shape[-1], base=base, scaling=scaling)
  angle = positions[:, :, None, None].astype(jnp.float32) * frequency
  cosine, sine = jnp.cos(angle), jnp.sin(angle)
  if scaling is not None and scaling.resolved_attention_factor != 1.0:
    cosine *= scaling.resolved_attention_factor
    sine *= scaling.resolved_attention_factor
  first, second = jnp.split(heads.astype(jnp.float32), 2, axis=-1)
  rotated = jnp.concatenate(
    [first * cosine - second * sine, second * cosine + first * sine], axis=-1
  )
  return rotated.astype(heads.dtype)
