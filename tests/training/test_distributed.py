"""Several processes that join, for real, on one machine."""

import importlib.metadata
import os
import re
import socket
import subprocess
import sys

import pytest

from graphgpo_jax.training import distributed, settings


def _free_address():
  with socket.socket() as taken:
    taken.bind(("localhost", 0))
    return f"localhost:{taken.getsockname()[1]}"


def _start(*arguments, **environment):
  return subprocess.Popen(
    [sys.executable, "-m", "tests.training.distributed_child", *arguments],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=os.environ
    | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": os.getcwd()}
    | environment,
  )


def _printed(children):
  """The last line that each of the processes prints."""
  try:
    ended = [child.communicate(timeout=300) for child in children]
  finally:
    for child in children:
      child.kill()
  for child, (_, errors) in zip(children, ended, strict=True):
    assert child.returncode == 0, errors
  # What carries the messages speaks on the standard output, too.
  return [printed.splitlines()[-1] for printed, _ in ended]


def _run_all(task, number=2):
  address = _free_address()
  return _printed(
    [_start(task, address, str(number), str(k)) for k in range(number)]
  )


def test_processes_that_agree():
  assert _run_all("agree") == ["agreed True", "agreed False"]


def test_the_one_that_differs_is_named_by_all():
  own = settings.default_config().rollout.chunk_size
  for printed in _run_all("differ"):
    assert printed == (
      "refused: process 1 differs from process 0 in config.rollout.chunk_size "
      f"(5 there, {own} here)"
    )


def test_processes_of_other_versions_refuse_and_name_the_packages():
  for printed in _run_all("versions"):
    assert printed == (
      "refused: process 1 differs from process 0 in orbax-checkpoint ('1.0' "
      "there, '2.0' here), textworld ('1.7.0' there, 'not installed' here)"
    )


def test_where_one_fails_all_fail_and_go_on_together():
  everyone = "[{'own': 0}, {'own': 1}]"
  assert _run_all("fail") == [
    f"ValueError process 1: no room 0 {everyone}",
    f"OSError no room 1 {everyone}",
  ]


def test_facts():
  found = distributed.facts(settings.default_config())
  assert found["config.optimizer.max_grad_norm"] == 1.0
  assert found["jax"] and found["numpy"] and found["python"].startswith("3.")
  for package in ("orbax-checkpoint", "ml_collections"):
    assert found[package] == importlib.metadata.version(package)


def test_every_package_is_compared_also_where_it_is_missing(monkeypatch):
  def missing(package):
    raise importlib.metadata.PackageNotFoundError(package)

  monkeypatch.setattr(importlib.metadata, "version", missing)
  found = distributed.facts(settings.default_config())
  absent = {name for name, value in found.items() if value == "not installed"}
  assert absent >= {
    "orbax-checkpoint",
    "ml_collections",
    "alfworld",
    "fast-downward-textworld",
    "scienceworld",
    "textworld",
    "textworld-express",
  }


def test_one_process_agrees_with_itself():
  distributed.check_agreement({"anything": 1})
  distributed.barrier("anywhere")
  assert distributed.gather([1, "two"]) == [[1, "two"]]
  assert distributed.together(lambda: 3) == 3
  assert distributed.is_main()


@pytest.mark.parametrize(
  ("mode", "environment", "said"),
  [
    ("auto", {}, "joined False"),
    ("off", {"JAX_COORDINATOR_ADDRESS": "localhost:1"}, "joined False"),
    ("maybe", {}, "refused: --distributed='maybe': expected one of auto, on"),
    ("on", {}, "refused: --distributed=on: .*coordinator.*JAX_COORDINATOR_ADD"),
    (
      "auto",
      {"JAX_NUM_PROCESSES": "two"},
      "refused: JAX_NUM_PROCESSES='two' must be a whole number",
    ),
    (
      "auto",
      {"JAX_COORDINATOR_ADDRESS": "localhost:1", "JAX_PROCESS_ID": "0"},
      "refused: .*Number of processes must be defined.*--num_processes",
    ),
  ],
)
def test_what_is_said_of_joining(mode, environment, said):
  # In processes of their own: jax joins before anything else or not at all.
  (printed,) = _printed([_start("join", mode, **environment)])
  assert re.match(said, printed)
