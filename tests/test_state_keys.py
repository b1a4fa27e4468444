"""Fingerprints of observations: equal where the values are, on any path."""

import math
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from graphgpo_jax.tables import state_encoding, state_keys

fingerprints = state_keys.fingerprint_observations

DIFFERENT = [
  "a",
  "1",
  "",
  b"a",
  b"",
  1,
  1.0,
  True,
  False,
  0,
  0.0,
  None,
  -1,
  2**63,
  2**64 + 1,
  -(2**63) - 1,
  float("nan"),
  float("inf"),
  [],
  {},
  [[]],
  ["a", "b"],
  ["ab"],
  ["b", "a"],
  [["a"], "b"],
  ["a", ["b"]],
  {"a": 1},
  {"a": 1.0},
  {"a": [1]},
  [["a", 1]],
  np.arange(3),
  np.arange(3, dtype=np.int32),
  np.arange(3.0),
  np.arange(3).reshape(1, 3),
  np.asarray(1),
  np.asarray(["a"]),
  np.asarray(["a", None], object),
]

EQUAL = [
  [("a", "b"), ["a", "b"]],
  [{"a": 1, "b": [2]}, {"b": (2,), "a": 1}],
  [1, np.int8(1), np.uint64(1)],
  [0.5, np.float32(0.5), np.float64(0.5)],
  [True, np.bool_(True)],
  ["a", np.str_("a")],
  [b"a", bytearray(b"a"), memoryview(b"a")],
  [0.0, -0.0],
  [math.nan, -math.nan, np.float32("nan")],
  [{"x": -0.0}, {"x": 0.0}],
  [np.asarray([0.0, np.nan]), np.asarray([-0.0, -np.nan])],
  [np.arange(4).astype("<i4"), np.arange(4).astype(">i4")],
  [np.asfortranarray(np.arange(6).reshape(2, 3)), np.arange(6).reshape(2, 3)],
]


def lanes(value):
  return tuple(fingerprints([value])[0].tolist())


def test_shape_and_type():
  result = fingerprints(["a", "b", "a"])
  assert result.shape == (3, 2)
  assert result.dtype == np.uint32
  assert (result[0] == result[2]).all()
  assert (result[0] != result[1]).any()
  assert fingerprints([]).shape == (0, 2)


def test_different_values_differ():
  mixed = fingerprints(DIFFERENT)
  assert len({tuple(row) for row in mixed.tolist()}) == len(DIFFERENT)
  assert [lanes(value) for value in DIFFERENT] == [
    tuple(row) for row in mixed.tolist()
  ]
  state_keys.audit_fingerprints(DIFFERENT, mixed)


@pytest.mark.parametrize("values", EQUAL)
def test_equal_values_agree(values):
  assert len({lanes(value) for value in values}) == 1
  assert len({state_encoding.canonical_bytes(value) for value in values}) == 1


@pytest.mark.parametrize(
  "column",
  [
    ["a", "bc", "日本", ""],
    ["a", "cut \ud83d"],
    [b"a", b""],
    [0, 1, -1, 2**63 - 1, -(2**63)],
    [0.0, -0.5, math.nan, math.inf],
    [True, False],
  ],
)
def test_whole_columns_agree_with_mixed_ones(column):
  whole = fingerprints(column)
  mixed = fingerprints([*column, None, ["other"]])
  np.testing.assert_array_equal(whole, mixed[: len(column)])
  if not isinstance(column[0], bytes):
    np.testing.assert_array_equal(whole, fingerprints(np.asarray(column)))
  np.testing.assert_array_equal(whole, fingerprints(np.asarray(column, object)))


@pytest.mark.parametrize(
  "dtype", ["i1", "u2", "i4", "i8", "u8", "f4", "f8", "?", "U3", ">i4"]
)
def test_array_columns_agree_with_lists(dtype):
  column = np.asarray([0, 1, 1, 0, 1]).astype(dtype)
  np.testing.assert_array_equal(
    fingerprints(column), fingerprints(column.tolist())
  )
  table = np.asarray([[0, 1], [1, 0], [0, 1]]).astype(dtype)
  np.testing.assert_array_equal(fingerprints(table), fingerprints(list(table)))


