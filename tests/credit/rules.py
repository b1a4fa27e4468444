"""What must hold for any function of a group, whatever it computes.

`function` takes one group; `groups` is the tuple of its arguments with a
leading axis [8]; `tolerances` are those of `transforms.assert_same`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from tests.credit import random_groups, transforms


def assert_same_under(transform, function, groups, expected, **tolerances):
  """Run in the way of that name it equals `transforms.reference`."""
  found = transforms.TRANSFORMS[transform](function)(*groups)
  transforms.assert_same(found, expected, **tolerances)


def assert_same_as_jitted(variant, function, groups, **tolerances):
  """A variant of chex gives for the first group what jit gives."""
  one = jax.tree.map(lambda leaf: leaf[0], groups)
  transforms.assert_same(
    variant(function)(*one), jax.jit(function)(*one), **tolerances
  )


def assert_no_gradient(function, *values):
  """Nothing that `function(*values)` returns has a slope in any value."""

  def total(*values):
    return sum(
      jnp.sum(leaf)
      for leaf in jax.tree.leaves(function(*values))
      if jnp.issubdtype(leaf.dtype, jnp.floating)
    )

  slopes = jax.jit(jax.grad(total, argnums=tuple(range(len(values)))))(*values)
  assert not any(slope.any() for slope in slopes)


def with_corners(steps):
  """Steps [B, E] whose last groups give way to the corner groups.

  Returns:
    As many groups as before, so that nothing is compiled anew, and the place
    of the group that has no valid step.
  """
  corners, names = random_groups.corner_steps(steps.mask.shape[1])
  if steps.action is not None:
    action = np.where(corners.mask, 1, -5).astype(np.int32)
    corners = corners.replace(action=action)
  kept = len(steps.mask) - len(names)
  replaced = jax.tree.map(
    lambda leaf, corner: np.concatenate([leaf[:kept], corner]), steps, corners
  )
  return replaced, kept + names.index("nothing valid")


def assert_padding_gets_nothing(run, steps):
  """Finite with the corner groups among `steps`, and 0 wherever no step is."""
  steps, nothing_valid = with_corners(steps)
  for leaf in jax.tree.leaves(run(steps)):
    assert np.all(np.isfinite(leaf))
    assert not leaf[~steps.mask].any()
    assert not leaf[nothing_valid].any()


def relaid(groups, lay_out, *, num_nodes):
  """The groups with other node ids, rollout orders and padding.

  Args:
    groups: list of B lists of rollouts.
    lay_out: `(group, *, order, rng) -> Steps, places`.
    num_nodes: N.

  Returns:
    Steps [B, E], the places of each group, and its numbering of nodes.
  """
  rng = np.random.default_rng(0)
  laid_out, numberings = [], []
  for group in groups:
    numberings.append(np.append(0, 1 + rng.permutation(num_nodes - 1)))
    laid_out.append(
      lay_out(
        random_groups.renumber(group, numberings[-1]),
        order=rng.permutation(len(group)),
        rng=rng,
      )
    )
  steps, places = zip(*laid_out, strict=True)
  return random_groups.stack(steps), places, numberings


def assert_independent_of_layout(
  run, groups, expected, lay_out, *, num_nodes, **tolerances
):
  """A step gets the same wherever it stands, and padding gets nothing.

  Args:
    run: from Steps [B, E] to a tree of arrays [B, E].
    groups: list of B lists of rollouts.
    expected: what `run` gives for the groups laid out without gaps.
    lay_out: `(group, *, order, rng) -> Steps, places`.
    num_nodes: N.
    **tolerances: of `numpy.testing.assert_allclose`.
  """
  steps, places, _ = relaid(groups, lay_out, num_nodes=num_nodes)
  places = [np.concatenate(place) for place in places]
  group = np.repeat(np.arange(len(places)), [len(place) for place in places])
  number = np.concatenate([np.arange(len(place)) for place in places])
  found = jax.tree.leaves_with_path(run(steps))
  for (path, leaf), before in zip(
    found, jax.tree.leaves(expected), strict=True
  ):
    np.testing.assert_allclose(
      leaf[group, np.concatenate(places)],
      before[group, number],
      err_msg=jax.tree_util.keystr(path),
      **tolerances,
    )
    assert not leaf[~steps.mask].any()
