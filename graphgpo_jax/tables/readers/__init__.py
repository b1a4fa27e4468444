"""Logs as other frameworks write them, to credit and back to files.

`verl_agent` names the keys of verl-agent's batches and turns a dump of them
into a table for `assign_credit`; `dump_credit` goes from file to file.
`verl_agent_dump` stands alone: it is the code that writes such a dump, to be
copied to where verl-agent trains.
"""

from graphgpo_jax.tables.readers.dump_credit import credit_dump
from graphgpo_jax.tables.readers.verl_agent import read_steps

__all__ = ["credit_dump", "read_steps"]
