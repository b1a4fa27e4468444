"""Tokens per second of decoding, at several batch sizes."""

import statistics
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments import bench_machine
from experiments.lm_bench import models
from experiments.lm_bench.options import Options
from graphgpo_jax.policy.sampling import options as sampling_options
from graphgpo_jax.policy.sampling import sampler as sampler_lib

# Tokens per second at a batch size, of SmolLM2-135M in float32 on 2 cores.
GOALS = {16: 48}

Run = Callable[[int], None]


def two_lengths(new_tokens: int) -> tuple[int, int]:
  """A short and a long number of tokens to sample."""
  return max(new_tokens // 4, 1), new_tokens


def step_seconds(run: Run, lengths: tuple[int, int], repeats: int) -> float:
  """Seconds of one decoding step, for all sequences together.

  (t(long) - t(short)) / (long - short), the median over the rounds, so that
  reading the prompts and starting up do not count. Not positive where noise is
  larger than the work, as for tiny models.

  Args:
    run: samples so many tokens for each sequence.
    lengths: the short and the long number.
    repeats: rounds; each length is run once more before.
  """
  short, long = lengths
  for length in lengths:
    run(length)
  seconds = bench_machine.in_turns(
    {"short": run, "long": run},
    lambda name: long if name == "long" else short,
    repeats,
  )
  return statistics.median(
    (more - less) / (long - short)
    for more, less in zip(seconds["long"], seconds["short"], strict=True)
  )


def make_run(
  model: models.Model, *, batch: int, prompt_tokens: int, new_tokens: int
) -> Run:
  """Builds the function that samples greedily, every sequence to the end.

  Args:
    model: without adapters.
    batch: sequences at once.
    prompt_tokens: of each random prompt.
    new_tokens: the most that is ever asked for; all are drawn in one call of
      the compiled program, without a look of the host in between.

  Returns:
    `run(new_tokens)`, which returns when the tokens are on the host.
  """
  sampler = sampler_lib.Sampler(
    model.module, {"params": model.params}, segment=new_tokens
  )
  prompts = np.random.default_rng(0).integers(
    0, model.module.config.vocabulary_size, (batch, prompt_tokens)
  )
  key = jax.random.key(0)

  def run(length: int) -> None:
    drawn = sampler.sample(
      prompts.tolist(),
      key,
      sampling_options.SamplingOptions(temperature=0.0, max_tokens=length),
    )
    if any(len(sample.tokens) != length for sample in drawn):
      raise ValueError(f"a sample ended before its {length} tokens")

  return run


def measure(options: Options) -> dict[str, Any]:
  """Times decoding in float32.

  Args:
    options: model, batches, prompt_tokens, new_tokens and repeats.

  Returns:
    `batches`, per size: `step_seconds` and `tokens_per_second` of all
    sequences together.
  """
  model = models.load(options.model)
  records = []
  for batch in options.batches:
    run = make_run(
      model,
      batch=batch,
      prompt_tokens=options.prompt_tokens,
      new_tokens=options.new_tokens,
    )
    seconds = step_seconds(
      run, two_lengths(options.new_tokens), options.repeats
    )
    records.append(
      {
        "batch": batch,
        "step_seconds": seconds,
        "tokens_per_second": batch / seconds,
      }
    )
  return {
    "prompt_tokens": options.prompt_tokens,
    "new_tokens": options.new_tokens,
    "batches": records,
  }


def table(found: dict[str, Any]) -> str:
  """Rates by batch size, and the goal where there is one."""
  rows = [["decode, batch", "ms per step", "tokens/s", "goal"]]
  for record in found["batches"]:
    goal = GOALS.get(record["batch"])
    rows.append(
      [
        str(record["batch"]),
        f"{1000 * record['step_seconds']:.2f}",
        f"{record['tokens_per_second']:.1f}",
        "-" if goal is None else f">= {goal}",
      ]
    )
  return bench_machine.table(rows)
