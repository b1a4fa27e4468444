"""What the benches of text worlds are told, and their stopwatch."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Options:
  """Size of a bench.

  Attributes:
    episodes: played by every contestant, the same ones.
    steps: most steps of an episode.
    seed: of tasks and actions.
  """

  episodes: int
  steps: int
  seed: int


@dataclasses.dataclass
class Stopwatch:
  """Seconds that a contestant took, and for how much.

  Attributes:
    reset_seconds: of all resets together.
    resets: how many.
    step_seconds: of all steps together.
    steps: how many.
  """

  reset_seconds: float = 0.0
  resets: int = 0
  step_seconds: float = 0.0
  steps: int = 0

  def findings(self) -> dict[str, float]:
    """Steps a second and seconds a reset."""
    return {
      "steps": self.steps,
      "steps_per_second": self.steps / max(self.step_seconds, 1e-9),
      "reset_seconds": self.reset_seconds / max(self.resets, 1),
    }
