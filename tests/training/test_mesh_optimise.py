"""The optimiser on a mesh, with a policy that compiles at once."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from graphgpo_jax.envs import types
from graphgpo_jax.policy import partition, partition_rules
from graphgpo_jax.rollouts import on_device
from graphgpo_jax.training import mesh as mesh_lib
from graphgpo_jax.training import optimise as optimise_lib
from graphgpo_jax.training import state as state_lib

# The last two: a single part of the batch, and one beside a cut width.
MESHES = [(8, 1, 1), (2, 4, 1), (2, 2, 2), (1, 1, 2), (1, 4, 2)]
SHAPE = (8, 3, 5)
FEATURES, WIDTH, INNER, ACTIONS = 6, 8, 12, 4
CHUNK = 5
RULES = partition_rules.ENVIRONMENT_POLICY
# After one step its trace is the gradient.
OPTIMIZER = optax.chain(
  optax.clip_by_global_norm(0.3), optax.sgd(0.5, momentum=0.9)
)


def apply_fn(params, observation):
  """A layer of the policies' own names."""
  hidden = params["embedding"]["table"][observation.tokens[..., 0, 0]]
  inner = jnp.tanh(hidden @ params["mlp"]["gate_up"]["kernel"])
  hidden = hidden + inner @ params["mlp"]["down"]["kernel"]
  logits = params["fixed"]["logits"]
  return hidden @ logits["kernel"] + logits["bias"]


def parameters():
  keys = jax.random.split(jax.random.key(0), 4)
  draw = jax.random.normal
  return {
    "embedding": {"table": draw(keys[0], (FEATURES, WIDTH))},
    "mlp": {
      "gate_up": {"kernel": 0.3 * draw(keys[1], (WIDTH, INNER))},
      "down": {"kernel": 0.3 * draw(keys[2], (INNER, WIDTH))},
    },
    "fixed": {
      "logits": {
        "kernel": 0.3 * draw(keys[3], (WIDTH, ACTIONS)),
        "bias": jnp.zeros(ACTIONS),
      }
    },
  }


def batch():
  """Rollouts of unequal length, and advantages."""
  random = np.random.default_rng(3)
  mask = np.arange(SHAPE[2]) < random.integers(0, 6, SHAPE[:2])[..., None]
  tokens = random.integers(0, FEATURES, SHAPE)[..., None, None]
  rollouts = on_device.Rollouts(
    observation=types.Observation(
      tokens=tokens.astype(np.int32),
      token_mask=np.ones((*SHAPE, 1), bool),
      action_mask=np.ones((*SHAPE, ACTIONS), bool),
    ),
    state_keys=np.zeros((*SHAPE[:2], SHAPE[2] + 1, 2), np.uint32),
    action=random.integers(0, ACTIONS, SHAPE).astype(np.int32),
    log_prob=random.uniform(-2.0, -1.0, SHAPE).astype(np.float32),
    reward=np.zeros(SHAPE, np.float32),
    action_valid=np.ones(SHAPE, bool),
    mask=mask,
    success=np.zeros(SHAPE[:2], bool),
    episode_return=np.zeros(SHAPE[:2], np.float32),
  )
  return rollouts, (random.normal(size=SHAPE) * mask).astype(np.float32)


def start():
  params = parameters()
  return state_lib.TrainState(
    params=params,
    opt_state=OPTIMIZER.init(params),
    reference_params=jax.tree.map(lambda leaf: leaf + 0.1, params),
    step=jnp.int32(0),
  )


def build(mesh):
  """The phase, jitted as an experiment does it."""
  optimise = optimise_lib.make_optimise(
    apply_fn,
    OPTIMIZER,
    num_epochs=2,
    num_minibatches=3,
    chunk_size=CHUNK,
    kl_coefficient=0.1,
    entropy_coefficient=0.05,
    mesh=mesh,
  )
  shardings = mesh_lib.state_shardings(mesh, start(), rules=RULES)
  return jax.jit(
    optimise,
    donate_argnums=0,
    out_shardings=None if mesh is None else (shardings, None),
  )


def copied(tree):
  """To NumPy; a view of a buffer would keep it from being given away."""
  return jax.tree.map(np.array, tree)


@functools.cache
def one_device():
  return run(None)[0]


