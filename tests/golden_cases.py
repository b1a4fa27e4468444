"""Cases that other authors' code computed, and tables of several of them."""

import functools
import json
import pathlib
import random

import numpy as np

from tests import oracle

_FOLDER = pathlib.Path(__file__).parent / "golden"
RECIPE = sorted(_FOLDER.glob("case_*.json"))
FAMILY = sorted(_FOLDER.glob("family_*.json"))
# Options that every estimator of the recipe has.
COMMON = ("success_reward", "invalid_penalty", "normalization", "epsilon")


@functools.cache
def load(path):
  return json.loads(path.read_text())


def among_others(steps, others, seed):
  """A table's steps among those of other tasks, all rows shuffled.

  Returns:
    The table, and the rows in which the steps now stand.
  """
  number = len(steps["t"])
  table = {
    name: column
    + [f"other {task}" for task in others["task"]] * (name == "task")
    + others[name] * (name != "task")
    for name, column in steps.items()
  }
  order = list(range(len(table["t"])))
  random.Random(seed).shuffle(order)
  return oracle.reorder(table, order), np.argsort(order)[:number]
