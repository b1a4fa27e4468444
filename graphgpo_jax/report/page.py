"""One HTML page with everything in it: no request leaves it."""

import html
import importlib.resources
import json
import re
from collections.abc import Mapping
from typing import Any

_STYLES = ("page.css",)
_SCRIPTS = (
  "elements.js",
  "colours.js",
  "charts.js",
  "geometry.js",
  "canvas.js",
  "steps.js",
  "graphs.js",
  "main.js",
)
_PLACE = re.compile(r"\{\{(title|style|script|data)\}\}")


def render(data: Mapping[str, Any], *, title: str) -> str:
  """The page.

  Texts of the data are never HTML: they stand in a JSON block that cannot end
  before its end, and the script puts them in as text.

  Args:
    data: as `page_data.gather` gives it.
    title: of the page.

  Returns:
    HTML.
  """
  parts = {
    "title": html.escape(title),
    "style": "\n".join(map(_file, _STYLES)),
    "script": "\n".join(map(_file, _SCRIPTS)),
    "data": escaped_json(data),
  }
  return _PLACE.sub(lambda match: parts[match[1]], _file("page.html"))


def escaped_json(value: Any) -> str:
  """JSON that holds no character with which HTML could begin or end.

  Args:
    value: JSON values.

  Returns:
    JSON, all in ASCII; <, > and & are escapes.
  """
  text = json.dumps(value, separators=(",", ":"), allow_nan=False)
  for character in "<>&":
    text = text.replace(character, f"\\u{ord(character):04x}")
  return text


def _file(name: str) -> str:
  place = importlib.resources.files("graphgpo_jax.report") / "page" / name
  return place.read_text(encoding="utf-8")
