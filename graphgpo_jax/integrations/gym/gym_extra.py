"""Packages of the extra [gym], imported where they are used only."""

import functools

from graphgpo_jax import extras

require = functools.partial(extras.require, extra="gym")
