"""Household, easiest tier: take the object, bring it where it belongs.

python -m experiments.train --config=experiments/configs/household.py \
  --workdir=runs/household

Wall time: about half a minute for the 50 updates on two CPU cores, and half a
minute of compilation before.
To expect: success on the panel passes 0.9 at update 10 to 24 with graphgpo, 19
to 37 with gigpo, 18 to 48 with grpo (15 seeds).
"""

from graphgpo_jax.training import settings


def get_config():
  """The run's config."""
  config = settings.default_config()
  config.num_updates = 50
  config.environment.tier = 1
  config.environment.num_receptacles = 4
  config.environment.num_objects = 3
  # An inadmissible action changes nothing but the clock, as in ALFWorld.
  config.policy.mask_actions = False
  config.policy.width = 32
  # Episodes get short as they get good: small chunks keep a CPU from working
  # on rollouts and steps that are not there. On an accelerator, set both high.
  config.rollout.chunk_size = 32
  config.loss.chunk_size = 24
  # All devices there are; on a CPU two, of a core each.
  config.mesh.data = 0
  config.mesh.cpu_devices = 2
  config.estimator_options.graphgpo.omega = 0.5
  config.estimator_options.tigpo.omega = 0.5
  config.loss.num_minibatches = 16
  config.loss.entropy_coefficient = 0.02
  config.optimizer.learning_rate = 2e-3
  return config
