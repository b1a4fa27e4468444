"""Visits of one task as training has them, in memories of one size."""

import functools

import jax
import numpy as np

from graphgpo_jax.credit import distances, estimators, memory, memory_graph
from tests.credit import random_groups

NUM_ENTRIES = 48
ROOM = 64
# Fingerprints that tie in either lane; that of a state stands in its row.
KEYS = np.stack([np.arange(32) % 3, np.arange(32) // 3], 1).astype(np.uint32)
HALF = {"omega": 0.5, "invalid_penalty": 0.25}


def keys_of(steps):
  """The fingerprints of both ends of each step."""
  return [
    KEYS[np.clip(ends, 0, len(KEYS) - 1)]
    for ends in (steps.source, steps.target)
  ]


def lay_out(group, **options):
  """Steps, and the fingerprints of their ends."""
  steps, _ = random_groups.lay_out(group, NUM_ENTRIES, **options)
  return steps, *keys_of(steps)


def visit(before, steps, source_key, target_key, *, fade=1.0, **options):
  """A visit as training has it: memory, union, distances, credit."""
  scores, scores_mask = estimators.frozen_scores(
    steps, invalid_penalty=HALF["invalid_penalty"]
  )
  after = memory.remember(
    before,
    steps,
    source_key,
    target_key,
    scores=scores,
    scores_mask=scores_mask,
    **options,
  )
  union = memory_graph.union_graph(
    after, steps, source_key, target_key, fade=fade, fade_after=1
  )
  credit, graph, distance = estimators.credit_group(
    union.steps,
    estimators.tigpo,
    max_nodes=union.known.shape[0],
    backup=memory_graph.with_stored_edges(
      union.stored, distances.edge_distances
    ),
    past_scores=before.scores,
    past_mask=before.scores_mask,
    **HALF,
  )
  return after, union, credit, graph, distance


@functools.cache
def jitted_visit(**options):
  return jax.jit(functools.partial(visit, **options))


@functools.cache
def jitted_remember(**options):
  return jax.jit(functools.partial(memory.remember, **options))


@functools.cache
def empty(room=ROOM):
  return memory.empty_memory(max_edges=room, max_scores=NUM_ENTRIES)


def sequence(seed, number=4, **options):
  """Groups of one task in small costs that add up exactly."""
  return [
    random_groups.random_group(100 * seed + at, kind="dyadic", **options)
    for at in range(number)
  ]
