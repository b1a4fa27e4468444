"""Rules of the returns that were observed, in plain Python and float64.

hgpo, g2po, pgpo, gagpo and salt, written from their equations and held against
the golden cases of the first two; tests hold the package against it.
"""

import math
from collections import defaultdict

from tests import oracle

SUCCESS, FAIL = oracle.SUCCESS, ("fail",)
DEFAULTS = {
  "discount": 0.95,
  "success_reward": 10.0,
  "invalid_penalty": 0.1,
  "penalty_only_with_success": False,
  "per_rollout": False,
  "normalization": "mean_std",
  "epsilon": 1e-6,
}
OWN_DEFAULTS = {
  "hgpo": {
    "history_length": 2,
    "history_alpha": 1.0,
    "episode_base": False,
    "step_weight": 1.0,
    "episode_weight": 0.0,
  },
  "g2po": {"fail_value": 0.0, "step_weight": 1.0, "episode_weight": 1.0},
  "pgpo": {
    "potential_discount": 1.0,
    "potential_weight": 1.0,
    "alpha": 2.0,
    "step_weight": 1.0,
    "episode_weight": 0.0,
  },
  "gagpo": {"gae_lambda": 0.95, "step_weight": 1.0, "episode_weight": 0.0},
  "salt": {"step_weight": 1.0, "episode_weight": 0.0},
}


def assign_credit(steps, estimator, **options):
  """step_return, step_advantage, episode_advantage and advantage.

  Args:
    steps: columns as `oracle.assign_credit` takes them; `action` may be there.
    estimator: "hgpo", "g2po", "pgpo", "gagpo" or "salt".
    **options: as the package's; the others keep their defaults.

  Returns:
    dict of column name to list of float, in the table's row order; for g2po
    and gagpo also state_value, V of each step's source.
  """
  known = DEFAULTS | OWN_DEFAULTS[estimator]
  assert not set(options) - set(known), set(options) - set(known)
  options = known | options
  columns = oracle._with_defaults(steps, options["success_reward"])
  number = len(columns["task"])
  columns.setdefault("action", [None] * number)
  credit = defaultdict(lambda: [0.0] * number)
  tasks = defaultdict(list)
  for (task, _), rows in oracle.rollouts_of(columns).items():
    tasks[task].append(rows)
  for rollouts in tasks.values():
    task = Task(columns, rollouts, options)
    for name, values in RULES[estimator](task).items():
      for row, value in values.items():
        credit[name][row] = value
    for row in task.rows:
      credit["episode_advantage"][row] = task.episode[row]
      credit["advantage"][row] = (
        options["step_weight"] * credit["step_advantage"][row]
        + options["episode_weight"] * task.episode[row]
      )
  return dict(credit)


class Task:
  """A task's rows, with what all rules need; dicts by row."""

  def __init__(self, columns, rollouts, options):
    self.columns, self.rollouts, self.options = columns, rollouts, options
    self.rows = [row for rollout in rollouts for row in rollout]
    self.source = {row: columns["observation"][row] for row in self.rows}
    self.target = {row: columns["next_observation"][row] for row in self.rows}
    self.lasts = [rollout[-1] for rollout in rollouts]
    for row in self.lasts:
      if columns["success"][row]:
        self.target[row] = SUCCESS
    punished = not options["penalty_only_with_success"] or any(
      columns["success"][row] for row in self.rows
    )
    self.penalty = {
      row: options["invalid_penalty"]
      * (punished and not columns["action_valid"][row])
      for row in self.rows
    }
    self.score = {
      row: float(columns["episode_return"][row]) for row in self.rows
    }
    self.episode = self._episode()

  def _episode(self):
    if self.options["per_rollout"]:
      values = [self.score[row] for row in self.rows]
      counted, single = [self.score[row] for row in self.lasts], True
    else:
      values = [self.score[row] - self.penalty[row] for row in self.rows]
      counted, single = values, False
    return dict(
      zip(self.rows, self.normalize(values, counted, single), strict=True)
    )

  def normalize(self, values, counted=None, single=True, ddof=1):
    return oracle.normalize(
      values,
      values if counted is None else counted,
      kind=self.options["normalization"],
      epsilon=self.options["epsilon"],
      ddof=ddof,
      single=single,
    )

  def among(self, key, values, ddof=1):
    """Values compared among the rows of one key; 0 where the key is None."""
    groups = defaultdict(list)
    for row in self.rows:
      if key[row] is not None:
        groups[key[row]].append(row)
    found = dict.fromkeys(self.rows, 0.0)
    for rows in groups.values():
      results = self.normalize([values[row] for row in rows], ddof=ddof)
      found.update(zip(rows, results, strict=True))
    return found

  def returns(self):
    """Discounted return-to-go of the rewards."""
    found = {}
    for rollout in self.rollouts:
      following = 0.0
      for row in reversed(rollout):
        following = (
          self.columns["reward"][row] + self.options["discount"] * following
        )
        found[row] = following
    return found

  def left(self):
    """T - t of each row."""
    return {
      row: len(rollout) - t
      for rollout in self.rollouts
      for t, row in enumerate(rollout)
    }


