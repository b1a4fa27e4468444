"""Colours of the page as colour-blind readers see them."""

import itertools
import pathlib
import re

import numpy as np
import pytest

from graphgpo_jax.report import page

_COLOURS = pathlib.Path(page.__file__).parent / "page" / "colours.js"
# CIE76 distances in Lab. One of 2.3 is just seen where two patches touch; lines
# lie apart and are thin. Their dashes tell them apart as well.
LINES_APART = 10.0
ENDS_APART = 80.0
END_FROM_MIDDLE = 35.0
# Of a line against the page, as WCAG 2 asks of graphics.
LEAST_CONTRAST = 3.0

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
VISIONS = {
  "all cones": np.eye(3),
  "protanopia": [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  "deuteranopia": [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.011820, 0.042940, 0.968881],
  ],
  "tritanopia": [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.303900],
  ],
}
# Linear sRGB to XYZ, and D65, its white.
TO_XYZ = np.array(
  [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
  ]
)


def palette(theme):
  """Colours 0 to 255 by name, `lines` a list of them."""
  text = _COLOURS.read_text(encoding="utf-8")
  block = re.search(rf"^  {theme}: \{{\n(.*?)^  \}}", text, re.S | re.M)[1]
  found = {}
  for name, value in re.findall(r"^    (\w+): (.*),$", block, re.M):
    hexadecimal = [
      tuple(bytes.fromhex(one)) for one in re.findall(r'"#(\w{6})"', value)
    ]
    if value.startswith('"'):
      (found[name],) = hexadecimal
    else:
      found[name] = hexadecimal or tuple(map(int, re.findall(r"\d+", value)))
  return found


def linear(colour):
  part = np.asarray(colour) / 255
  return np.where(
    part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4
  )


def lab(colour, vision):
  seen = np.clip(np.asarray(VISIONS[vision]) @ linear(colour), 0, 1)
  share = (TO_XYZ @ seen) / TO_XYZ.sum(axis=1)
  x, y, z = np.where(
    share > (6 / 29) ** 3, np.cbrt(share), share / (3 * (6 / 29) ** 2) + 4 / 29
  )
  return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def apart(one, other, vision):
  return np.linalg.norm(lab(one, vision) - lab(other, vision))


def contrast(one, other):
  dark, light = sorted(TO_XYZ[1] @ linear(colour) for colour in (one, other))
  return (light + 0.05) / (dark + 0.05)


def test_the_measure():
  # Red and green of one lightness, which deuteranopes confuse.
  red, green = (200, 70, 60), (126, 126, 40)
  assert apart(red, green, "all cones") > 50
  assert apart(red, green, "deuteranopia") < 15
  np.testing.assert_allclose(
    lab((255, 0, 0), "all cones"), [53.2, 80.1, 67.2], atol=0.1
  )
  assert apart((0, 0, 0), (255, 255, 255), "tritanopia") == pytest.approx(
    100, abs=0.1
  )


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_stay_apart(theme, vision):
  colours = palette(theme)
  assert len(colours["lines"]) == 7
  below, middle, above = (colours[n] for n in ("below", "middle", "above"))
  assert apart(below, above, vision) >= ENDS_APART
  for end in (below, above):
    assert apart(end, middle, vision) >= END_FROM_MIDDLE
  for one, other in itertools.combinations(colours["lines"], 2):
    assert apart(one, other, vision) >= LINES_APART, (one, other)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_lines_stand_out_from_the_page(theme):
  colours = palette(theme)
  for one in (*colours["lines"], colours["below"], colours["above"]):
    assert contrast(one, colours["back"]) >= LEAST_CONTRAST, one
