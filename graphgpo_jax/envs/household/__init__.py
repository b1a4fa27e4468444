"""Household chores, ALFWorld in miniature: symbolic, on device, sparse."""

from graphgpo_jax.envs.household.env import Household as Household
from graphgpo_jax.envs.household.expert import expert_actions as expert_actions
from graphgpo_jax.envs.household.types import State as State
from graphgpo_jax.envs.household.types import Task as Task
