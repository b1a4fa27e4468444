import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphgpo_jax.policy import rope

# Llama 3.1 8B, and a YaRN of four times the context.
LLAMA3 = rope.RopeScaling("llama3", 8.0, 8192)
YARN = rope.RopeScaling("yarn", 4.0, 4096)


def plain(head_dim, base):
  return [base ** (-2 * i / head_dim) for i in range(head_dim // 2)]


def llama3(head_dim, base, scaling):
  result = []
  context = scaling.original_max_position
  for frequency in plain(head_dim, base):
    wavelength = 2 * math.pi / frequency
    if wavelength < context / scaling.high_freq_factor:
      result.append(frequency)
    elif wavelength > context / scaling.low_freq_factor:
      result.append(frequency / scaling.factor)
    else:
      smooth = context / wavelength - scaling.low_freq_factor
      smooth /= scaling.high_freq_factor - scaling.low_freq_factor
      result.append(
        (1 - smooth) * frequency / scaling.factor + smooth * frequency
      )
  return result


def yarn(head_dim, base, scaling):
  def correction(turns):
    ratio = scaling.original_max_position / (turns * 2 * math.pi)
    return head_dim * math.log(ratio) / (2 * math.log(base))

  low = max(math.floor(correction(scaling.beta_fast)), 0)
  high = min(math.ceil(correction(scaling.beta_slow)), head_dim - 1)
  result = []
  for i, frequency in enumerate(plain(head_dim, base)):
    ramp = min(max((i - low) / (high - low), 0), 1)
    result.append(frequency / scaling.factor * ramp + frequency * (1 - ramp))
  return result


@pytest.mark.parametrize(("head_dim", "base"), [(64, 1e5), (128, 5e5)])
def test_frequencies_match_the_formulas(head_dim, base):
  linear = rope.RopeScaling("linear", 2.5)
  for scaling, expected in (
    (None, plain(head_dim, base)),
    (linear, np.array(plain(head_dim, base)) / 2.5),
    (LLAMA3, llama3(head_dim, base, LLAMA3)),
    (YARN, yarn(head_dim, base, YARN)),
  ):
    result = rope.inverse_frequencies(head_dim, base=base, scaling=scaling)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize("scaling", [LLAMA3, YARN])
def test_high_frequencies_stay_and_low_ones_are_divided(scaling):
  before = rope.inverse_frequencies(128, base=5e5)
  after = rope.inverse_frequencies(128, base=5e5, scaling=scaling)
  ratio = before / after
  assert ratio[0] == 1.0
  np.testing.assert_allclose(ratio[-1], scaling.factor, rtol=1e-6)
  assert np.all(np.diff(ratio) >= 0)
  assert np.any((ratio > 1.01) & (ratio < scaling.factor - 0.01))


def test_yarn_scales_rotated_heads():
  heads = np.random.default_rng(0).normal(size=(1, 4, 2, 8)).astype("float32")
  positions = np.array([[0, 1, 5, 9]], np.int32)
  frequency = rope.inverse_frequencies(8, base=100.0, scaling=YARN)
  angle = positions[..., None, None] * frequency
  pairs = (heads[..., :4] + 1j * heads[..., 4:]) * np.exp(1j * angle)
  expected = np.concatenate([pairs.real, pairs.imag], -1)
  rotated = jax.jit(
    lambda x: rope.rotate_by_position(x, positions, base=100.0, scaling=YARN)
  )(heads)
  np.testing.assert_allclose(
    rotated, expected * (0.1 * math.log(4) + 1), atol=1e-5
  )


def test_attention_factor_can_be_given():
  scaling = rope.RopeScaling("yarn", 4.0, 4096, attention_factor=1.5)
  assert scaling.resolved_attention_factor == 1.5
  assert LLAMA3.resolved_attention_factor == 1.0


def test_bfloat16_heads_rotate_in_float32():
  heads = jnp.ones((1, 1, 1, 4), jnp.bfloat16)
  position = jnp.full((1, 1), 1001, jnp.int32)  # not a bfloat16 number
  rotated = rope.rotate_by_position(heads, position, base=10.0)
  assert rotated.dtype == jnp.bfloat16
  expected = math.cos(1001) - math.sin(1001)
  np.testing.assert_allclose(float(rotated[0, 0, 0, 0]), expected, rtol=1e-2)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"kind": "dynamic"}, "kind"),
    ({"factor": 0.5}, "factor"),
    ({"kind": "llama3"}, "original_max_position"),
    ({"kind": "yarn", "original_max_position": 0}, "original_max_position"),
    (
      {"kind": "llama3", "original_max_position": 8, "low_freq_factor": 4.0},
      "low_freq_factor",
    ),
    (
      {"kind": "yarn", "original_max_position": 8, "beta_slow": 64.0},
      "beta_slow",
    ),
  ],
)
def test_scaling_errors_name_the_field(changes, message):
  with pytest.raises(ValueError, match=message):
    rope.RopeScaling(**{"kind": "linear", "factor": 2.0, **changes})
