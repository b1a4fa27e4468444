"""A rule of a user's own: a function in the place of an estimator's name."""

import ast
import functools
import inspect
import math
import pathlib
import re
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax import tables
from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import normalize, potentials, signals
from graphgpo_jax.credit.estimators import parts
from graphgpo_jax.tables import table_device
from graphgpo_jax.tables.logs import credit_file
from graphgpo_jax.training import update
from tests import log_files, oracle
from tests.training import made_rollouts


# The README's: a mean outcome, a log difference, the whole task, half of A^E.
def factor(steps, graph, distance, *, discount=0.9, episode_weight=0.5):
  """By what factor a step raises the mean outcome of the state."""
  outcome = potentials.outcome_to_go(steps, discount=discount)
  nodes = len(graph.node_mask)
  value = potentials.mean_of_state(steps, outcome, max_nodes=nodes)
  here, there = potentials.at_ends_of_steps(steps, value, success_value=10.0)
  gain = signals.log_difference(here, there, floor=0.1)
  among_all = parts.task_advantage(steps, gain)
  rollout = parts.episode_advantage(steps, jnp.zeros_like(gain))
  weights = {"step_weight": 1.0, "episode_weight": episode_weight}
  found = {"step_return": gain, "step_part": among_all, "episode_part": rollout}
  return parts.mix(steps, distance, **found, **weights)


def by_hand(table, *, discount=0.9, episode_weight=0.5):
  """The same in plain Python."""
  number = len(table["t"])
  outcome, target = [0.0] * number, list(table["next_observation"])
  for rows in oracle.rollouts_of(table).values():
    for t, row in enumerate(rows):
      won = table["success"][row]
      outcome[row] = discount ** (len(rows) - t) * 10.0 * won
      if won and row == rows[-1]:
        target[row] = oracle.SUCCESS
  found = {name: [0.0] * number for name in ("step_return", "advantage")}
  for task in set(table["task"]):
    rows = [row for row in range(number) if table["task"][row] == task]
    value = {oracle.SUCCESS: 10.0}
    for state in {table["observation"][row] for row in rows}:
      seen = [outcome[r] for r in rows if table["observation"][r] == state]
      value[state] = sum(seen) / len(seen)
    gain = [
      math.log(max(value.get(target[row], 0.0), 0.1))
      - math.log(max(value[table["observation"][row]], 0.1))
      for row in rows
    ]
    score = [10.0 * table["success"][row] for row in rows]
    options = {"kind": "mean_std", "epsilon": 1e-6, "ddof": 1}
    step = oracle.normalize(gain, gain, single=True, **options)
    episode = oracle.normalize(score, score, single=False, **options)
    for at, row in enumerate(rows):
      found["step_return"][row] = gain[at]
      found["advantage"][row] = step[at] + episode_weight * episode[at]
  return found


def in_readme():
  """The README's own `factor`, parsed."""
  readme = pathlib.Path(__file__).parent.parent / "README.md"
  blocks = re.findall(
    r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL
  )
  (rule,) = (
    node
    for block in blocks
    for node in ast.parse(block).body
    if isinstance(node, ast.FunctionDef) and node.name == factor.__name__
  )
  return rule


def test_it_is_ten_lines():
  body = in_readme().body
  assert body[-1].end_lineno - body[0].lineno + 1 <= 10


def test_it_is_that_of_the_readme():
  (rule,) = ast.parse(textwrap.dedent(inspect.getsource(factor))).body
  _docstring, *rule.body = rule.body
  assert ast.dump(rule) == ast.dump(in_readme())


@pytest.mark.parametrize("seed", range(8))
def test_through_assign_credit(seed):
  table = oracle.random_table(seed, optional=False)
  options = {"discount": 0.5 + 0.05 * seed, "episode_weight": 0.25 * seed}
  found = tables.assign_credit(table, factor, **options)
  assert list(found) == [
    "distance",
    "next_distance",
    "step_return",
    "step_advantage",
    "episode_advantage",
    "advantage",
  ]
  for name, expected in by_hand(table, **options).items():
    np.testing.assert_allclose(found[name], expected, atol=2e-4, err_msg=name)


def test_its_numbers_do_not_compile_again():
  table = oracle.random_table(0, optional=False)
  tables.assign_credit(table, factor)
  before = table_device._credit_groups._cache_size()
  for discount in (0.5, 0.7, 1, np.float64(0.3)):
    tables.assign_credit(table, factor, discount=discount)
  assert table_device._credit_groups._cache_size() == before


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"discont": 0.5}, "unknown option 'discont' of the estimator factor"),
    ({"discount": 2.0}, "'discount': expected a number from 0 to 1"),
    ({"episode_weight": "1"}, "'episode_weight': expected a finite number"),
  ],
)
def test_its_options_are_checked(options, words):
  table = oracle.random_table(0, optional=False)
  with pytest.raises(ValueError, match=words):
    tables.assign_credit(table, factor, **options)


