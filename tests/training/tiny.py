"""The smallest run there is, built and compiled once for all tests."""

import functools

import jax
import jax.numpy as jnp

from graphgpo_jax.training import environment_experiment, loop, settings

TASKS = 2
ROLLOUTS = 3
HORIZON = 6


def make_config(**changes):
  """The config; dotted keys are written with two underscores."""
  config = settings.default_config()
  config.num_updates = 3
  config.tensorboard = False
  config.environment.update(
    {"tier": 1, "num_receptacles": 2, "num_objects": 1, "horizon": HORIZON}
  )
  config.panel.size = 4
  config.policy.num_layers = 1
  config.policy.width = 8
  config.policy.num_heads = 2
  config.rollout.tasks_per_update = TASKS
  config.rollout.rollouts_per_task = ROLLOUTS
  config.loss.num_minibatches = 2
  config.loss.chunk_size = 8
  config.update_from_flattened_dict(
    {name.replace("__", "."): value for name, value in changes.items()}
  )
  return config


@functools.cache
def experiment():
  """The experiment of the unchanged config."""
  return environment_experiment.Experiment(make_config())


def fresh_state(seed=0):
  """A state nobody has donated yet."""
  return loop.initial_state(experiment(), seed)


@functools.cache
def mixed_seed():
  """Seed of a batch that holds a success and a failure."""
  params = fresh_state().params
  for seed in range(50):
    rollouts, _ = experiment().collect(params, jax.random.key(seed))
    if 0 < rollouts.success.sum() < TASKS * ROLLOUTS:
      return seed
  raise AssertionError("no mixed batch in 50 draws")


def mixed_rollouts():
  """Parameters, and rollouts of theirs with a success and a failure."""
  params = fresh_state().params
  rollouts, _ = experiment().collect(params, jax.random.key(mixed_seed()))
  return params, rollouts


def run_all(state, seed, estimator="graphgpo"):
  """The states and metrics of the updates that are left."""
  return [
    # The state's buffers are taken over by the next update.
    (jax.device_get(state), metrics)
    for state, metrics in loop.iterate(
      experiment(), state, seed=seed, estimator=estimator
    )
  ]


@functools.cache
def learning_seed():
  """Seed of a run that learns from at least two of its updates."""
  for seed in range(50):
    run = run_all(fresh_state(seed), seed)
    if sum(not metrics["optimiser/skipped"] for _, metrics in run[1:]) >= 2:
      return seed
  raise AssertionError("no seed learns in 50 tries")


def uncommitted(state):
  """The same state, tied to no device.

  What is restored is tied to its device, and jit compiles for that anew: in a
  resumed process once as ever, but a second time where tests share programs.
  """
  return jax.tree.map(jnp.asarray, jax.device_get(state))


def without_times(metrics):
  """What must be equal between two runs of the same seed."""
  return {
    name: value
    for name, value in metrics.items()
    if not name.startswith("time/")
  }
