"""How the parameters of a model are cut: a table for each family of models.

A rule is a pattern that ends a parameter's path, and an entry for each of the
parameter's axes; the first rule that fits holds. `partition` reads them.

A pair of projections is cut across its inner size by `tensor`, columns of the
first and rows of the second, so that only the second's sum is communicated;
`fsdp` cuts the other axis, and its parts are put together where they are used.
"""

from jax.sharding import PartitionSpec

DATA = "data"
FSDP = "fsdp"
TENSOR = "tensor"

Rules = tuple[tuple[str, PartitionSpec], ...]

# qkv and gate_up are several projections side by side, and `tensor` cuts their
# columns without regard to where one ends: a device computes other columns than
# those of the heads that it attends with, and the activations change places.
# The alternative is to leave these columns whole on every device of `tensor`.
# It would then multiply as many pairs as the model is wide for each number that
# it need not fetch, and hold most of a layer's weights, with their gradients
# and an optimiser's moments; and in decoding it would read them all.
_TRANSFORMER: Rules = (
  ("attention/qkv/kernel", PartitionSpec(FSDP, TENSOR)),
  ("attention/qkv/bias", PartitionSpec(TENSOR)),
  ("attention/out/kernel", PartitionSpec(TENSOR, FSDP)),
  ("attention/out/bias", PartitionSpec(None)),
  ("mlp/gate_up/kernel", PartitionSpec(FSDP, TENSOR)),
  ("mlp/down/kernel", PartitionSpec(TENSOR, FSDP)),
  ("*norm/scale", PartitionSpec(None)),
)

# `policy.language_model`, with the adapters of `policy.lora`.
LANGUAGE_MODEL: Rules = (
  ("embedding/table", PartitionSpec(TENSOR, FSDP)),
  ("head/kernel", PartitionSpec(FSDP, TENSOR)),
  *_TRANSFORMER,
  # Adapters are cut as their weights are, but never along the rank; and the
  # narrow B of a part stays whole where several are put side by side, since
  # moving its columns to their places would take a message each.
  ("attention/qkv/[qkv]/a", PartitionSpec(FSDP, None)),
  ("attention/qkv/[qkv]/b", PartitionSpec(None, None)),
  ("attention/out/out/a", PartitionSpec(TENSOR, None)),
  ("attention/out/out/b", PartitionSpec(None, FSDP)),
  ("mlp/gate_up/*/a", PartitionSpec(FSDP, None)),
  ("mlp/gate_up/*/b", PartitionSpec(None, None)),
  ("mlp/down/down/a", PartitionSpec(TENSOR, None)),
  ("mlp/down/down/b", PartitionSpec(None, FSDP)),
)

# `policy.acting.chooser`: words and places are few beside the width.
COMMAND_CHOOSER: Rules = (
  ("words", PartitionSpec(None, FSDP)),
  ("kinds", PartitionSpec(None, FSDP)),
  ("places", PartitionSpec(None, FSDP)),
  ("tried_here", PartitionSpec(None, FSDP)),
  ("tried_ever", PartitionSpec(None, FSDP)),
  ("shared_words/kernel", PartitionSpec(None, FSDP)),
  ("pointer/logits/kernel", PartitionSpec(FSDP, None)),
  ("pointer/logits/bias", PartitionSpec(None)),
  *_TRANSFORMER,
)

# `policy.actor`: features and actions are few, and their numbers whatever the
# environment makes them, so that only the width beside them is cut.
ENVIRONMENT_POLICY: Rules = (
  ("embedding/table", PartitionSpec(None, FSDP)),
  ("pointer/logits/kernel", PartitionSpec(FSDP, None)),
  ("pointer/logits/bias", PartitionSpec(None)),
  ("fixed/logits/kernel", PartitionSpec(FSDP, None)),
  ("fixed/logits/bias", PartitionSpec(None)),
  *_TRANSFORMER,
)
