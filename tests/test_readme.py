"""The README's own code runs and prints what the README says."""

import contextlib
import io
import pathlib
import re

import pytest

_ROOT = pathlib.Path(__file__).parent.parent
_README = (_ROOT / "README.md").read_text(encoding="utf-8")
# A python block, and the text block that shows its output where there is one.
_EXAMPLES = re.findall(
  r"```python\n(.*?)```(?:\n+It prints:\n+```text\n(.*?)```)?",
  _README,
  flags=re.DOTALL,
)


def _example(index):
  # What an example imports may be of an extra.
  marks = [
    pytest.mark.extra(extra)
    for extra, package in (
      ("text", "graphgpo_jax.envs.text"),
      ("gym", "import gymnasium"),
    )
    if package in _EXAMPLES[index][0]
  ]
  return pytest.param(index, marks=marks)


def test_has_examples():
  assert len(_EXAMPLES) >= 2
  assert any(printed for _, printed in _EXAMPLES)


@pytest.mark.parametrize(
  "index", [_example(index) for index in range(len(_EXAMPLES))]
)
def test_example_runs_and_prints_what_is_shown(index):
  code, printed = _EXAMPLES[index]
  output = io.StringIO()
  with contextlib.redirect_stdout(output):
    exec(compile(code, f"README example {index}", "exec"), {})
  if printed:
    assert output.getvalue().strip() == printed.strip()


def test_first_example_is_ten_lines():
  lines = [line for line in _EXAMPLES[0][0].splitlines() if line.strip()]
  assert len(lines) <= 12


def test_pictures_exist():
  pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", _README)
  assert pictures
  for picture in pictures:
    assert (_ROOT / picture).stat().st_size > 1000


def test_commands_name_files_that_exist():
  for path in re.findall(r"--config=(\S+\.py)", _README):
    assert (_ROOT / path).exists(), path
  targets = re.findall(r"^([\w-]+):", (_ROOT / "Makefile").read_text(), re.M)
  for target in re.findall(r"`make ([\w-]+)`", _README):
    assert target in targets