def mean_by(keys, values):
  """Mean of the values of each key, as dict; keys and values are lists."""
  seen = defaultdict(list)
  for key, value in zip(keys, values, strict=True):
    seen[key].append(value)
  return {key: math.fsum(found) / len(found) for key, found in seen.items()}


def hgpo(task):
  options = task.options
  value = {
    row: found - task.penalty[row] for row, found in task.returns().items()
  }
  joined = [(0, task.episode)] if options["episode_base"] else []
  for number in range(1, options["history_length"] + 2):
    key = {}
    for rollout in task.rollouts:
      states = [task.source[row] for row in rollout]
      for t, row in enumerate(rollout):
        behind = tuple(states[max(t + 1 - number, 0) : t + 1])
        key[row] = behind if len(behind) == number else None
    joined.append((number, task.among(key, value, ddof=0)))
  average = {}
  for row in task.rows:
    total = weights = 0.0
    for number, compared in joined:
      if abs(compared[row]) > 1e-9:
        weight = (number + 1) ** options["history_alpha"]
        total, weights = total + weight * compared[row], weights + weight
    average[row] = total / (weights + 1e-6)
  return {"step_return": value, "step_advantage": average}


def g2po(task):
  options = task.options
  left = task.left()
  outcome = {
    row: options["discount"] ** left[row] * task.score[row] for row in task.rows
  }
  value = mean_by(
    [task.source[row] for row in task.rows],
    [outcome[row] for row in task.rows],
  )
  value |= {SUCCESS: options["success_reward"], FAIL: options["fail_value"]}
  there, gain = {}, {}
  for row in task.rows:
    ends = row in task.lasts and not task.columns["success"][row]
    target = value[FAIL if ends else task.target[row]]
    there[row] = target - task.penalty[row]
    gain[row] = target - value[task.source[row]]
  local = task.among(task.source, there)
  overall = task.among(dict.fromkeys(task.rows, "task"), gain)
  return {
    "state_value": {row: value[task.source[row]] for row in task.rows},
    "step_return": there,
    "step_advantage": {row: local[row] + overall[row] for row in task.rows},
  }


def pgpo(task):
  options = task.options
  left = task.left()
  visits = [(task.source[row], row, left[row]) for row in task.rows]
  visits += [(task.target[row], row, 0) for row in task.lasts]
  potential = mean_by(
    [state for state, _, _ in visits],
    [
      options["potential_discount"] ** steps * task.score[row]
      for _, row, steps in visits
    ],
  )
  gain = {
    row: potential[task.target[row]] - potential[task.source[row]]
    for row in task.rows
  }
  value = {
    row: found - task.penalty[row] for row, found in task.returns().items()
  }
  succeeded = sum(task.columns["success"][row] for row in task.lasts)
  failed_share = 1.0 - succeeded / len(task.lasts)
  scale = options["potential_weight"] * failed_share ** options["alpha"]
  plain = task.among(task.source, value)
  shaped = task.among(task.source, gain)
  return {
    "step_return": gain,
    "step_advantage": {
      row: plain[row] + scale * shaped[row] for row in task.rows
    },
  }


def gagpo(task):
  options = task.options
  returns = task.returns()
  value = mean_by(
    [task.source[row] for row in task.rows], [returns[row] for row in task.rows]
  )
  signal = {}
  for rollout in task.rollouts:
    following = 0.0
    for row in reversed(rollout):
      after = 0.0 if row == rollout[-1] else value[task.target[row]]
      reward = task.columns["reward"][row]
      error = reward + options["discount"] * after - value[task.source[row]]
      if abs(error) < 1e-9:
        error = 0.0
      decay = options["discount"] * options["gae_lambda"]
      following = error + decay * following
      signal[row] = following - task.penalty[row]
  return {
    "state_value": {row: value[task.source[row]] for row in task.rows},
    "step_return": signal,
    "step_advantage": task.among(dict.fromkeys(task.rows, "task"), signal),
  }


def salt(task):
  key = [
    (task.source[row], task.columns["action"][row], task.target[row])
    for row in task.rows
  ]
  mean = mean_by(key, [task.episode[row] for row in task.rows])
  return {
    "step_return": task.episode,
    "step_advantage": {
      row: mean[one] for row, one in zip(task.rows, key, strict=True)
    },
  }


RULES = {
  "hgpo": hgpo,
  "g2po": g2po,
  "pgpo": pgpo,
  "gagpo": gagpo,
  "salt": salt,
}
