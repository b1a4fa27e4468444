"""Tables for `assign_credit` from Gymnasium environments (extra [gym])."""

from graphgpo_jax.integrations.gym.collect import collect
from graphgpo_jax.integrations.gym.episodes import Start
from graphgpo_jax.integrations.gym.recorders import (
  RecordSteps,
  RecordVectorSteps,
  record,
)

__all__ = ["RecordSteps", "RecordVectorSteps", "Start", "collect", "record"]
