import jax
import jax.numpy as jnp
import numpy as np

from graphgpo_jax.policy import heads

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def test_action_head_ignores_padding():
  hidden = jnp.asarray(RNG.normal(size=(2, 5, 8)), jnp.float32)
  mask = jnp.array([[True, True, False, False, True], [False] * 5])
  head = heads.ActionHead(3)
  params = head.init(KEY, hidden, mask)
  logits = head.apply(params, jnp.where(mask[..., None], hidden, jnp.nan), mask)
  kernel = params["params"]["logits"]["kernel"]
  expected = hidden[0, jnp.array([0, 1, 4])].mean(0) @ kernel
  np.testing.assert_allclose(logits[0], expected, atol=1e-6)
  np.testing.assert_array_equal(logits[1], 0.0)


def test_pointer_head_is_one_map_for_all_tokens():
  hidden = jnp.asarray(RNG.normal(size=(2, 5, 8)), jnp.float32)
  head = heads.PointerHead()
  params = head.init(KEY, hidden)
  logits = head.apply(params, hidden)
  assert logits.shape == (2, 5)
  np.testing.assert_allclose(
    head.apply(params, hidden[:, ::-1]), logits[:, ::-1], atol=1e-7
  )


def test_vocabulary_head_tied_and_untied():
  hidden = jnp.asarray(RNG.normal(size=(2, 5, 8)), jnp.float32)
  table = jnp.asarray(RNG.normal(size=(11, 8)), jnp.float32)
  head = heads.VocabularyHead(11)
  assert not head.init(KEY, hidden, table)
  np.testing.assert_allclose(
    head.apply({}, hidden, table),
    np.einsum("blw,vw->blv", hidden, table),
    atol=1e-5,
  )
  params = head.init(KEY, hidden)
  logits = head.apply(params, hidden.astype(jnp.bfloat16))
  assert logits.shape == (2, 5, 11)
  assert logits.dtype == jnp.float32
  assert np.abs(logits).max() < 0.1
