"""Options of the estimators as a table's credit takes them."""

import numpy as np
import pytest

from graphgpo_jax.tables import table_options


@pytest.mark.parametrize(
  ("estimator", "option", "values", "expected"),
  [
    ("hgpo", "history_length", [-1, 1.0, True, "2", None], "a whole number"),
    ("hgpo", "history_alpha", [float("nan"), float("inf"), "1"], "a finite"),
    ("hgpo", "episode_base", [1, "yes", None], "True or False"),
    ("hgpo", "discount", [1.1, -0.1, True], "a number from 0 to 1"),
    ("hgpo", "weight_epsilon", [0.0, float("inf")], "a number above 0"),
    ("g2po", "fail_value", [float("inf"), None, 1e39], "a finite number"),
    ("pgpo", "alpha", [-1.0, 10**400], "a number of at least 0"),
    ("pgpo", "potential_discount", [2.0], "a number from 0 to 1"),
    ("gagpo", "gae_lambda", [1.5, float("nan")], "a number from 0 to 1"),
    ("graphhca", "power", [0.5, float("nan")], "a number of at least 1, or"),
    ("graphhca", "floor", [0.0, -1.0], "a number above 0"),
    ("graphhca", "use_costs", [0], "True or False"),
    ("graphhca", "resolution", [-1e-9], "a number of at least 0"),
    ("crbc", "floor", [float("inf")], "a number above 0"),
  ],
)
def test_option_of_the_family_out_of_range(estimator, option, values, expected):
  for value in values:
    with pytest.raises(ValueError) as caught:
      table_options.read_options(estimator, {option: value})
    assert f"option {option!r}: expected {expected}" in str(caught.value)


def test_power_may_be_infinite():
  options = table_options.read_options("graphhca", {"power": float("inf")})
  assert options.traced["power"] == float("inf")


def test_naming_a_default_changes_nothing():
  plain = table_options.read_options("hgpo", {})
  named = table_options.read_options(
    "hgpo", {"history_length": np.int64(2), "episode_base": False}
  )
  assert plain == named
  assert "ddof" not in plain.traced  # Its two normalisers differ in it.
  assert table_options.read_options("g2po", {}).traced["ddof"] == 1.0
