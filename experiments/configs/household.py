"""placeholder"""
from graphgpo_jax.training import settings
def get_config():
  c=settings.default_config()
  c.environment.tier=1
  c.num_updates=4
  return c
