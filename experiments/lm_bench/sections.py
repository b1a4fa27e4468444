"""The sections of `experiments.bench_lm`."""

from typing import Any

from experiments.lm_bench import accelerator, decode, memory, train

SECTIONS: dict[str, Any] = {
  "decode": decode,
  "train": train,
  "memory": memory,
  "accelerator": accelerator,
}