POPULATION = functools.partial(normalize.mean_std, ddof=0)


def options_rule(
  steps,
  graph,
  distance,
  bonus=1.0,
  *,
  twice: bool = False,
  lags: int = 2,
  kind: str = "plain",
  normalize=POPULATION,
  among=normalize.mean_only,
):
  """Options of every kind, in the advantage one by one."""
  shape = (steps.reward, jnp.zeros_like(steps.source), steps.mask, steps.mask)
  nothing = jnp.zeros_like(steps.reward)
  total = bonus + 10.0 * twice + 100.0 * lags + 1000.0 * (kind == "other")
  return parts.mix(
    steps,
    distance,
    step_return=normalize(*shape, num_segments=1),
    step_part=among(*shape, num_segments=1),
    episode_part=nothing + total,
    step_weight=0.0,
    episode_weight=1.0,
  )


def test_options_of_every_kind():
  table = oracle.random_table(3)
  credit = functools.partial(tables.assign_credit, table, options_rule)
  assert (credit()["advantage"] == 201.0).all()
  given = {"bonus": 2, "twice": True, "lags": 0, "kind": "other"}
  assert (credit(**given)["advantage"] == 1012.0).all()
  # Its own deviation is the population's; a table may ask for the sample's.
  for option, ddof in (({}, 0), ({"ddof": 1}, 1)):
    expected = oracle_normalized(table, ddof)
    np.testing.assert_allclose(
      credit(**option)["step_return"], expected, atol=1e-4
    )
  for option, words in (
    ({"twice": 1}, "'twice': expected True or False"),
    ({"lags": 0.5}, "'lags': expected a whole number of at least 0"),
    ({"lags": True}, "'lags': expected a whole number of at least 0"),
    ({"bonus": float("nan")}, "'bonus': expected a finite number"),
    ({"normalize": None}, "unknown option 'normalize'"),
    ({"among": None}, "unknown option 'among'"),
  ):
    with pytest.raises(ValueError, match=words):
      credit(**option)


def oracle_normalized(table, ddof):
  found = np.zeros(len(table["t"]))
  task = np.asarray(table["task"])
  for name in set(table["task"]):
    values = np.asarray(table["reward"])[task == name].tolist()
    found[task == name] = oracle.normalize(
      values, values, kind="mean_std", epsilon=1e-6, ddof=ddof, single=True
    )
  return found


def told_apart(steps, graph, distance):
  """How many steps of the task took the action that the step took."""
  action = graph_lib.action_ids(steps)
  alike = (action[:, None] == action) & steps.mask
  count = jnp.where(steps.mask, jnp.sum(alike, axis=1), 0).astype(jnp.float32)
  nothing = jnp.zeros_like(count)
  return parts.mix(
    steps,
    distance,
    step_return=count,
    step_part=count,
    episode_part=nothing,
    step_weight=1.0,
    episode_weight=0.0,
  )


@pytest.mark.parametrize("with_actions", [True, False])
def test_it_is_given_the_actions_that_there_are(with_actions):
  table = oracle.random_table(5)
  key = "action" if with_actions else "next_observation"
  pairs = list(zip(table["task"], table[key], strict=True))
  if not with_actions:
    del table["action"]
    for rows in oracle.rollouts_of(table).values():
      if table["success"][rows[-1]]:
        pairs[rows[-1]] = (table["task"][rows[-1]], oracle.SUCCESS)
  found = tables.assign_credit(table, told_apart)["advantage"]
  assert found.tolist() == [pairs.count(pair) for pair in pairs]


@pytest.mark.parametrize("rule", [factor, told_apart])
def test_from_file_to_file(tmp_path, rule):
  table = oracle.random_table(6, tasks=8)
  table = oracle.reorder(table, log_files.interleave(table, 2))
  log_files.write(tmp_path / "in", table)
  credit_file.credit_file(
    str(tmp_path / "in"), str(tmp_path / "out"), rule, rows_per_commit=20
  )
  credit = tables.assign_credit(table, rule)
  log_files.assert_holds(tmp_path / "out", table, credit)


def test_in_training():
  rollouts = made_rollouts.random_rollouts()
  advantage, metrics = jax.jit(update.make_assign(factor, discount=0.8))(
    rollouts
  )
  assert advantage.shape == rollouts.mask.shape
  assert np.isfinite(advantage).all() and np.asarray(advantage).any()
  assert not np.asarray(advantage)[~rollouts.mask].any()
  assert metrics["credit/advantage_magnitude"] > 0
