"""A training step of all parameters against one of adapters."""

import statistics
from typing import Any

import jax
import numpy as np
import optax

from experiments import bench_machine
from experiments.lm_bench import models
from experiments.lm_bench.options import Options
from graphgpo_jax.rollouts import turns
from graphgpo_jax.training import language_loss, language_update

GOAL_RATIO = 0.7


def random_rows(
  vocabulary_size: int, rows: int, row_tokens: int
) -> turns.TokenRows:
  """Rows of random tokens without padding, loss on their latter half."""
  random = np.random.default_rng(0)
  half = row_tokens // 2
  episodes = []
  for _ in range(rows):
    tokens = random.integers(0, vocabulary_size, row_tokens)
    log_probs = -random.random(row_tokens - half)
    turn = turns.Turn(tokens[:half], tokens[half:], log_probs)
    episodes.append(turns.Episode((turn,)))
  made = turns.step_rows(episodes, random.normal(size=(rows, 1)))
  return jax.tree.map(jax.numpy.asarray, made.rows)


def compile_step(
  model: models.Model, rows: turns.TokenRows, *, lora: bool, chunk: int
) -> tuple[Any, Any]:
  """A compiled Adam step and the state it starts from.

  Args:
    model: without adapters.
    rows: the batch.
    lora: train adapters of rank 16 instead of all parameters.
    chunk: positions whose logits exist at once.

  Returns:
    `program(state, rows) -> (state, metrics)` and the state, which the program
    takes over. The model's own parameters are left alone.
  """
  module, variables = model.module, {"params": model.params}
  if lora:
    module, variables["lora"] = models.with_lora(model)
  optimizer = optax.adam(1e-5)
  state = language_update.create_state(
    jax.tree.map(lambda leaf: leaf.copy(), variables),
    optimizer,
    train="lora" if lora else "params",
  )
  update = language_update.make_update(
    # The entropy is a metric here, and no part of the loss.
    language_loss.make_log_probs(module, chunk=chunk, entropy_gradient=False),
    optimizer,
  )
  return update.lower(state, rows).compile(), state


def peak_bytes(program: Any) -> int:
  """Bytes of a program's arguments, results and temporaries at once."""
  found = program.memory_analysis()
  return (
    found.argument_size_in_bytes
    + found.output_size_in_bytes
    - found.alias_size_in_bytes
    + found.temp_size_in_bytes
  )


def measure(options: Options) -> dict[str, Any]:
  """Times full and LoRA steps in turns.

  Args:
    options: model, rows, row_tokens, chunk and repeats.

  Returns:
    By form: seconds (one per round, and their median), peak bytes of the
    program by its compiler and the number of trained parameters; `ratio`, the
    median over the rounds of LoRA's seconds by the full step's.
  """
  model = models.load(options.model)
  rows = random_rows(
    model.module.config.vocabulary_size, options.rows, options.row_tokens
  )
  programs: dict[str, Any] = {}
  states: dict[str, Any] = {}
  forms: dict[str, dict[str, Any]] = {}
  for name in ("full", "lora"):
    programs[name], states[name] = compile_step(
      model, rows, lora=name == "lora", chunk=options.chunk
    )
    forms[name] = {
      "peak_bytes": peak_bytes(programs[name]),
      "trained": models.num_parameters(states[name].trained),
    }

  def run(name):
    states[name], metrics = programs[name](states[name], rows)
    jax.block_until_ready((states[name], metrics))

  for name in programs:
    run(name)
  seconds = bench_machine.in_turns(
    {name: run for name in programs}, lambda name: name, options.repeats
  )
  for name, form in forms.items():
    form["rounds"] = seconds[name]
    form["seconds"] = statistics.median(seconds[name])
  return {
    "batch": f"{options.rows} x {options.row_tokens}",
    "tokens": options.rows * options.row_tokens,
    "forms": forms,
    "ratio": bench_machine.ratio(seconds["lora"], seconds["full"]),
  }


def table(found: dict[str, Any]) -> str:
  """Seconds and memory of both, and LoRA's share of the full step's time."""
  rows = [
    ["step of " + found["batch"], "trained", "s", "tokens/s", "peak, GiB"]
  ]
  rows[0] += ["by full", "goal"]
  for name, form in found["forms"].items():
    rows.append(
      [
        name,
        f"{form['trained']:,}",
        f"{form['seconds']:.3f}",
        f"{found['tokens'] / form['seconds']:,.0f}",
        f"{form['peak_bytes'] / 2**30:.2f}",
        f"{found['ratio']:.2f}" if name == "lora" else "1.00",
        f"<= {GOAL_RATIO}" if name == "lora" else "-",
      ]
    )
  return bench_machine.table(rows)
