"""Measures credit: against other pipelines, as it grows, and in its parts.

python -m experiments.bench_credit --output=bench_credit.json

Every section prints a table; all of them stand in the JSON file, which is
written anew after each, beside a picture of time against steps (`.png`).

  pipelines    columns of Python strings to advantages, against NumPy + SciPy,
               rustworkx, and dicts + heapq. Contestants take turns and each
               timing gets strings that are new objects, since Python keeps a
               string's hash; ratios are of times of one round, the median over
               the rounds counts. Ours reads, hashes and checks the columns;
               the others trust them. A size where one of them disagrees
               (distances not equal, advantages not within 1e-4) is not timed
               and the command ends with status 1.
  linearity    time per step at 15,000, 150,000 and 1,500,000 steps
  family       every estimator by graphgpo, on 128 x 8 x 50
  one_task     10 million steps of one task from integer columns, in a process
               of its own: seconds and peak memory
  distances    the forms of the shortest distances, per batch, node ids given
  near_equal   near-equal texts as one state: precision, recall, time
  stream       a Parquet file larger than memory allows: rows per second, peak
  accelerator  dense and sparse credit on a GPU or TPU against its floor

Goals on 2 cores: at most SciPy's time from 128 x 8 x 50 up and twice that at
16 x 8 x 50; time per step at 1,500,000 steps at most 1.5 times that at 15,000;
every estimator at most twice graphgpo's time; 10 million steps of one task
within 60 s and 8 GiB; precision and recall at least 0.99; streaming within
2 GiB. BUILD_NOTES.md has what was reached.
"""

import pathlib
from typing import Any

from absl import flags

from experiments import bench_sections, running
from experiments.credit_bench import (
  accelerator,
  distances,
  family,
  linearity,
  near_equal,
  one_task,
  picture,
  pipelines,
  stream,
)
from experiments.credit_bench import options as options_lib
from graphgpo_jax.report import curves
from graphgpo_jax.tables import arrow_columns

SECTIONS: dict[str, Any] = {
  "pipelines": pipelines,
  "linearity": linearity,
  "family": family,
  "one_task": one_task,
  "distances": distances,
  "near_equal": near_equal,
  "stream": stream,
  "accelerator": accelerator,
}
_SIZES = "16x8x15,16x8x50,128x8x50,16x64x50,1024x8x50,16x256x50"
_QUICK_SIZES = "2x3x5,3x4x8"

_OUTPUT = flags.DEFINE_string(
  "output", None, "JSON file to write; the picture has its name with .png."
)
_SECTIONS = flags.DEFINE_list(
  "sections", list(SECTIONS), f"Some of {', '.join(SECTIONS)}."
)
_BENCH_SIZES = flags.DEFINE_list(
  "sizes", None, f"Groups x rollouts x horizon; without it {_SIZES}."
)
_REPEATS = flags.DEFINE_integer(
  "repeats", 7, "Rounds of pipelines, linearity and family.", lower_bound=1
)
_QUICK = flags.DEFINE_bool(
  "quick", False, "Everything tiny: shows that it runs, not how fast."
)
_STREAM_ROLLOUTS = flags.DEFINE_integer(
  "stream_rollouts", None, "Of the streamed file; 1,000,000.", lower_bound=1
)
_ONE_TASK_ROLLOUTS = flags.DEFINE_integer(
  "one_task_rollouts", None, "Of 10 steps each; 1,000,000.", lower_bound=1
)


def _options() -> options_lib.Options:
  quick = _QUICK.value
  large = 100 if quick else 1_000_000
  texts = _BENCH_SIZES.value or (_QUICK_SIZES if quick else _SIZES).split(",")
  return options_lib.Options(
    sizes=tuple(map(options_lib.parse_size, texts)),
    repeats=min(_REPEATS.value, 2) if quick else _REPEATS.value,
    quick=quick,
    stream_rollouts=_STREAM_ROLLOUTS.value or large,
    one_task_rollouts=_ONE_TASK_ROLLOUTS.value or large,
  )


def _output(name: str | None) -> pathlib.Path:
  # Never None: the flag is required.
  path = pathlib.Path(name or "")
  if path.suffix == ".png" or path.is_dir() or not path.parent.is_dir():
    raise ValueError(
      f"--output={path}: expected a file name, not ending in .png, in a "
      "folder that exists"
    )
  return path


def main(argv):
  """Runs the binary."""
  running.refuse_arguments(argv)
  output, options = _output(_OUTPUT.value), _options()
  names = bench_sections.chosen(_SECTIONS.value, SECTIONS)
  # Before minutes are spent: what is missing at the end is missing now.
  curves.require_matplotlib()
  if "pipelines" in names:
    pipelines.contestants()
  if "stream" in names:
    arrow_columns.require_pyarrow()
  results = bench_sections.run(
    names, SECTIONS, options, output, quick=options.quick
  )
  picture_path = output.with_suffix(".png")
  picture.draw(results, picture_path)
  print(picture_path)
  refused = [
    record["size"]
    for record in results.get("pipelines", {}).get("sizes", ())
    if "refused" in record
  ]
  if refused:
    raise ValueError(
      "pipelines: not timed, because the results differ, at "
      + ", ".join(refused)
    )


if __name__ == "__main__":
  flags.mark_flag_as_required("output")
  running.run(main)
