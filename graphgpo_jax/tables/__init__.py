"""Logged steps of any framework to credit, on the host: columns in and out."""

from graphgpo_jax.tables.assign import (
  TableSummary,
  assign_credit,
  credit_table,
)
from graphgpo_jax.tables.state_keys import (
  FingerprintCollisionError,
  audit_fingerprints,
  fingerprint_observations,
)

__all__ = [
  "FingerprintCollisionError",
  "TableSummary",
  "assign_credit",
  "audit_fingerprints",
  "credit_table",
  "fingerprint_observations",
]
