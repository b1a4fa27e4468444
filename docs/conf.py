"""Sphinx: `make docs` builds these pages, with nothing from the network."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import pictures

import graphgpo_jax

project = "graphgpo_jax"
author = "The graphgpo_jax developers"
copyright = author
version = release = graphgpo_jax.__version__

extensions = [
  "myst_parser",
  "sphinx.ext.autodoc",
  "sphinx.ext.autosummary",
  "sphinx.ext.doctest",
  "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
# Docstrings put names into single backticks.
default_role = "code"

autosummary_generate = True
autodoc_member_order = "bysource"
# It has an environment of its own.
autodoc_mock_imports = ["tunix"]
# What the dataclasses' decorator adds.
autodoc_default_options = {"exclude-members": "from_tuple, replace, to_tuple"}
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# An example in a docstring sees the names of its module, as in the tests.
doctest_global_setup = """
from graphgpo_jax.tables import state_keys
from graphgpo_jax.tables.near_equal import merge_near_equal
"""

myst_heading_anchors = 3

html_theme = "furo"
html_title = f"graphgpo_jax {release}"
html_copy_source = False
html_show_sourcelink = False


def _indent(line):
  return len(line) - len(line.lstrip())


def _as_it_is_laid_out(app, what, name, obj, options, lines):
  """Keeps what a docstring lays out by indentation; | is no markup there.

  A paragraph that is indented more than the one before it is an equation, a
  table or a command: a literal block. Examples with >>> stay, to be run.
  """
  del app, what, name, obj, options
  found: list[str] = []
  outer = None  # Indentation of the paragraph before a literal block.
  for line in lines:
    text = line.strip()
    if outer is not None and text and _indent(line) <= outer:
      outer = None
    if outer is None and text:
      before = next((old for old in reversed(found) if old.strip()), None)
      apart = bool(found) and not found[-1].strip()
      if (
        apart
        and before is not None
        and _indent(line) > _indent(before)
        and not text.startswith(">>>")
      ):
        outer = _indent(before)
        found += [" " * outer + "::", ""]
      else:
        pieces = re.split(r"(`[^`]*`)", line)
        pieces[::2] = [piece.replace("|", r"\|") for piece in pieces[::2]]
        line = "".join(pieces)
    found.append(line)
  lines[:] = found


def setup(app):
  """Draws the pictures, and reads docstrings as they are meant."""
  pictures.draw(pathlib.Path(app.srcdir) / "_made")
  # Before napoleon, whose priority is 500.
  app.connect("autodoc-process-docstring", _as_it_is_laid_out, priority=400)
