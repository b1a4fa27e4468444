"""How estimators bear sparse and noisy graphs: a stress report.

Command:

  python -m experiments.stress --config=experiments/configs/household.py \
    --output=stress.json

Plays tasks of the config's environment by chance mixed with an expert, as the
groups' rollouts of a policy that succeeds now and then; computes every
estimator's advantages from the groups as they are, with steps hidden, with
state keys aliased or split, and from smaller groups; and compares them, step by
step, with references that are not perturbed:

  true_graph     the estimator on the same group, with the exact distances of
                 the environment's graph (estimators that use distances only)
  large_group    the estimator on --large_group rollouts of the task as one
                 group, with the exact distances where it uses distances
  true_progress  how much closer to success the step came, d(s) - d(s') on the
                 environment's graph: one reference for all estimators

The first two hold an estimator against itself: a rule that says little, such as
grpo, can say it steadily. The third tells how much of the truth it says.

A hidden step vanishes; its rollout falls into chained pieces, of which only the
one with the logged end of a success is a success. An aliased state takes the
key of another one; a split state gets one of two keys at each visit. Agreement
is Pearson's and Spearman's correlation over the steps that are not hidden, of
all groups together; the share of opposite signs among steps that are nonzero on
both sides; and the share of zeros among steps with a nonzero reference.

Writes the numbers to --output, and beside it tables (.md) and a picture (.png,
pip install graphgpo-jax[viz]).
"""

import dataclasses
import json
import pathlib
import sys

import jax
import numpy as np
from absl import flags
from ml_collections import config_flags

from experiments import choices, running
from experiments.stress_report import arguments, behaviour, study
from experiments.stress_report import groups as groups_lib
from graphgpo_jax import envs
from graphgpo_jax.envs import true_graph
from graphgpo_jax.report import curves, stress_picture
from graphgpo_jax.tables import jsonl
from graphgpo_jax.training import settings

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Config file: environment, options.", lock_config=True
)
_OUTPUT = flags.DEFINE_string(
  "output", None, "JSON file to write.", required=True
)
_ESTIMATORS = flags.DEFINE_list(
  "estimators", [choices.ALL], "Names of estimators, or all."
)
_TASKS = flags.DEFINE_integer("tasks", 8, "Tasks.", lower_bound=1)
_GROUP_SIZE = flags.DEFINE_integer(
  "group_size", 8, "Rollouts of a group.", lower_bound=1
)
_GROUPS_PER_TASK = flags.DEFINE_integer(
  "groups_per_task", 8, "Groups of each task.", lower_bound=1
)
_LARGE_GROUP = flags.DEFINE_integer(
  "large_group", 512, "Rollouts of each task in all.", lower_bound=1
)
_EXPERT_SHARE = flags.DEFINE_float(
  "expert_share", 0.2, "How often the expert acts; 0 is chance alone."
)
_HIDDEN = flags.DEFINE_list("hidden", ["0.1", "0.3", "0.5"], "Shares of steps.")
_ALIASED = flags.DEFINE_list(
  "aliased", ["0.1", "0.3", "0.5"], "Shares of states."
)
_SPLIT = flags.DEFINE_list("split", ["0.1", "0.3", "0.5"], "Shares of states.")
_SIZES = flags.DEFINE_list("sizes", ["4", "2"], "Sizes of smaller groups.")
_MAX_STATES = flags.DEFINE_integer(
  "max_states",
  true_graph.DEFAULT_MAX_STATES,
  "States of a task's true graph at most.",
)
_SEED = flags.DEFINE_integer("seed", 0, "Of tasks, rollouts, perturbations.")


def _prepare(config, output: pathlib.Path):
  """Checks everything that can be refused before anything is played."""
  settings.check_config(config)
  arguments.check_output(output)
  curves.require_matplotlib()
  names = choices.estimator_names(_ESTIMATORS.value)
  built = {
    name: settings.make_estimator(
      name, dict(config.estimator_options.get(name, {}))
    )
    for name in names
  }
  conditions = groups_lib.make_conditions(
    group_size=_GROUP_SIZE.value,
    hidden=arguments.numbers("hidden", _HIDDEN.value, float),
    aliased=arguments.numbers("aliased", _ALIASED.value, float),
    split=arguments.numbers("split", _SPLIT.value, float),
    sizes=arguments.numbers("sizes", _SIZES.value, int),
  )
  return built, conditions


