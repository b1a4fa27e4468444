"""A cluster's notice, as jax tells it to a process that has joined others."""

import types

import jax
from jax.experimental import multihost_utils

from graphgpo_jax.training import preemption

SERVICE = "jax_enable_preemption_service"


def send(monkeypatch, *, at):
  """Has jax tell of a notice after update `at`; None for never.

  The module alone believes to be one of several, so that nothing else waits for
  others that there are not.

  Returns:
    A list that fills with the updates after which jax was asked.
  """
  asked = []

  def reached(step):
    asked.append(step)
    return step == at

  monkeypatch.setattr(
    preemption,
    "jax",
    types.SimpleNamespace(
      distributed=types.SimpleNamespace(is_initialized=lambda: True),
      config=jax.config,
    ),
  )
  monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", reached)
  return asked
