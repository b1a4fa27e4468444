"""A GPU or TPU: decoding against its memory, training against its products.

Both limits are measured in the same run: the rate at which the device copies a
large array, and the rate at which it multiplies large matrices. A decoding
step cannot be faster than reading the parameters and the cache once.
"""

import statistics
from typing import Any

import jax
import jax.numpy as jnp

from experiments import bench_machine
from experiments.lm_bench import decode, models, rates, torch_peer, train
from experiments.lm_bench.options import Options

GOAL_OVER_TRANSFORMERS = 2.0
GOAL_SHARE_OF_PEAK = 0.4
COMMAND = (
  "python -m experiments.bench_lm --sections=accelerator,decode,train,memory "
  "--output=bench_lm.json"
)


def measure_decode(
  options: Options, *, batch: int, prompt: int, copy_rate: float
) -> dict[str, Any]:
  """Decodes in bfloat16, and with `transformers` where it can be had.

  Args:
    options: model, repeats, new_tokens.
    batch: sequences at once.
    prompt: tokens of each prompt.
    copy_rate: of the device, in bytes per second.

  Returns:
    `tokens_per_second`, `floor_tokens_per_second` and its `fraction`, and of
    `transformers` either `tokens_per_second` and `ratio`, or why there is none.
  """
  model = models.load(options.model, dtype=jnp.bfloat16)
  lengths = decode.two_lengths(options.new_tokens)
  seconds = decode.step_seconds(
    decode.make_run(
      model,
      batch=batch,
      prompt_tokens=prompt,
      new_tokens=options.new_tokens,
    ),
    lengths,
    options.repeats,
  )
  middle = prompt + sum(lengths) // 2
  moved = models.num_bytes(model.params) + batch * middle * (
    models.cache_bytes_per_token(model.module.config)
  )
  found = {
    "batch": batch,
    "prompt_tokens": prompt,
    "tokens_per_second": batch / seconds,
    "bytes_per_step": moved,
    "floor_tokens_per_second": batch * copy_rate / moved,
    "fraction": moved / copy_rate / seconds,
  }
  missing = torch_peer.missing()
  if missing:
    return found | {"transformers": {"missing": missing}}
  theirs = decode.step_seconds(
    torch_peer.make_run(
      options.model, model.module.config, batch=batch, prompt_tokens=prompt
    ),
    lengths,
    options.repeats,
  )
  return found | {
    "transformers": {
      "tokens_per_second": batch / theirs,
      "ratio": theirs / seconds,
    }
  }


def measure_train(
  options: Options, *, rows: int, row_tokens: int, matrix_rate: float
) -> dict[str, Any]:
  """Trains all parameters, float32, with bfloat16 activations.

  Args:
    options: model, repeats.
    rows: of a step.
    row_tokens: of each row.
    matrix_rate: of the device, in operations per second.

  Returns:
    `seconds`, `tokens_per_second`, `flops_per_second` by
    `models.forward_flops`, and `fraction` of the matrix rate.
  """
  model = models.load(
    options.model, dtype=jnp.bfloat16, param_dtype=jnp.float32
  )
  config = model.module.config
  batch = train.random_rows(config.vocabulary_size, rows, row_tokens)
  program, state = train.compile_step(model, batch, lora=False, chunk=128)

  def run(_):
    nonlocal state
    state, metrics = program(state, batch)
    jax.block_until_ready((state, metrics))

  run(None)
  timed = bench_machine.in_turns({"s": run}, lambda _: None, options.repeats)
  seconds = statistics.median(timed["s"])
  rate = 3 * rows * models.forward_flops(config, row_tokens) / seconds
  return {
    "batch": f"{rows} x {row_tokens}",
    "seconds": seconds,
    "tokens_per_second": rows * row_tokens / seconds,
    "flops_per_second": rate,
    "fraction": rate / matrix_rate,
    "peak_bytes": train.peak_bytes(program),
  }


def measure_here(
  options: Options,
  *,
  batch: int,
  prompt: int,
  rows: int,
  row_tokens: int,
  scale: int = 1,
) -> dict[str, Any]:
  """Both measurements on whatever JAX runs on.

  Args:
    options: model, repeats, new_tokens.
    batch: sequences decoded at once.
    prompt: tokens of each prompt.
    rows: of a training step.
    row_tokens: of each row.
    scale: divides the arrays by which the device's rates are measured.
  """
  copy_rate = rates.bytes_per_second(calls=20, scale=scale)
  matrix_rate = rates.flops_per_second(jnp.bfloat16, calls=20, scale=scale)
  return {
    "device": jax.devices()[0].device_kind,
    "bytes_per_second": copy_rate,
    "flops_per_second": matrix_rate,
    "decode": measure_decode(
      options, batch=batch, prompt=prompt, copy_rate=copy_rate
    ),
    "train": measure_train(
      options, rows=rows, row_tokens=row_tokens, matrix_rate=matrix_rate
    ),
  }


def measure(options: Options) -> dict[str, Any]:
  """`measure_here` on an accelerator; the command that does it on a CPU."""
  if jax.default_backend() == "cpu":
    return {"missing": True, "command": COMMAND}
  return measure_here(options, batch=64, prompt=128, rows=32, row_tokens=1024)


def table(found: dict[str, Any]) -> str:
  """Rates, floors and fractions, or how to measure them."""
  if found.get("missing"):
    return f"no accelerator here; on one: {found['command']}"
  decoding, training = found["decode"], found["train"]
  peer = decoding["transformers"]
  rows = [["bfloat16", "tokens/s", "limit", "share", "goal"]]
  rows.append(
    [
      f"decode, batch {decoding['batch']}, against memory",
      f"{decoding['tokens_per_second']:,.0f}",
      f"{decoding['floor_tokens_per_second']:,.0f} tokens/s",
      f"{decoding['fraction']:.2f}",
      "-",
    ]
  )
  rows.append(
    [
      "decode against transformers",
      f"{decoding['tokens_per_second']:,.0f}",
      peer.get("missing") or f"{peer['tokens_per_second']:,.0f} tokens/s",
      f"{peer['ratio']:.2f}" if "ratio" in peer else "-",
      f">= {GOAL_OVER_TRANSFORMERS:g}",
    ]
  )
  rows.append(
    [
      f"train, {training['batch']}, against products",
      f"{training['tokens_per_second']:,.0f}",
      f"{found['flops_per_second'] / 1e12:.2f} TFLOP/s",
      f"{training['fraction']:.2f}",
      f">= {GOAL_SHARE_OF_PEAK:g}",
    ]
  )
  return (
    f"{found['device']}: copies {found['bytes_per_second'] / 1e9:,.1f} GB/s\n"
    + bench_machine.table(rows)
  )
