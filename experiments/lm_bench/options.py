"""What the flags of `experiments.bench_lm` say."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Options:
  """Options that the sections share."""

  model: str  # a key of models.SHAPES, a directory or a GGUF file
  repeats: int  # rounds of everything that is timed
  quick: bool  # small enough for a test; says nothing about speed
  batches: tuple[int, ...] = (1, 8, 16, 32)  # sequences decoded at once
  prompt_tokens: int = 64
  new_tokens: int = 64
  rows: int = 8  # of a training step
  row_tokens: int = 256
  chunk: int = 32  # positions whose logits exist at once
