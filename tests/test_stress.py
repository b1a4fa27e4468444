"""The stress report: perturbations, agreement, tables and picture."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from experiments.stress_report import groups as groups_lib
from graphgpo_jax import tables
from graphgpo_jax.credit import distances, estimators
from graphgpo_jax.credit import graph as graph_lib
from graphgpo_jax.credit import rollouts as merging
from graphgpo_jax.report import stress, stress_picture
from tests.credit import random_groups

NUM_NODES = 9


# Perturbations.


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_drawn_share_is_exact(share):
  candidates = np.random.default_rng(0).random(200) < 0.6
  drawn = jax.jit(stress.draw_share)(
    jax.random.key(1), jnp.asarray(candidates), share=share
  )
  assert drawn.sum() == round(share * candidates.sum())
  assert not (drawn & ~candidates).any()
  other = jax.jit(stress.draw_share)(
    jax.random.key(2), jnp.asarray(candidates), share=share
  )
  assert (drawn == other).all() == (share in (0.0, 1.0))


def hidden_oracle(group, places, hidden):
  """Pieces of rollouts, in plain Python."""
  pieces = []
  for one, place in zip(group, places, strict=True):
    piece = []
    for step, entry in enumerate(place):
      if not hidden[entry]:
        piece.append((int(entry), step))
      if hidden[entry] or step == len(place) - 1:
        if piece:
          reaches = piece[-1][1] == len(place) - 1
          pieces.append((one, piece, bool(one["success"][0] and reaches)))
        piece = []
  return pieces


def hidden_cases(number=40):
  rng = np.random.default_rng(0)
  for seed in range(number):
    group = random_groups.random_group(seed, kind="dyadic")
    steps, places = random_groups.lay_out(group, 48, rng=rng)
    hidden = rng.random(48) < rng.choice([0.0, 0.3, 0.7, 1.0])
    yield group, steps, places, hidden


def test_hidden_steps_leave_chained_pieces():
  hide = jax.jit(stress.hide_steps)
  for group, steps, places, hidden in hidden_cases():
    found = hide(steps, jnp.asarray(hidden))
    np.testing.assert_array_equal(found.mask, steps.mask & ~hidden)
    last, success = np.zeros(48, bool), np.zeros(48, bool)
    for _, piece, won in hidden_oracle(group, places, hidden):
      entries = [entry for entry, _ in piece]
      last[entries[-1]] = True
      success[entries] = won
    np.testing.assert_array_equal(found.last, last)
    np.testing.assert_array_equal(found.success, success)
    seen = np.asarray(found.mask)
    for name in ("source", "target", "cost", "reward", "episode_return"):
      np.testing.assert_array_equal(
        np.asarray(found[name])[seen], steps[name][seen], err_msg=name
      )
    assert (np.asarray(found.source)[~seen] == graph_lib.NO_NODE).all()
    # Only ends that are still there lead to SUCCESS.
    at_sink = seen & (np.asarray(found.target) == graph_lib.SUCCESS)
    np.testing.assert_array_equal(at_sink, last & success)


def test_tables_take_a_log_with_hidden_steps():
  """The pieces as a table give what the steps give."""
  credit = jax.jit(
    functools.partial(estimators.credit_group, max_nodes=NUM_NODES)
  )
  for group, steps, places, hidden in hidden_cases(12):
    pieces = hidden_oracle(group, places, hidden)
    if not pieces:
      continue
    found, _, _ = credit(stress.hide_steps(steps, jnp.asarray(hidden)))
    rows = [
      (number, entry, step, one, won)
      for number, (one, piece, won) in enumerate(pieces)
      for entry, step in piece
    ]
    table = {
      "task": [0] * len(rows),
      "trajectory": [row[0] for row in rows],
      "t": [row[2] for row in rows],
      "observation": [int(row[3]["source"][row[2]]) for row in rows],
      "next_observation": [int(row[3]["target"][row[2]]) for row in rows],
      "success": [row[4] for row in rows],
    }
    for name in ("reward", "episode_return", "cost", "action_valid"):
      table[name] = [row[3][name][row[2]].item() for row in rows]
    expected = tables.assign_credit(table)
    entries = [row[1] for row in rows]
    for name in ("distance", "next_distance", "advantage"):
      np.testing.assert_allclose(
        np.asarray(found[name])[entries], expected[name], rtol=1e-5, atol=1e-5
      )


def visits(seed=0, number=60, states=12):
  """Keys of visits, some of them padding; state k has the key (k, 7)."""
  rng = np.random.default_rng(seed)
  place = rng.integers(0, states, number)
  place[:states] = np.arange(states)
  visited = rng.random(number) < 0.8
  visited[:states] = True
  keys = np.stack([place, np.full(number, 7)], axis=1).astype(np.uint32)
  return place, jnp.asarray(keys), jnp.asarray(visited)


def classes(keys, visited):
  """Which visits share a key: a set of sets."""
  found = {}
  for index in np.flatnonzero(visited):
    found.setdefault(tuple(np.asarray(keys[index]).tolist()), []).append(
      int(index)
    )
  return {tuple(members) for members in found.values()}


@pytest.mark.parametrize("perturb", [stress.alias_keys, stress.split_keys])
def test_share_zero_changes_nothing(perturb):
  _, keys, visited = visits()
  found = jax.jit(perturb)(jax.random.key(0), keys, visited, share=0.0)
  assert found.dtype == jnp.uint32 and found.shape == keys.shape
  assert classes(found, visited) == classes(keys, visited)


@pytest.mark.parametrize(
  ("share", "moved"), [(0.1, 1), (0.25, 3), (0.5, 6), (1.0, 11)]
)
def test_aliased_states_take_the_key_of_one_that_keeps_its_own(share, moved):
  place, keys, visited = visits()
  found = jax.jit(stress.alias_keys)(
    jax.random.key(3), keys, visited, share=share
  )
  merged = {}
  for index in np.flatnonzero(visited):
    key = tuple(np.asarray(found[index]).tolist())
    merged.setdefault(int(place[index]), set()).add(key)
  # All visits of a state still have one key, and so many states are gone.
  assert all(len(given) == 1 for given in merged.values())
  assert len(set.union(*merged.values())) == 12 - moved


def test_aliasing_needs_two_states():
  _, keys, visited = visits(states=1)
  alias = jax.jit(stress.alias_keys)
  found = alias(jax.random.key(0), keys, visited, share=1.0)
  assert classes(found, visited) == classes(keys, visited)
  nothing = jnp.zeros_like(visited)
  found = alias(jax.random.key(0), keys, nothing, share=1.0)
  assert found.shape == keys.shape


@pytest.mark.parametrize(("share", "chosen"), [(0.25, 3), (1.0, 12)])
def test_split_states_get_keys_of_their_own(share, chosen):
  place, keys, visited = visits(number=400)
  found = jax.jit(stress.split_keys, static_argnames="copies")(
    jax.random.key(3), keys, visited, share=share, copies=3
  )
  given, owner = {}, {}
  for index in np.flatnonzero(visited):
    key = tuple(np.asarray(found[index]).tolist())
    given.setdefault(int(place[index]), set()).add(key)
    owner.setdefault(key, set()).add(int(place[index]))
  assert all(len(places) == 1 for places in owner.values())
  sizes = [len(keys_of) for keys_of in given.values()]
  # 30 visits each: all three copies are met.
  assert sorted(sizes) == [1] * (12 - chosen) + [3] * chosen


def test_visited_states_are_those_of_the_merged_graph():
  mask = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 0], [1, 0, 0]], bool)
  success = np.array([True, False, False, True])
  np.testing.assert_array_equal(
    stress.visited_states(jnp.asarray(mask), jnp.asarray(success)),
    [[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]],
  )
  keys = np.arange(32, dtype=np.uint32).reshape(4, 4, 2)
  merged = jax.jit(merging.merge_rollouts)(
    keys, jnp.zeros((4, 3)), success, mask, mask
  )
  assert merged.num_nodes == 1 + 3 + 3 + 1


def test_node_distances_put_them_in_their_places():
  put = jax.jit(functools.partial(stress.node_distances, max_nodes=NUM_NODES))

  @jax.jit
  def solve(steps):
    graph = graph_lib.build_graph(steps, max_nodes=NUM_NODES)
    return graph.node_mask, distances.edge_distances(graph)

  for seed in range(10):
    steps, _ = random_groups.lay_out(
      random_groups.random_group(seed), 48, rng=np.random.default_rng(seed)
    )
    node_mask, distance = map(np.array, solve(steps))
    distance[~node_mask] = np.inf
    inside = np.asarray(steps.mask)
    source = np.where(inside, distance[np.where(inside, steps.source, 0)], 5.0)
    # That of the state behind a success is not looked at.
    target = np.where(
      inside & (steps.target > 0),
      distance[np.where(inside, steps.target, 0)],
      9.0,
    )
    found = put(steps, source, target)
    np.testing.assert_array_equal(found, distance)


# Agreement.


def plain_ranks(values):
  """Ranks from 1, ties sharing their mean."""
  ordered = sorted(values)
  return [
    ordered.index(value) + (ordered.count(value) + 1) / 2 for value in values
  ]


@pytest.mark.parametrize("seed", range(5))
def test_agreement_equals_numpy(seed):
  rng = np.random.default_rng(seed)
  reference = rng.choice([-2.0, -1.0, 0.0, 0.5, 3.0], 80)
  estimate = np.where(rng.random(80) < 0.6, reference, rng.integers(-2, 3, 80))
  found = stress.agreement(estimate, reference)
  assert found.steps == 80
  assert found.pearson == pytest.approx(
    np.corrcoef(estimate, reference)[0, 1], abs=1e-12
  )
  assert found.spearman == pytest.approx(
    np.corrcoef(plain_ranks(estimate), plain_ranks(reference))[0, 1], abs=1e-12
  )
  assert found.spearman == pytest.approx(
    stats.spearmanr(estimate, reference).statistic
  )
  both = [
    (e, r)
    for e, r in zip(estimate, reference, strict=True)
    if e != 0 and r != 0
  ]
  assert found.nonzero_steps == len(both)
  assert found.sign_flips == pytest.approx(
    sum(e * r < 0 for e, r in both) / len(both)
  )
  assert found.silenced == pytest.approx(
    sum((estimate == 0) & (reference != 0)) / sum(reference != 0)
  )


def test_agreement_at_the_edges():
  same = stress.agreement(np.array([1.0, -1, 0]), np.array([1.0, -1, 0]))
  assert same.pearson == pytest.approx(1) and same.spearman == pytest.approx(1)
  assert (same.sign_flips, same.silenced) == (0.0, 0.0)
  turned = stress.agreement(np.array([-2.0, 1, 0]), np.array([2.0, -1, 0]))
  assert turned.pearson == pytest.approx(-1) and turned.sign_flips == 1.0
  flat = stress.agreement(np.zeros(3), np.array([1.0, 2, -1]))
  assert flat.pearson is None and flat.spearman is None
  assert (flat.sign_flips, flat.nonzero_steps, flat.silenced) == (None, 0, 1.0)
  tiny = stress.agreement(np.array([1e-9, 1.0]), np.array([-1.0, 1.0]))
  assert (tiny.sign_flips, tiny.silenced) == (0.0, 0.5)
  nothing = stress.agreement(np.zeros(0), np.zeros(0))
  assert nothing.steps == 0 and nothing.silenced is None


def test_agreement_refuses():
  with pytest.raises(ValueError, match=r"one length, got shapes \(2,\) and"):
    stress.agreement(np.zeros(2), np.zeros(3))
  with pytest.raises(ValueError, match="reference: expected finite"):
    stress.agreement(np.zeros(1), np.array([np.nan]))


def test_who_uses_distances():
  assert stress.uses_distance(estimators.graphgpo)
  assert not stress.uses_distance(estimators.gigpo)
  assert not stress.uses_distance(estimators.grpo)
  assert not stress.uses_distance(
    functools.partial(estimators.graphgpo, step_weight=0.0)
  )


# The report.


def made_results():
  rows = []
  for name, base in (("graphgpo", 0.9), ("grpo", 0.5)):
    for condition in groups_lib.make_conditions(group_size=8):
      rows.append(
        {
          "estimator": name,
          "reference": "large_group",
          "label": condition.label,
          "kind": condition.kind,
          "value": condition.value,
          "pearson": base - condition.value / 20,
          "spearman": base,
          "sign_flips": None if name == "grpo" else 0.125,
          "silenced": 0.0,
        }
      )
  return rows


def test_tables_hold_every_number():
  text = stress_picture.tables(made_results())
  assert text.count("## ") == len(stress_picture.NUMBERS)
  header = next(line for line in text.splitlines() if "estimator" in line)
  assert [cell.strip() for cell in header.split("|")[1:-1]] == [
    "estimator", "unperturbed",
    *(f"{kind} {share}" for kind in ("hidden", "aliased", "split")
      for share in (0.1, 0.3, 0.5)),
    "group of 4", "group of 2",
  ]  # fmt: skip
  first = next(line for line in text.splitlines() if "graphgpo" in line)
  assert "0.900" in first and "0.875" in first
  assert "| -" in text


def test_picture_is_drawn(tmp_path):
  pytest.importorskip("matplotlib", reason="extra [viz] is not installed")
  path = tmp_path / "stress.png"
  draw = functools.partial(
    stress_picture.draw_stress, path=path, group_size=8, title="a room"
  )
  numbers = ("pearson", "sign_flips")
  draw(made_results(), shown=[("large_group", name) for name in numbers])
  assert path.read_bytes().startswith(b"\x89PNG")
  assert path.stat().st_size > 10_000
  with pytest.raises(ValueError, match="no result has the reference 'none'"):
    draw(made_results(), shown=[("none", "pearson")])
