"""Peak memory of the loss: logits all at once against a chunk at a time."""

from typing import Any

import jax
import jax.numpy as jnp

from experiments import bench_machine
from experiments.lm_bench import models, train
from experiments.lm_bench.options import Options
from graphgpo_jax import losses
from graphgpo_jax.policy import token_log_probs

GOAL_RATIO = 0.5
VOCABULARY = 49152


def _whole(hidden, table, targets):
  logits = jnp.matmul(hidden, table.T, preferred_element_type=jnp.float32)
  return losses.log_prob(logits, targets), losses.entropy(logits)


def measure(options: Options) -> dict[str, Any]:
  """Asks the compiler what value and gradient of a loss need.

  Nothing is run. The loss is the mean log-probability, the entropy a number
  beside it, gradients are of hidden states and of the table [V, D]. So it is
  without the transformer, whose activations are the same either way.

  Args:
    options: model (its width), rows, row_tokens and chunk.

  Returns:
    `peak_bytes` by form, table and gradients included, and `ratio`.
  """
  width = models.config_of(options.model).transformer.width
  shape = (options.rows, options.row_tokens)
  given = (
    jax.ShapeDtypeStruct((*shape, width), jnp.float32),
    jax.ShapeDtypeStruct((VOCABULARY, width), jnp.float32),
    jax.ShapeDtypeStruct(shape, jnp.int32),
  )

  def chunked(hidden, table, targets):
    return token_log_probs.token_log_probs(
      hidden, table, targets, chunk=options.chunk
    )

  def peak(function):
    def loss(hidden, table, targets):
      log_prob, entropy = function(hidden, table, targets)
      return jnp.mean(log_prob), jnp.mean(entropy)

    gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    return train.peak_bytes(jax.jit(gradient).lower(*given).compile())

  forms = {"unchunked": peak(_whole), "chunked": peak(chunked)}
  return {
    "batch": f"{shape[0]} x {shape[1]}",
    "vocabulary": VOCABULARY,
    "width": width,
    "chunk": options.chunk,
    "peak_bytes": forms,
    "ratio": forms["chunked"] / forms["unchunked"],
  }


def table(found: dict[str, Any]) -> str:
  """Bytes of both and their ratio."""
  forms = found["peak_bytes"]
  header = f"loss of {found['batch']}, vocabulary {found['vocabulary']}"
  rows = [[header, "peak, MiB", "ratio", "goal"]]
  rows.append(["unchunked", f"{forms['unchunked'] / 2**20:,.0f}", "1.00", "-"])
  rows.append(
    [
      f"chunks of {found['chunk']}",
      f"{forms['chunked'] / 2**20:,.0f}",
      f"{found['ratio']:.2f}",
      f"<= {GOAL_RATIO}",
    ]
  )
  return bench_machine.table(rows)
