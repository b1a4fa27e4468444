"""Every loss under pmap, a batch on each device, against jit."""

import jax
import numpy as np
import pytest

from graphgpo_jax import losses

DEVICES, ROWS, LENGTH, ACTIONS = 8, 3, 5, 4


def arrays(*names):
  random = np.random.default_rng(0)
  shape = (DEVICES, ROWS, LENGTH)
  made = {
    "new": random.uniform(-2.0, -0.5, shape),
    "old": random.uniform(-2.0, -0.5, shape),
    "advantage": random.normal(size=shape),
    "logits": random.normal(size=(*shape, ACTIONS)),
  }
  made = {name: value.astype(np.float32) for name, value in made.items()}
  made["action"] = random.integers(0, ACTIONS, shape).astype(np.int32)
  made["mask"] = random.random(shape) < 0.6
  return [made[name] for name in names]


CASES = {
  losses.policy_ratio: ("new", "old"),
  losses.clipped_surrogate: ("new", "old", "advantage"),
  losses.is_clipped: ("new", "old", "advantage"),
  losses.kl_k1: ("new", "old"),
  losses.kl_k2: ("new", "old"),
  losses.kl_k3: ("new", "old"),
  losses.entropy: ("logits",),
  losses.log_prob: ("logits", "action"),
  losses.token_mean: ("new", "mask"),
  losses.sequence_mean_token_mean: ("new", "mask"),
  losses.sequence_mean_token_sum: ("new", "mask"),
}


@pytest.mark.parametrize("function", CASES, ids=lambda case: case.__name__)
def test_pmap_equals_jit(function):
  given = arrays(*CASES[function])
  found = np.asarray(jax.pmap(function)(*given))
  jitted = jax.jit(function)
  expected = np.stack(
    [
      np.asarray(jitted(*(array[device] for array in given)))
      for device in range(DEVICES)
    ]
  )
  assert found.shape == expected.shape
  assert np.unique(expected).size > 1
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
