"""The console commands of an installed package, see setup.cfg.

`graphgpo-train` is `python -m graphgpo_jax.experiments.train`, and so on.
"""

import runpy

from experiments import PACKAGE


def _start(binary: str) -> None:
  """Runs a binary as `python -m` does; it parses sys.argv and exits."""
  runpy.run_module(f"{PACKAGE}.{binary}", run_name="__main__", alter_sys=True)


def aliasing() -> None:
  """Counts the states that a text world's keys take for one."""
  _start("aliasing")


def assign_credit() -> None:
  """Credit for logged steps, from file to file."""
  _start("assign_credit")


def compare() -> None:
  """Trains several estimators under equal settings."""
  _start("compare")


def evidence() -> None:
  """Compares estimators in many worlds and writes one page."""
  _start("evidence")


def generate() -> None:
  """Lets a language model answer a prompt."""
  _start("generate")


def progress() -> None:
  """Which steps of a log came closer to success, by outcome."""
  _start("progress_statistic")


def report() -> None:
  """Draws a run as one self-contained page."""
  _start("report")


def stress() -> None:
  """Credit on sparse and noisy graphs, against the true graph."""
  _start("stress")


def train() -> None:
  """Trains a policy, or evaluates what was trained."""
  _start("train")


def train_lm() -> None:
  """Trains a language model in a text world."""
  _start("train_lm")


def warm_start() -> None:
  """Imitates a text world's expert."""
  _start("warm_start")
