"""Measures a language model: decoding, training, memory of the loss.

python -m experiments.bench_lm --model=random:smollm2 --output=bench_lm.json

`--model` is a Hugging Face directory, a GGUF file, `random:smollm2` (random
weights of the shape of SmolLM2-135M: no file is needed, and speed does not
depend on the weights) or `tiny`. Every section prints a table; all of them
stand in the JSON file, which is written anew after each.

  decode       tokens per second of all sequences at batch 1, 8, 16 and 32,
               float32. The time of a decoding step is that of a long sampling
               less that of a short one: prompts and starting up cancel out
  train        an Adam step of 8 x 256 tokens: all parameters, and LoRA of rank
               16, in turns; ratios are of times of one round
  memory       loss and gradients at a vocabulary of 49152, logits all at once
               and in chunks: what the compiler sets aside, nothing is run
  accelerator  on a GPU or TPU, in bfloat16: decoding at batch 64 against the
               memory bandwidth and against `transformers` where it and torch
               are installed, training against the matrix peak; both limits
               measured in the same run

Goals: on 2 cores with SmolLM2-135M at least 48 tokens/s at batch 16, a LoRA
step in at most 0.7 times the time of a full one, the chunked loss in at most
0.5 times the memory; on an accelerator at least twice the decode rate of
`transformers` and 40 % of the matrix peak in training.
"""

import os
import pathlib

from absl import flags

from experiments import bench_sections, running
from experiments.lm_bench import models
from experiments.lm_bench import options as options_lib
from experiments.lm_bench.sections import SECTIONS

_MODEL = flags.DEFINE_string(
  "model",
  None,
  f"A model directory, a GGUF file, or one of {', '.join(models.SHAPES)}; "
  "without it random:smollm2, with --quick tiny.",
)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.")
_SECTIONS = flags.DEFINE_list(
  "sections", list(SECTIONS), f"Some of {', '.join(SECTIONS)}."
)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Timed rounds.", lower_bound=1)
_QUICK = flags.DEFINE_bool(
  "quick", False, "Everything tiny: shows that it runs, not how fast."
)


def _options() -> options_lib.Options:
  if not _QUICK.value:
    return options_lib.Options(
      model=_MODEL.value or "random:smollm2",
      repeats=_REPEATS.value,
      quick=False,
    )
  return options_lib.Options(
    model=_MODEL.value or "tiny",
    repeats=min(_REPEATS.value, 2),
    quick=True,
    batches=(1, 2),
    prompt_tokens=4,
    new_tokens=8,
    rows=2,
    row_tokens=16,
    chunk=4,
  )


def _output(name: str | None) -> pathlib.Path:
  # Never None: the flag is required.
  path = pathlib.Path(name or "")
  if path.is_dir() or not path.parent.is_dir():
    raise ValueError(
      f"--output={path}: expected a file name in a folder that exists"
    )
  return path


def main(argv):
  """Runs the binary."""
  running.refuse_arguments(argv)
  output, options = _output(_OUTPUT.value), _options()
  names = bench_sections.chosen(_SECTIONS.value, SECTIONS)
  if options.model not in models.SHAPES and not os.path.exists(options.model):
    raise ValueError(
      f"--model={options.model}: neither a path that exists nor one of "
      f"{', '.join(models.SHAPES)}"
    )
  print(options.model)
  bench_sections.run(
    names, SECTIONS, options, output, model=options.model, quick=options.quick
  )


if __name__ == "__main__":
  flags.mark_flag_as_required("output")
  running.run(main)
