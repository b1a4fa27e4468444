"""Groups so small that their values are worked out by hand."""

from tests.credit import random_groups


def one_success_of_three(costs=(None, None, None), invalid=((), (), ())):
  """States 1, 2, 3: 1 -> 2 -> SUCCESS; 1 -> 3 -> 3; 1 -> 2.

  Args:
    costs: of the steps of each rollout; None is 1 each.
    invalid: steps of each rollout whose action was not valid.

  Returns:
    List of three rollouts of five steps together; the last two fail.
  """
  ways = (([1, 2], [2, 0]), ([1, 3], [3, 3]), ([1], [2]))
  return [
    random_groups.rollout(source, target, cost=cost, invalid=bad)
    for (source, target), cost, bad in zip(ways, costs, invalid, strict=True)
  ]


def one_success_at_costs():
  """The same; costs 1, 1, 2, 1 and 3, and the fourth action is not valid."""
  return one_success_of_three(
    costs=(None, [2.0, 1.0], [3.0]), invalid=((), [1], ())
  )


def success_repeated():
  """1 -> 2 -> SUCCESS twice and once more from 4; one rollout fails at 1."""
  return [
    random_groups.rollout([1, 2], [2, 0]),
    random_groups.rollout([1, 2], [2, 0]),
    random_groups.rollout([4, 1, 2], [1, 2, 0]),
    random_groups.rollout([1], [3]),
  ]
