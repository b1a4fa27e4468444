"""Estimators under several sets of options, each set by a name of its own."""

from graphgpo_jax.credit import distances, estimators

NO_ACTIONS = "no actions"


def has_actions(name):
  """Whether the configuration is given what its steps did."""
  return not name.endswith(NO_ACTIONS)


def credit_of_each(steps, configurations, *, max_nodes):
  """Credit of one group by every configuration: a dict by their names.

  Args:
    steps: Steps [E].
    configurations: (estimator's name, options) by name.
    max_nodes: N.
  """
  return {
    name: estimators.credit_group(
      steps if has_actions(name) else steps.replace(action=None),
      estimators.ESTIMATORS[estimator],
      max_nodes=max_nodes,
      backup=distances.edge_distances,
      **options,
    )[0]
    for name, (estimator, options) in configurations.items()
  }
