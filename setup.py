"""What setup.cfg cannot say of a build; everything else stands there."""

import pathlib
import re

import setuptools

_HERE = pathlib.Path(__file__).parent


def _packages() -> list[str]:
  """The library, and experiments/ as a package of it (experiments/__init__)."""
  library = setuptools.find_packages(
    str(_HERE), include=["graphgpo_jax", "graphgpo_jax.*"]
  )
  binaries = setuptools.find_packages(
    str(_HERE), include=["experiments", "experiments.*"]
  )
  return [*library, *(f"graphgpo_jax.{name}" for name in binaries)]


def _long_description() -> str:
  """The README as an index can show it: it has none of the project's files.

  Pictures are left out and links within the project become plain words.
  """
  text = (_HERE / "README.md").read_text(encoding="utf-8")
  inside = r"\]\((?!https?://|#)[^)]*\)"
  text = re.sub(rf"!\[[^\]]*{inside}\n*", "", text)
  return re.sub(rf"\[([^\]]*){inside}", r"\1", text)


setuptools.setup(
  packages=_packages(),
  package_dir={"graphgpo_jax.experiments": "experiments"},
  long_description=_long_description(),
  long_description_content_type="text/markdown",
)
