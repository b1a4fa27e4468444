"""How tokens are drawn, and what comes back."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class SamplingOptions:
  """Numbers that may change from call to call without a new compilation.

  Attributes:
    temperature: the logits' divisor; 0 takes the likeliest token.
    top_k: draw among the k likeliest tokens; 0 for all.
    top_p: draw among the likeliest tokens of mass p; 1 for all.
    max_tokens: the most tokens of a sample.
  """

  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 1.0
  max_tokens: int = 256

  def __post_init__(self):
    # Written so that NaN is refused too.
    if not 0 <= self.temperature < float("inf"):
      raise ValueError(f"temperature={self.temperature} must be at least 0")
    if self.top_k < 0:
      raise ValueError(f"top_k={self.top_k} must be at least 0 (0 for all)")
    if not 0 < self.top_p <= 1:
      raise ValueError(f"top_p={self.top_p} must lie in (0, 1]")
    if self.max_tokens < 1:
      raise ValueError(f"max_tokens={self.max_tokens} must be at least 1")


@dataclasses.dataclass(frozen=True)
class Sample:
  """What a model said after one prompt.

  Attributes:
    tokens: the ids drawn, with the one that ended the sample.
    log_probs: float32 [T], nats, under the temperature's distribution over the
      whole vocabulary, before top-k and top-p; that of temperature 1 where
      the temperature is 0.
    stopped: the sample ended by itself, not because `max_tokens` were drawn.
  """

  tokens: list[int]
  log_probs: np.ndarray
  stopped: bool
