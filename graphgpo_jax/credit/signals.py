"""What a step is worth before it is compared with others: step signals."""

import chex
import jax
import jax.numpy as jnp


def graph_return(
  distance: chex.Array,
  next_distance: chex.Array,
  cost: chex.Array,
  *,
  omega: float,
  success_reward: float = 10.0,
  add_step_cost: bool = False,
  normalize_distance: bool = False,
) -> chex.Array:
  """Return of a step that ends at a known distance from success.

  The paper's form (`add_step_cost=True`):

    R = success_reward * omega ** (next_distance + cost)                (Eq. 4)

  The authors' recipe (the default) leaves the cost out, which under unit costs
  is a constant factor, and with `normalize_distance` measures the step alone:

    R = success_reward * omega ** next_distance
    R = success_reward * omega ** (next_distance - distance + cost)

  In the recipe, where every cost is 1, the last exponent reads + 1. It is how
  much longer the way through this step is than the shortest: at least 0.

  Args:
    distance: float32 [E], finite distance of each step's source to SUCCESS.
    next_distance: float32 [E], the same of its target, in cost units.
    cost: float32 [E], cost of the step itself, in cost units.
    omega: distance discount in (0, 1).
    success_reward: reward of a successful rollout, in reward units.
    add_step_cost: the paper's exponent instead of the recipe's.
    normalize_distance: the recipe's step-wise form; it has the cost in it, so
      `add_step_cost` changes nothing then.

  Returns:
    float32 [E], reward units. No gradient flows through it.

  Reference: arXiv 2605.26684, Eq. 4, and its authors' recipe.
  """
  chex.assert_rank([distance, next_distance, cost], 1)
  chex.assert_equal_shape([distance, next_distance, cost])
  exponent = next_distance
  if normalize_distance:
    # Below 0 only by rounding, or where a limit has cut the graph.
    exponent = jnp.maximum(exponent - distance + cost, 0.0)
  elif add_step_cost:
    exponent = exponent + cost
  value = success_reward * jnp.power(jnp.float32(omega), exponent)
  return jax.lax.stop_gradient(value.astype(jnp.float32))


def nearest_of_source(
  next_distance: chex.Array,
  source: chex.Array,
  mask: chex.Array,
  *,
  max_nodes: int,
) -> chex.Array:
  """Least next distance among the steps that leave the same state.

  Subtracting it from the exponent makes the signal free of scale: the best
  step of a state is worth omega^0 however far away success is, so epsilon in
  the normaliser no longer swallows distant states.

  Args:
    next_distance: float32 [E], cost units.
    source: int32 [E], node of each step's source.
    mask: bool [E], True where there is a step with a node.
    max_nodes: N, static number of segments.

  Returns:
    float32 [E], cost units; 0 in padding.
  """
  chex.assert_equal_shape([next_distance, source, mask])
  segment = jnp.where(mask, source, max_nodes)
  nearest = jax.ops.segment_min(
    jnp.where(mask, next_distance, jnp.inf), segment, max_nodes + 1
  )
  return jax.lax.stop_gradient(jnp.where(mask, nearest[segment], 0.0))


def discounted_return(
  reward: chex.Array,
  last: chex.Array,
  mask: chex.Array,
  *,
  discount: float = 0.95,
) -> chex.Array:
  """Discounted return-to-go along each rollout.

  G_t = r_t + discount * G_{t+1}, and G_t = r_t at a rollout's last step; by
  doubling, so its depth is the logarithm of the steps.

  Args:
    reward: float32 [E], reward units; rollouts contiguous, in order of time.
    last: bool [E], True at each rollout's last step.
    mask: bool [E], True where there is a step.
    discount: reward discount in [0, 1].

  Returns:
    float32 [E], reward units; 0 in padding. No gradient flows through it.

  Reference: arXiv 2505.10978 (GiGPO), the step return.
  """
  chex.assert_rank([reward, last, mask], 1)
  chex.assert_equal_shape([reward, last, mask])
  keep = jnp.where(mask & ~last, jnp.float32(discount), 0.0)
  total = jnp.where(mask, reward, 0.0).astype(jnp.float32)
  # Doubling, not `lax.associative_scan`, whose rounding depends on where a step
  # stands: equal rollouts must get equal returns to the last bit, or epsilon
  # turns the difference into an advantage.
  reach = 1
  while reach < reward.shape[0]:
    beyond = jnp.zeros((reach,), jnp.float32)
    total = total + keep * jnp.concatenate([total[reach:], beyond])
    keep = keep * jnp.concatenate([keep[reach:], beyond])
    reach *= 2
  return jax.lax.stop_gradient(jnp.where(mask, total, 0.0))


