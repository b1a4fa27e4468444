"""Writes a page that shows what a run learned from: graphs, credit, curves.

python -m experiments.report --workdir=runs/household --output=report.html

One file that needs no network. The work directory is a run's, or one with runs
in it as experiments.compare leaves them. Graphs are of the updates that the run
kept (config.keep; text worlds keep all that config.text.rollout_megabytes has
room for), with the advantages of every estimator by the options of the run's
config. --static=FOLDER writes the last graph as PNG and SVG (extra [viz]).
"""

import os
import time

from absl import flags

from experiments import choices, running
from graphgpo_jax.report import graph_picture, page, page_data, runs
from graphgpo_jax.tables import jsonl

_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of a run, or of several.", required=True
)
_OUTPUT = flags.DEFINE_string(
  "output", None, "HTML file to write; report.html in the workdir by default."
)
_UPDATES = flags.DEFINE_integer(
  "updates", 8, "Updates of each run that get graphs at most.", lower_bound=1
)
_TASKS = flags.DEFINE_integer(
  "tasks", 4, "Tasks of each update that get graphs at most.", lower_bound=1
)
_MEGABYTES = flags.DEFINE_float(
  "megabytes", 5.0, "The page is no larger than this.", lower_bound=0.1
)
_ESTIMATORS = flags.DEFINE_list(
  "estimators", ["all"], "Estimators to switch between, or all."
)
_STATIC = flags.DEFINE_string(
  "static", None, "Folder for the last update's graphs as PNG and SVG."
)
_STATIC_ESTIMATORS = flags.DEFINE_list(
  "static_estimators",
  ["grpo", "gigpo", "graphgpo"],
  "Estimators of which --static writes pictures.",
)
_COMPILE_CACHE_DIR = flags.DEFINE_string(
  "compile_cache_dir",
  None,
  "Folder for compiled programs, which the next report finds; compile_cache in "
  "the workdir by default, none with an empty name.",
)


def main(argv):
  """Runs the binary."""
  running.refuse_arguments(argv)
  started = time.monotonic()
  names = choices.estimator_names(_ESTIMATORS.value)
  pictured = choices.estimator_names(_STATIC_ESTIMATORS.value)
  if _STATIC.value is not None:
    graph_picture.require_matplotlib()
    names += [name for name in pictured if name not in names]
  found = runs.read_runs(_WORKDIR.value)
  running.cache_compiled(_WORKDIR.value, _COMPILE_CACHE_DIR.value)
  title = (
    f"{found[0].folder.resolve().name}"
    if len(found) == 1
    else (os.path.basename(os.path.abspath(_WORKDIR.value)))
  )
  empty = len(page.render({}, title=title))
  data = page_data.gather(
    found,
    num_updates=_UPDATES.value,
    num_tasks=_TASKS.value,
    max_bytes=int(_MEGABYTES.value * 1e6) - empty,
    names=names,
  )
  output = _OUTPUT.value or os.path.join(_WORKDIR.value, "report.html")
  content = page.render(data, title=title).encode()
  with jsonl.open_atomically(output) as file:
    file.write(content)
  print(
    f"{output}: {len(content) / 1e6:.2f} MB, {len(data['graphs'])} graphs of "
    f"{len(found)} run{'s' * (len(found) > 1)}, "
    f"{time.monotonic() - started:.0f} s"
  )
  for note in data["notes"]:
    print(note)
  if _STATIC.value is not None:
    for path in graph_picture.write_pictures(data, _STATIC.value, pictured):
      print(path)


if __name__ == "__main__":
  running.run(main)
