"""experiments.tunix_example as a user starts it: needs the extra."""

import pytest

from tests import binaries

_REASON = "google-tunix has an environment of its own: make test-all"
pytest.importorskip("tunix", reason=_REASON)

pytestmark = [pytest.mark.extra("tunix"), pytest.mark.slow]


def run(place, *arguments):
  return binaries.finish(binaries.start(place, "tunix_example", *arguments))


def test_an_update_prints_its_credit(tmp_path):
  status, output, errors = run(tmp_path, "--steps=1")
  assert status == 0, errors
  first, *lines = output.splitlines()
  assert first == "update 0"
  printed = dict(line.split() for line in lines)
  assert all(name.startswith("graphgpo/") for name in printed)
  values = {name: float(value) for name, value in printed.items()}
  assert values["graphgpo/states"] > 1
  assert values["graphgpo/turns"] > 1
  assert values["graphgpo/without_turns"] == 0
  assert 0 <= values["graphgpo/success_share"] <= 1


@pytest.mark.parametrize(
  "argument, words",
  [
    ("--steps=0", "steps"),
    ("--estimator=ppo", "unknown estimator"),
    ("unexpected", "unexpected arguments: unexpected"),
  ],
)
def test_bad_arguments_are_named(tmp_path, argument, words):
  status, output, errors = run(tmp_path, argument)
  assert status not in (0, None) and "Traceback" not in errors
  assert words in output + errors
  assert "update 0" not in output
