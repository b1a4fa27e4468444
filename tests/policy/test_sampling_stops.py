import numpy as np
import pytest

from graphgpo_jax.policy.sampling import episode, options, stops


def recent(*tokens, width=8):
  """The last tokens of rows, as a sampler keeps them."""
  return np.array([[-1] * (width - len(row)) + row for row in tokens])


def test_table_and_matches():
  table = stops.stop_table([[7], [1, 2, 3], [2, 2]])
  assert table.shape == (8, 8)
  rows = recent([1, 2, 7], [1, 2, 3], [0, 2, 3], [2, 2], [7, 7, 1], [3], [])
  np.testing.assert_array_equal(
    stops.ends_with_stop(rows, table),
    [True, True, False, True, False, False, False],
  )


def test_tables_larger_than_the_least():
  long = list(range(10))
  table = stops.stop_table([long] + [[token] for token in range(20, 29)])
  assert table.shape == (16, 16)
  rows = recent([3, *long], long[1:], [28], [29], width=16)
  np.testing.assert_array_equal(
    stops.ends_with_stop(rows, table), [True, False, True, False]
  )


def test_nothing_stops_without_sequences():
  table = stops.stop_table([])
  assert not np.any(stops.ends_with_stop(recent([3], [], [0] * 8), table))


@pytest.mark.parametrize("sequences", [[[]], [[1], [2, -1]]])
def test_wrong_sequences_are_named(sequences):
  with pytest.raises(ValueError, match="stop sequence"):
    stops.stop_table(sequences)


PIECES = ["ab", "c\n", "\nd", "\n\n", "x"]


def decode(tokens):
  return "".join(PIECES[token] for token in tokens)


@pytest.mark.parametrize(
  ("tokens", "strings", "checked", "expected"),
  [
    ([0, 1, 2, 0], ["\n\n"], 0, 3),  # across a border, text going on
    ([0, 3, 4, 4], ["\n\n"], 0, 2),
    ([0, 4, 4, 3], ["\n\n", "xx"], 0, 3),  # whichever comes first
    ([0, 1, 2, 0], ["\n\n"], 2, 3),
    ([0, 1, 4, 4], ["\n\n"], 0, None),
    ([4, 4], ["xx"], 1, 2),
    ([0], [], 0, None),
    ([], ["x"], 0, None),
  ],
)
def test_first_token_that_completes_a_string(
  tokens, strings, checked, expected
):
  found = stops.find_stop_string(decode, tokens, strings, checked=checked)
  assert found == expected


@pytest.mark.parametrize(
  ("needed", "expected"),
  [(0, 64), (1, 64), (64, 64), (65, 128), (128, 128), (129, 256), (300, 512)],
)
def test_slot_buckets(needed, expected):
  assert episode.slot_bucket(needed, 64) == expected


@pytest.mark.parametrize(
  ("first", "second", "expected"),
  [
    ([], [1], 0),
    ([1, 2], [1, 2, 3], 2),
    ([1, 2, 3], [1, 2], 2),
    ([1, 5, 3], [1, 2, 3], 1),
    ([9], [1], 0),
  ],
)
def test_common_prefix(first, second, expected):
  assert episode.common_prefix(first, second) == expected


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("temperature", -0.1),
    ("temperature", float("nan")),
    ("top_k", -1),
    ("top_p", 0.0),
    ("top_p", 1.5),
    ("max_tokens", 0),
  ],
)
def test_option_errors_name_the_field(field, value):
  with pytest.raises(ValueError, match=field):
    options.SamplingOptions(**{field: value})
