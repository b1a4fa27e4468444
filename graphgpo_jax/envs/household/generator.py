"""Draws rooms and tasks, solvable by construction."""

import itertools
import math

import chex
import jax
import jax.numpy as jnp

from graphgpo_jax.credit.fingerprints import fingerprint
from graphgpo_jax.envs.household import vocabulary as words
from graphgpo_jax.envs.household.types import Task

# Classes of a draw: one is drawn only where those above it are empty.
_FORBIDDEN, _IMPLAUSIBLE, _POSSIBLE, _CERTAIN = range(4)


def _scores(noise: chex.Array, preference: chex.Array) -> chex.Array:
  """uint32, random within a class of preference, ordered between classes.

  Integers, since Gumbel noise goes through a logarithm whose last bit depends
  on the machine: a panel of tasks has to be the same everywhere.
  """
  preference = jnp.asarray(preference).astype(jnp.uint32)
  return (preference << 30) | (noise >> 2)


def _draw(noise: chex.Array, preference: chex.Array) -> chex.Array:
  """int32 [...], index of the last axis, uniform over its highest class."""
  return jnp.argmax(_scores(noise, preference), axis=-1).astype(jnp.int32)


def _below(noise: chex.Array, bound: int) -> chex.Array:
  """int32, uniform in [0, bound) up to a bias of bound / 2**32."""
  return (noise % jnp.uint32(bound)).astype(jnp.int32)


def _noise(key: chex.PRNGKey, *shapes: tuple[int, ...]) -> list[chex.Array]:
  """uint32 arrays of these shapes, cut from one draw.

  The compiler unrolls every draw: one for all compiles several times faster
  than nine.
  """
  sizes = [math.prod(shape) for shape in shapes]
  cuts = list(itertools.accumulate(sizes))
  bits = jax.random.bits(key, (cuts[-1],), jnp.uint32)
  return [
    part.reshape(shape)
    for part, shape in zip(jnp.split(bits, cuts[:-1]), shapes, strict=True)
  ]


def _draw_room(
  noise: chex.Array, noise_of_order: chex.Array, required: chex.Array
) -> chex.Array:
  """int32 [R], receptacle types drawn from the stock, in random order.

  Args:
    noise: uint32 [stock].
    noise_of_order: uint32 [R].
    required: bool [receptacle types], types the room has for certain.
  """
  stock = jnp.asarray(words.STOCK)
  first_copy = jnp.concatenate([jnp.ones((1,), bool), stock[1:] != stock[:-1]])
  score = _scores(
    noise, jnp.where(first_copy & required[stock], _CERTAIN, _POSSIBLE)
  )
  # Complements, because argsort puts the smallest first.
  chosen = jnp.argsort(~score)[: noise_of_order.shape[0]]
  return stock[chosen][jnp.argsort(noise_of_order)]


def generate_task(
  key: chex.PRNGKey,
  *,
  tier: int,
  num_receptacles: int,
  num_objects: int,
) -> Task:
  """Draws one task, from either side of the training/evaluation split.

  Solvable by construction: the room has a receptacle of the goal's type, the
  fixtures of its tier, and as many objects of the goal's type as the task
  needs. No object of the goal's type starts in a receptacle of the goal's
  type, so that the goal never holds at the start.

  Args:
    key: randomness.
    tier: tasks are of the first `tier` types, with equal chances.
    num_receptacles: R, at least 2 + the fixtures of the tier.
    num_objects: O, at least 2 for pick two.

  Returns:
    the task.
  """
  places = (words.NUM_RECEPTACLE_TYPES,)
  noise = _noise(
    key,
    (),
    (words.NUM_OBJECT_TYPES,),
    places,
    places,
    words.STOCK.shape,
    (num_receptacles,),
    (num_objects,),
    (num_objects,),
    (num_objects, num_receptacles),
  )
  task_type = _below(noise[0], tier)
  goal_object = _draw(noise[1], jnp.asarray(words.GOAL_OBJECTS)[task_type])
  homes = jnp.asarray(words.PLAUSIBLE)[goal_object]
  ends = jnp.asarray(words.GOAL_RECEPTACLES)[task_type]
  # The lamp is the one end that need not be a place for the object.
  ends &= homes | (task_type == words.LOOK)
  goal_receptacle = _draw(noise[2], ends)
  types = jnp.arange(words.NUM_RECEPTACLE_TYPES)
  home = _draw(noise[3], homes & (types != goal_receptacle))

  required = (types == goal_receptacle) | (types == home)
  for fixture in words.FIXTURES[: tier - 1]:
    required |= types == fixture
  receptacle_types = _draw_room(noise[4], noise[5], required)

  num_goal_objects = jnp.where(task_type == words.PICK_TWO, 2, 1)
  object_types = jnp.where(
    jnp.arange(num_objects) < num_goal_objects,
    goal_object,
    _below(noise[6], words.NUM_OBJECT_TYPES),
  )[jnp.argsort(noise[7])]
  plausible = jnp.asarray(words.PLAUSIBLE)[
    object_types[:, None], receptacle_types
  ]
  solved = (object_types == goal_object)[:, None] & (
    receptacle_types == goal_receptacle
  )
  preference = jnp.where(plausible, _POSSIBLE, _IMPLAUSIBLE)
  preference = jnp.where(solved, _FORBIDDEN, preference)
  return Task(
    task_type=task_type,
    goal_object=goal_object,
    goal_receptacle=goal_receptacle,
    receptacle_types=receptacle_types,
    object_types=object_types,
    locations=_draw(noise[8], preference),
  )


def task_fingerprint(task: Task) -> chex.Array:
  """uint32 [2], equal exactly for equal tasks of one size."""
  scalars = jnp.stack([task.task_type, task.goal_object, task.goal_receptacle])
  return fingerprint(
    jnp.concatenate(
      [scalars, task.receptacle_types, task.object_types, task.locations]
    )
  )
