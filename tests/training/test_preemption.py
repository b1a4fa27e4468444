"""Notices of a cluster that the machines are to be taken away."""

import types

import jax
import numpy as np
import pytest

from graphgpo_jax.training import preemption
from tests.training import notices


@pytest.mark.parametrize("noticed", [False, True])
def test_a_notice_asks_at_its_update(monkeypatch, noticed):
  asked = notices.send(monkeypatch, at=2 if noticed else None)
  with preemption.StopRequests() as requests:
    answers = [requests.asked(step) for step in (1, 2)]
  assert answers == ["", "a preemption notice" if noticed else ""]
  # Every process must ask after every update, or the others wait for ever.
  assert asked == [1, 2]


def test_without_the_service_nobody_asks_it(monkeypatch):
  asked = notices.send(monkeypatch, at=1)
  monkeypatch.setattr(
    preemption.jax, "config", types.SimpleNamespace(**{notices.SERVICE: False})
  )
  with preemption.StopRequests() as requests:
    assert requests.asked(1) == ""
  assert asked == []


def test_a_signal_to_another_process_asks_here_too(monkeypatch):
  """And goes before a notice, which it may be itself."""
  notices.send(monkeypatch, at=1)
  monkeypatch.setattr(
    preemption.multihost_utils,
    "process_allgather",
    lambda told: np.array([bool(told), True]),
  )
  with preemption.StopRequests() as requests:
    assert requests.asked(1) == "a signal to another process"


def test_jax_listens_unless_it_is_told_not_to():
  assert getattr(jax.config, notices.SERVICE) is True