def test_large_unsigned_integers_are_not_negative_ones():
  column = np.asarray([2**64 - 1], np.uint64)
  assert (fingerprints(column) == fingerprints([2**64 - 1])).all()
  assert (fingerprints(column) != fingerprints([-1])).any()


def test_integers_are_well_mixed():
  words = state_keys.pack_lanes(fingerprints(np.arange(100_000)))
  assert len(np.unique(words)) == len(words)
  bits = np.unpackbits(words.view(np.uint8).reshape(-1, 8), axis=1)
  assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.01
  flipped = words[:-1] ^ words[1:]
  share = np.unpackbits(flipped.view(np.uint8)).mean()
  assert abs(share - 0.5) < 0.01


def test_same_in_another_process():
  values = ["text", 3, {"b": (1.5, None), "a": b"x"}]
  code = (
    "from graphgpo_jax.tables import state_keys;"
    f"print(state_keys.fingerprint_observations({values!r}).tolist())"
  )
  found = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert found.stdout.strip() == str(fingerprints(values).tolist())


@pytest.mark.parametrize(
  ("value", "named"),
  [
    (object(), "object"),
    ({1, 2}, "set"),
    ([1, {"a": {2}}], "set"),
    (1j, "complex"),
    (np.datetime64("2026-01-01"), "date"),
    (np.zeros(2, complex), "complex128"),
  ],
)
def test_unsupported_types_are_named(value, named):
  with pytest.raises(TypeError, match=rf"row 2: .*{named}"):
    fingerprints(["a", "b", value])


@pytest.mark.skipif(
  np.dtype(np.longdouble).itemsize == 8, reason="no wider floats here"
)
def test_floats_with_padding_inside_are_refused():
  for value in (np.zeros(2, np.longdouble), np.longdouble(1)):
    with pytest.raises(TypeError, match="row 0: .*array of float"):
      fingerprints([value])


def test_endless_nesting_is_refused():
  endless: list = []
  endless.append(endless)
  with pytest.raises(TypeError, match="row 0: nested too deeply"):
    fingerprints([endless])


@pytest.mark.parametrize(
  ("observations", "twins"),
  [
    (["a", "b", "c"], (0, 2)),
    ([("a",), {"a": 1}, np.arange(2)], (1, 2)),
    ([1, 1.0], (0, 1)),
  ],
)
def test_audit_reports_forged_collisions(observations, twins):
  forged = fingerprints(observations).copy()
  forged[twins[1]] = forged[twins[0]]
  with pytest.raises(
    state_keys.FingerprintCollisionError,
    match=f"rows {twins[0]} and {twins[1]} hold different observations",
  ):
    state_keys.audit_fingerprints(observations, forged)


def test_audit_passes_what_is_right():
  observations = ["a", ["b"], "a", ("b",), None]
  lanes = fingerprints(observations)
  assert state_keys.audit_fingerprints(observations, lanes) is None


def test_audit_checks_its_argument():
  with pytest.raises(ValueError, match=r"fingerprints must be uint32 \[1, 2\]"):
    state_keys.audit_fingerprints(["a"], np.zeros((2, 2), np.uint32))


VALUES = st.recursive(
  st.none()
  | st.booleans()
  | st.integers()
  | st.floats()
  | st.text(max_size=3)
  | st.binary(max_size=3),
  lambda inner: (
    st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=2), inner, max_size=3)
  ),
  max_leaves=6,
)


def kind_and_value(value):
  """A form of the value that Python compares as the fingerprints should."""
  if isinstance(value, list):
    return ("list", tuple(map(kind_and_value, value)))
  if isinstance(value, dict):
    return (
      "dict",
      tuple(sorted((key, repr(kind_and_value(v))) for key, v in value.items())),
    )
  if isinstance(value, float):
    return ("float", "nan" if math.isnan(value) else value + 0.0)
  return (type(value).__name__, value)


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(st.lists(VALUES, max_size=6))
def test_equal_exactly_where_the_values_are(values):
  found = list(map(tuple, fingerprints(values).tolist()))
  expected = [repr(kind_and_value(value)) for value in values]
  for one, first in enumerate(found):
    for other, second in enumerate(found):
      assert (first == second) == (expected[one] == expected[other])
  backwards = fingerprints(values[::-1]).tolist()
  assert list(map(tuple, backwards)) == found[::-1]