def _make_study(config):
  """The study, and what is to be said of its groups."""
  options = config.environment.to_dict()
  environment = envs.make_environment(options.pop("name"), **options)
  policy = behaviour.make_behaviour(
    expert_share=_EXPERT_SHARE.value,
    mask_actions=config.policy.mask_actions,
  )
  task_key, play_key = jax.random.split(jax.random.key(_SEED.value))
  tasks = jax.jit(jax.vmap(environment.sample_task))(
    jax.random.split(task_key, _TASKS.value)
  )
  graphs = []
  for row in range(_TASKS.value):
    task = jax.tree.map(lambda leaf, row=row: leaf[row], tasks)
    graphs.append(
      true_graph.explore(environment, task, max_states=_MAX_STATES.value)
    )
    _say(f"task {row + 1}: {graphs[-1].num_states} states")
  rollouts = behaviour.collect(
    environment,
    policy,
    behaviour.make_expert(graphs),
    tasks,
    play_key,
    rollouts_per_task=_LARGE_GROUP.value,
  )
  state_keys = np.asarray(rollouts.state_keys)
  nodes = [
    graph.nodes_of(keys) for graph, keys in zip(graphs, state_keys, strict=True)
  ]
  distance = np.stack(
    [
      graph.distances_of(keys)
      for graph, keys in zip(graphs, state_keys, strict=True)
    ]
  )
  most = max(len(np.unique(visited)) for visited in nodes)
  made = study.Study(
    groups_lib.make_groups(rollouts, distance),
    group_size=_GROUP_SIZE.value,
    groups_per_task=_GROUPS_PER_TASK.value,
    # The sink, and a power of two: few sizes are compiled.
    max_nodes=1 << most.bit_length(),
    seed=_SEED.value,
  )
  facts = {
    "environment": environment.spec.name,
    "states_of_each_task": [graph.num_states for graph in graphs],
    "shortest_solution_of_each_task": [
      float(graph.distance[1]) for graph in graphs
    ],
    "groups": groups_lib.outcomes(made.groups),
  }
  return made, facts


def _say(text: str) -> None:
  print(text, file=sys.stderr, flush=True)


def main(argv):
  """Runs the binary."""
  running.refuse_arguments(argv)
  config, output = _CONFIG.value, pathlib.Path(_OUTPUT.value)
  built, conditions = _prepare(config, output)
  made, facts = _make_study(config)
  _say(f"groups: {facts['groups']}")
  labels = {dataclasses.astuple(one): one.label for one in conditions}
  results = []
  for name, estimator in built.items():
    _say(name)
    for row in made.compare(estimator, conditions):
      label = labels[row["kind"], row["value"]]
      results.append({"estimator": name, "label": label, **row})
  report = {
    **facts,
    "settings": {
      flag.name: flag.value
      for flag in (
        _TASKS,
        _GROUP_SIZE,
        _GROUPS_PER_TASK,
        _LARGE_GROUP,
        _EXPERT_SHARE,
        _SEED,
      )
    },
    "results": results,
  }
  text = stress_picture.tables(results)
  with jsonl.open_atomically(str(output)) as file:
    file.write((json.dumps(report, indent=1) + "\n").encode())
  output.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
  stress_picture.draw_stress(
    results,
    output.with_suffix(".png"),
    shown=(
      (study.LARGE_GROUP, "pearson"),
      (study.LARGE_GROUP, "sign_flips"),
      (study.TRUE_PROGRESS, "spearman"),
    ),
    group_size=_GROUP_SIZE.value,
    title=f"{facts['environment']}: agreement of advantages, "
    f"{facts['groups']['groups']} groups of {_GROUP_SIZE.value}",
  )
  print(f"{text}\n\n{output}, {output.with_suffix('.md')}, .png")


if __name__ == "__main__":
  flags.mark_flag_as_required("config")
  running.run(main)
