"""Arrow arrays as columns: the same as Python's values, and no strings made."""

import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from graphgpo_jax import tables
from graphgpo_jax.tables import arrow_columns
from tests import oracle

pytestmark = pytest.mark.extra("logs")

fingerprints = tables.fingerprint_observations


@pytest.fixture(scope="module")
def pyarrow():
  import pyarrow

  return pyarrow


def forms(pyarrow, values):
  """Arrays of the same texts, each laid out in another way."""
  padded = ["before", *values, None]
  for kind in (pyarrow.string(), pyarrow.large_string()):
    whole = pyarrow.array(values, kind)
    yield whole
    yield pyarrow.array(padded, kind)[1:-1]
    yield whole.dictionary_encode()
    yield pyarrow.chunked_array([whole[:2], whole[2:]], kind)
    yield pyarrow.chunked_array([whole])
  yield pyarrow.array(values, pyarrow.string_view())


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(
  values=st.lists(
    st.none() | st.text(st.characters(codec="utf-8"), max_size=4), max_size=8
  )
)
def test_text_has_the_fingerprints_of_str(pyarrow, values):
  expected = fingerprints(values)
  for array in forms(pyarrow, values):
    np.testing.assert_array_equal(fingerprints(array), expected)


@pytest.mark.parametrize(
  "values",
  [
    [1, -1, 2**63 - 1],
    [1, None, 2**63 - 1],
    [0.5, float("nan"), -0.0],
    [0.5, None],
    [True, False],
    [True, None],
    [b"a", b""],
    [["a", "b"], [], None],
    [{"x": 1, "y": ["z"]}, {"x": 2, "y": []}],
    [None, None],
  ],
)
def test_other_kinds_have_the_fingerprints_of_their_values(pyarrow, values):
  array = pyarrow.array(values)
  np.testing.assert_array_equal(fingerprints(array), fingerprints(values))
  chunks = pyarrow.chunked_array([array[:1], array[1:]])
  np.testing.assert_array_equal(fingerprints(chunks), fingerprints(values))


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(
  values=st.lists(
    st.tuples(*[st.none() | st.sampled_from(["", "a", "ab"])] * 2), max_size=8
  )
)
def test_text_columns_read_like_lists(pyarrow, values):
  one, two = ([pair[side] for pair in values] for side in (0, 1))
  order = np.arange(len(values))[::-1]
  for array in forms(pyarrow, one):
    column = arrow_columns.from_arrow(array)
    assert list(column) == one
    assert len(column) == len(one)
    assert [column[row] for row in range(len(one))] == one
    assert list(column[1:]) == one[1:]
    assert list(column.take(order)) == one[::-1]
    codes, texts = column.distinct()
    named = [*texts, None]
    assert [named[code] for code in codes] == one
    other = arrow_columns.from_arrow(pyarrow.array(two, pyarrow.string()))
    assert column.differs(other).tolist() == [a != b for a, b in values]


@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_table_of_arrow_columns(pyarrow, chunks, shuffled):
  table = oracle.random_table(5)
  if shuffled:
    order = np.random.default_rng(0).permutation(len(table["t"]))
    table = oracle.reorder(table, order.tolist())
  expected = tables.assign_credit(table)
  for encode in (False, True):
    columns = {}
    for name, values in table.items():
      array = pyarrow.array(values)
      if encode and pyarrow.types.is_string(array.type):
        array = array.dictionary_encode()
      size = -(-len(array) // chunks)
      columns[name] = pyarrow.chunked_array(
        [array[start : start + size] for start in range(0, len(array), size)]
      )
    found = tables.assign_credit(columns)
    for name, column in expected.items():
      np.testing.assert_array_equal(found[name], column)


@pytest.mark.parametrize(
  ("name", "value", "parts"),
  [
    ("task", None, ["column 'task', row 4", "an id"]),
    ("trajectory", None, ["column 'trajectory', row 4", "an id"]),
    ("t", None, ["column 't', row 4", "an integer, got None"]),
    ("cost", None, ["column 'cost', row 4", "finite number, got None"]),
    ("observation", "elsewhere", ["rows 3 and 4 do not chain", "elsewhere"]),
    ("observation", None, ["rows 3 and 4 do not chain", "None"]),
  ],
)
def test_bad_values_are_named(pyarrow, name, value, parts):
  table = {
    "task": ["a"] * 6,
    "trajectory": [0] * 6,
    "t": list(range(6)),
    "observation": list("abcdef"),
    "next_observation": list("bcdefg"),
    "success": [False] * 6,
    "cost": [1.0] * 6,
  }
  table[name][4] = value
  with pytest.raises(ValueError) as caught:
    tables.assign_credit(
      {name: pyarrow.array(column) for name, column in table.items()}
    )
  for part in parts:
    assert part in str(caught.value)


def test_text_where_numbers_belong(pyarrow):
  table = oracle.random_table(5)
  table["cost"] = pyarrow.array(["1"] * len(table["t"]))
  with pytest.raises(ValueError, match="column 'cost', row 0: .*'1'"):
    tables.assign_credit(table)


def test_missing_pyarrow_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "pyarrow", None)
  with pytest.raises(ImportError, match=r"pip install graphgpo-jax\[logs\]"):
    arrow_columns.require_pyarrow()