def run(mesh):
  """State and metrics of two updates, and the states as they were placed."""
  optimise = build(mesh)
  rollouts, advantage = batch()
  state, keys = start(), jax.random.split(jax.random.key(1))
  if mesh is None:
    rollouts, advantage = jax.device_put((rollouts, advantage))
  else:
    shardings = mesh_lib.state_shardings(mesh, state, rules=RULES)
    state = jax.device_put(state, shardings)
    rollouts, advantage = partition.place_rows(mesh, (rollouts, advantage))
    keys = jax.device_put(keys, mesh_lib.replicated(mesh))
  first, second = keys
  found, states = [], [state]
  # Nothing comes from the host, and nothing changes its place unasked.
  with jax.transfer_guard("disallow"):
    for key in (first, second):
      state, metrics = optimise(state, rollouts, advantage, key)
      states.append(state)
      found.append((state, metrics))
      with jax.transfer_guard("allow"):
        found[-1] = copied(found[-1])
  assert optimise._cache_size() == 1
  return found, states


@pytest.mark.parametrize(
  "shape",
  [
    MESHES[0],
    pytest.param(MESHES[1], marks=pytest.mark.slow),
    MESHES[2],
    *(pytest.param(shape, marks=pytest.mark.slow) for shape in MESHES[3:]),
  ],
)
def test_updates_are_those_of_one_device(shape):
  mesh = partition.make_mesh(*shape)
  found, states = run(mesh)
  for (state, metrics), (expected, numbers) in zip(
    found, one_device(), strict=True
  ):
    chex.assert_trees_all_close(state, expected, atol=1e-5)
    chex.assert_trees_all_close(metrics, numbers, atol=1e-5)
  # Both the clip and the minibatches had something to do.
  assert numbers["loss/gradient_norm"] > 0.3
  moved = jax.tree.map(
    lambda new, old: np.abs(new - old).max(), expected.params, parameters()
  )
  assert min(jax.tree.leaves(moved)) > 0.01
  # Every buffer was given away, and the new ones lie where the old ones did.
  before, between, after = states
  given = (before.params, before.opt_state, before.reference_params)
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given))
  shardings = mesh_lib.state_shardings(mesh, after, rules=RULES)
  for state in (between, after):
    assert jax.tree.map(lambda leaf: leaf.sharding, state) == shardings


def test_a_state_lies_in_parts():
  mesh = partition.make_mesh(2, 2, 2)
  shardings = mesh_lib.state_shardings(mesh, start(), rules=RULES)
  state = jax.device_put(start(), shardings)
  for tree in (
    state.params,
    state.opt_state[1][0].trace,
    state.reference_params,
  ):
    for leaf, shape in (
      (tree["embedding"]["table"], (FEATURES, WIDTH // 2)),
      (tree["mlp"]["gate_up"]["kernel"], (WIDTH // 2, INNER // 2)),
      (tree["mlp"]["down"]["kernel"], (INNER // 2, WIDTH // 2)),
      (tree["fixed"]["logits"]["kernel"], (WIDTH // 2, ACTIONS)),
      (tree["fixed"]["logits"]["bias"], (ACTIONS,)),
    ):
      assert {shard.data.shape for shard in leaf.addressable_shards} == {shape}
  assert shardings.step == NamedSharding(mesh, PartitionSpec())


def test_tensor_divides_products():
  products = {}
  for shape in ((4, 2, 1), (2, 2, 2)):
    mesh = partition.make_mesh(*shape)
    shardings = mesh_lib.state_shardings(mesh, start(), rules=RULES)
    text = (
      build(mesh)
      .lower(
        jax.device_put(start(), shardings),
        *partition.place_rows(mesh, batch()),
        jax.random.key(0),
      )
      .compile()
      .as_text()
    )
    lines = [line for line in text.splitlines() if " dot(" in line]
    products[shape] = {line.split("= ")[1].split("{")[0] for line in lines}
  # A chunk of steps times the inner width, and the weights' gradient.
  assert {f"f32[{CHUNK},{INNER}]", f"f32[{WIDTH},{INNER}]"} <= products[4, 2, 1]
  divided = {f"f32[{CHUNK},{INNER // 2}]", f"f32[{WIDTH},{INNER // 2}]"}
  assert divided <= products[2, 2, 2]
  assert not products[2, 2, 2] & {f"f32[{CHUNK},{INNER}]"}
  assert not products[2, 2, 2] & {f"f32[{WIDTH},{INNER}]"}


def test_what_is_no_parameter_is_on_every_device():
  mesh = partition.make_mesh(2, 2, 2)
  state = start().replace(memory={"tasks": np.zeros((3, 5))})
  found = mesh_lib.state_shardings(mesh, state, rules=RULES)
  assert found.memory["tasks"].is_fully_replicated
  assert mesh_lib.state_shardings(None, state, rules=RULES) is None
