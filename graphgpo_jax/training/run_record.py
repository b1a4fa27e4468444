"""What a checkpoint tells of its run beside the arrays."""

import dataclasses
import hashlib
import json
from typing import Any

import jax

from graphgpo_jax.training import checksums


class DamagedRecordError(ValueError):
  """A record is not what was written."""


@dataclasses.dataclass(frozen=True)
class RunRecord:
  """Where a run stood when it was saved.

  Text worlds need no cursor into their data: the tasks of update k are drawn
  from the seed and k.

  Attributes:
    step: updates done.
    seconds: wall time of training so far, over all restarts.
    metrics_step: last step with a line in `metrics.jsonl`, or -1.
    metrics_bytes: length of that file up to the end of that line.
    failed_saves: checkpoints so far that could not be written.
    refused_in_a_row: updates without a finite gradient up to here.
    key: the run's random key, as `describe_key` tells it.
    score: `eval/success` at this step; None where the panel was not played.
  """

  step: int
  seconds: float = 0.0
  metrics_step: int = -1
  metrics_bytes: int = 0
  failed_saves: int = 0
  refused_in_a_row: int = 0
  key: str = ""
  score: float | None = None


def describe_key(key: Any) -> str:
  """A random key and the generator that it is for, as text."""
  data = jax.device_get(jax.random.key_data(key))
  return f"{jax.random.key_impl(key)}:{','.join(map(str, data.ravel()))}"


def to_json(record: RunRecord, tree: Any) -> dict[str, Any]:
  """A record and the checksums of what is saved with it, as JSON."""
  sums = checksums.tree_checksums(tree)
  leaves = {
    name: [str(leaf.dtype), list(leaf.shape), sums[name]]
    for name, leaf in checksums.by_path(tree).items()
  }
  content = {"run": dataclasses.asdict(record), "leaves": leaves}
  return {**content, "digest": _digest(content)}


def from_json(stored: Any) -> tuple[RunRecord, dict[str, list[Any]]] | None:
  """Reads what `to_json` gave.

  Returns:
    The record, and of every leaf type, shape and checksum, by name. None for a
    checkpoint of an older version, which has no record.

  Raises:
    DamagedRecordError: something in it was changed.
  """
  if not stored:
    return None
  try:
    content = {"run": stored["run"], "leaves": stored["leaves"]}
    if stored["digest"] != _digest(content):
      raise DamagedRecordError("the record does not match its digest")
    return RunRecord(**content["run"]), content["leaves"]
  except (TypeError, KeyError) as error:
    raise DamagedRecordError("the record is not complete") from error


def _digest(content: dict[str, Any]) -> str:
  text = json.dumps(content, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()
