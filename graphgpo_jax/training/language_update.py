"""One optimiser step of a language model over rows of tokens.

Full fine-tuning and LoRA differ in the collection of variables that is
trained, "params" or "lora", and in nothing else: gradients are taken with
respect to that collection, the others are constants.
"""

from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from graphgpo_jax.policy import partition
from graphgpo_jax.rollouts import turns
from graphgpo_jax.training import guard, language_loss


@chex.dataclass(frozen=True)
class LanguageState:
  """A language model in training."""

  trained: Any  # {collection: tree} that the optimiser changes
  frozen: Any  # {collection: tree} that it does not, or {}
  opt_state: Any  # optax state of `trained`
  step: chex.Array  # int32 [], updates done

  @property
  def variables(self) -> dict[str, Any]:
    """All collections, as `model.apply` takes them."""
    return {**self.frozen, **self.trained}


def create_state(
  variables: Mapping[str, Any],
  optimizer: optax.GradientTransformation,
  *,
  train: str = "params",
) -> LanguageState:
  """State before the first update.

  Args:
    variables: the model's collections. Their buffers go to the first update
      and are gone after it: read them from the state from then on.
    optimizer: optax transformation.
    train: the collection to train: "params" for all parameters, "lora" for
      the adapters on top of frozen ones.

  Returns:
    LanguageState at step 0. Where the variables are on a mesh, all of it is,
    by the rules of `partition`: the optimiser's moments are divided as what
    they belong to.

  Raises:
    ValueError: there is no such collection, or with "params" there are
      adapters too, which would be left untrained; or `partition` has no rule
      for an array of the optimiser's.
  """
  if train not in variables:
    raise ValueError(
      f"train={train!r}: the variables' collections are {sorted(variables)}"
    )
  if train == "params" and "lora" in variables:
    raise ValueError(
      "train='params' with a collection 'lora': merge it into params, or "
      "train 'lora'"
    )
  trained = {train: variables[train]}
  mesh = partition.mesh_of(variables)
  init = optimizer.init
  if mesh is not None:
    # So that no moments of a whole model are made on one device.
    shapes = jax.eval_shape(init, trained)
    init = jax.jit(init, out_shardings=partition.shardings(mesh, shapes))
  state = LanguageState(
    trained=trained,
    frozen={name: tree for name, tree in variables.items() if name != train},
    opt_state=init(trained),
    step=jnp.int32(0),
  )
  return state if mesh is None else partition.place(mesh, state)