def invalid_action_penalty(
  action_valid: chex.Array,
  success: chex.Array,
  mask: chex.Array,
  *,
  invalid_penalty: float,
  only_with_success: bool = False,
) -> chex.Array:
  """Penalty of each step whose action was not admissible.

  Args:
    action_valid: bool [E].
    success: bool [E], success of each step's rollout.
    mask: bool [E], True where there is a step.
    invalid_penalty: what an invalid action costs, in reward units.
    only_with_success: leave the penalty out of a group without any success.
      There it is the only difference between steps, so that normalising it
      gives it unit size and drives training to zero success.

  Returns:
    float32 [E], reward units, at least 0.
  """
  chex.assert_equal_shape([action_valid, success, mask])
  penalty = invalid_penalty * (mask & ~action_valid).astype(jnp.float32)
  if only_with_success:
    penalty = penalty * jnp.any(mask & success).astype(jnp.float32)
  return penalty


def difference(here: chex.Array, there: chex.Array) -> chex.Array:
  """What a step adds to the worth of the state: Phi(s') - Phi(s).

  Args:
    here: float32 [E], worth of each step's source.
    there: float32 [E], worth of its target, in the same unit.

  Returns:
    float32 [E], in that unit. No gradient flows through it.
  """
  chex.assert_equal_shape([here, there])
  return jax.lax.stop_gradient(there - here)


def log_difference(
  here: chex.Array, there: chex.Array, *, floor: chex.Numeric = 0.01
) -> chex.Array:
  """By what factor a step raises the worth of the state, as a logarithm.

  log max(Phi(s'), floor) - log max(Phi(s), floor)

  Args:
    here: float32 [E], worth of each step's source, at least 0.
    there: float32 [E], worth of its target, in the same unit.
    floor: worth below which states are not told apart, above 0.

  Returns:
    float32 [E], in nats. No gradient flows through it.

  Reference: arXiv 2609.35084 (GraphHCA).
  """
  chex.assert_equal_shape([here, there])
  return jax.lax.stop_gradient(
    jnp.log(jnp.maximum(there, floor)) - jnp.log(jnp.maximum(here, floor))
  )


def td_error(
  reward: chex.Array,
  here: chex.Array,
  there: chex.Array,
  mask: chex.Array,
  *,
  discount: chex.Numeric,
  rounding: float = 2e-6,
) -> chex.Array:
  """One-step temporal-difference error.

  delta = r + discount * V(s') - V(s)

  Args:
    reward: float32 [E], reward units.
    here: float32 [E], V of each step's source.
    there: float32 [E], V of its target; 0 where nothing comes after.
    mask: bool [E], True where there is a step.
    discount: reward discount in [0, 1].
    rounding: an error smaller than this share of its terms is float32's
      rounding and exactly 0, so that no normaliser makes a signal of it.

  Returns:
    float32 [E], reward units; 0 in padding. No gradient flows through it.
  """
  chex.assert_equal_shape([reward, here, there, mask])
  following = discount * there
  error = reward + following - here
  size = jnp.abs(reward) + jnp.abs(following) + jnp.abs(here)
  told = mask & (jnp.abs(error) > rounding * size)
  return jax.lax.stop_gradient(jnp.where(told, error, 0.0))


def generalized_advantage(
  error: chex.Array,
  last: chex.Array,
  mask: chex.Array,
  *,
  discount: chex.Numeric = 0.95,
  gae_lambda: chex.Numeric = 0.95,
) -> chex.Array:
  """Generalised advantage estimate along each rollout.

  A_t = sum_k (discount * gae_lambda)^k delta_{t+k}, to the rollout's end

  Args:
    error: float32 [E], `td_error` of each step.
    last: bool [E], True at each rollout's last step.
    mask: bool [E], True where there is a step.
    discount: reward discount in [0, 1].
    gae_lambda: in [0, 1]: 0 takes the step's own error, 1 all that follow.

  Returns:
    float32 [E], reward units; 0 in padding. No gradient flows through it.

  Reference: arXiv 1506.02438.
  """
  return discounted_return(error, last, mask, discount=discount * gae_lambda)