def make_update(
  log_probs: language_loss.LogProbFn,
  optimizer: optax.GradientTransformation,
  *,
  num_microbatches: int = 1,
  weigh: language_loss.Weigh = language_loss.token_mean_weights,
  mesh: jax.sharding.Mesh | None = None,
  loss: Callable[..., Any] = language_loss.rows_loss,
  **loss_options,
) -> Any:
  """Builds one optimiser step over a batch of rows, compiled.

  Args:
    log_probs: of `language_loss.make_log_probs`.
    optimizer: optax transformation.
    num_microbatches: parts of the batch whose activations exist one at a time;
      their gradients add up to the batch's.
    weigh: `(loss_mask, segment) -> weights`, the aggregation.
    mesh: of `partition.make_mesh`, where the state is on one: rows are divided
      over data x fsdp, and the state stays as `partition` divides it. It
      differs from one device in the order of sums alone.
    loss: of a part of the batch, positional arguments and results as those of
      `language_loss.rows_loss`.
    **loss_options: its keywords.

  Returns:
    `update(state, rows, trainer_log_prob=None, reference_log_prob=None) ->
    (state, metrics)`, under `jax.jit`; it takes over the buffers of `state`.
    The arrays are float32 [R, L], as `rows_loss` takes them, and R is a
    multiple of `num_microbatches`, on a mesh times data x fsdp; rows may come
    from the host or by `partition.place_rows`. Where all advantages are 0 the
    parameters and the optimiser stay as they were, and only `state.step` goes
    on.

  Raises:
    ValueError: `num_microbatches` is not positive, or, when called, does not
      divide R.
  """
  if num_microbatches < 1:
    raise ValueError(f"num_microbatches={num_microbatches} must be at least 1")

  def by_table(tree):
    """Gradients or a state, divided as the parameters are."""
    if mesh is None:
      return tree
    return jax.lax.with_sharding_constraint(
      tree, partition.shardings(mesh, tree)
    )

  def part_loss(trained, frozen, part):
    rows, *arrays = part
    log_prob, entropy = log_probs({**frozen, **trained}, rows)
    return loss(log_prob, entropy, rows, *arrays, **loss_options)

  def gradient(trained, frozen, part):
    part = jax.tree.map(partition.constrain_rows, part)
    gradients, metrics = jax.grad(part_loss, has_aux=True)(
      trained, frozen, part
    )
    return by_table(gradients), metrics

  def accumulate(trained, frozen, parts):
    """Gradients, float32, and metrics of parts [n, R / n, L]."""

    def add(total, part):
      gradients, metrics = gradient(trained, frozen, part)
      total_gradients, total_metrics = total
      gradients = jax.tree.map(
        lambda one, other: one + other.astype(jnp.float32),
        total_gradients,
        gradients,
      )
      metrics = language_loss.add_metrics(total_metrics, metrics)
      return (gradients, metrics), None

    first = jax.tree.map(lambda leaf: leaf[0], parts)
    shapes = jax.eval_shape(gradient, trained, frozen, first)
    # Every metric is a sum or a largest of magnitudes: 0 is neutral.
    start = jax.tree.map(
      lambda leaf: jnp.zeros(leaf.shape, jnp.float32), shapes
    )
    gradients, metrics = start
    return jax.lax.scan(add, (by_table(gradients), metrics), parts)[0]

  def step(state, rows, trainer_log_prob, reference_log_prob):
    _check_rows(rows.mask.shape[0], num_microbatches, mesh)
    weight = weigh(rows.loss_mask, rows.segment)
    share = language_loss.token_mean_weights(rows.loss_mask, rows.segment)
    batch = (rows, weight, share, trainer_log_prob, reference_log_prob)
    if num_microbatches == 1:
      gradients, metrics = gradient(state.trained, state.frozen, batch)
    else:
      parts = jax.tree.map(
        lambda leaf: leaf.reshape(num_microbatches, -1, *leaf.shape[1:]), batch
      )
      gradients, metrics = accumulate(state.trained, state.frozen, parts)
      gradients = jax.tree.map(
        lambda leaf, param: leaf.astype(param.dtype), gradients, state.trained
      )
    gradients = guard.poison_unless_finite(gradients, metrics)
    metrics["loss/gradient_norm"] = optax.tree.norm(gradients)

    def descend(trained, opt_state):
      updates, opt_state = optimizer.update(gradients, opt_state, trained)
      return optax.apply_updates(trained, updates), opt_state

    # Without an advantage momentum would still move, and so would a penalty.
    useful = jnp.any(rows.loss_mask & (rows.advantage != 0))
    trained, opt_state = jax.lax.cond(
      useful, descend, lambda *same: same, state.trained, state.opt_state
    )
    metrics["optimiser/skipped"] = 1.0 - useful.astype(jnp.float32)
    following = LanguageState(
      trained=trained,
      frozen=state.frozen,
      opt_state=opt_state,
      step=state.step + 1,
    )
    return by_table(following), metrics

  def update(
    state: LanguageState,
    rows: turns.TokenRows,
    trainer_log_prob: chex.Array | None = None,
    reference_log_prob: chex.Array | None = None,
  ) -> tuple[LanguageState, language_loss.Metrics]:
    with partition.within(mesh):
      return step(state, rows, trainer_log_prob, reference_log_prob)

  return jax.jit(update, donate_argnums=0)


def _check_rows(
  num_rows: int, num_microbatches: int, mesh: jax.sharding.Mesh | None
) -> None:
  parts = partition.num_row_parts(mesh)
  if num_rows % (num_microbatches * parts):
    times = "" if mesh is None else f" times data x fsdp = {parts}"
    raise ValueError(
      f"{num_rows} rows are no multiple of num_microbatches="
      f"{num_microbatches}{times}; pack_rows has rows_multiple_of"
    )
