"""The language model that a config trains, in the forms that a run needs."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import ml_collections

from graphgpo_jax.policy import language_model, lora, partition
from graphgpo_jax.policy.pretrained import load
from graphgpo_jax.training import config_keys, settings


@dataclasses.dataclass(frozen=True)
class TrainedModel:
  """A pretrained model, about to be trained.

  Attributes:
    pretrained: what was loaded: parameters, tokenizer, chat template.
    training: module that the update differentiates.
    sampling: module that draws; of the same variables.
    reference: module without adapters, of the collection "params" alone.
    trained: collection that is trained, "params" or "lora".
  """

  pretrained: load.Pretrained
  training: language_model.LanguageModel
  sampling: language_model.LanguageModel
  reference: language_model.LanguageModel
  trained: str

  def initial_variables(self, key: chex.PRNGKey) -> dict[str, Any]:
    """The collections before the first update.

    Args:
      key: of new adapters, which change nothing yet.

    Returns:
      "params", whose buffers are those of `pretrained`, and "lora" where
      adapters are trained.
    """
    variables = {"params": self.pretrained.params}
    if self.trained == "lora":
      drawn = draw_adapters(self.training, key)
      mesh = partition.mesh_of(variables)
      if mesh is not None:
        drawn = partition.place(mesh, {"lora": drawn})["lora"]
      variables["lora"] = drawn
    return variables


def draw_adapters(
  model: language_model.LanguageModel, key: chex.PRNGKey
) -> Any:
  """New adapters as `model.init` draws them: A normal / sqrt(in), B zero.

  Of a model with many layers `init` takes longer to compile than an update.

  Args:
    model: with LoRA.
    key: of A.

  Returns:
    The collection "lora", float32.
  """
  tokens = jnp.zeros((1, 2), jnp.int32)
  shapes = jax.eval_shape(model.init, key, tokens, tokens == 0)["lora"]
  leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
  drawn = []
  for number, (path, leaf) in enumerate(leaves):
    if path[-1].key == "a":
      own = jax.random.fold_in(key, number)
      values = jax.random.normal(own, leaf.shape) * leaf.shape[0] ** -0.5
    else:
      values = jnp.zeros(leaf.shape)
    drawn.append(values)
  return jax.tree.unflatten(tree, drawn)


def load_model(
  config: ml_collections.ConfigDict,
  *,
  mesh: jax.sharding.Mesh | None = None,
  pretrained: load.Pretrained | None = None,
) -> TrainedModel:
  """Loads the model of `config.model`.

  Args:
    config: as `language_settings.default_config`.
    mesh: where the parameters go; the first device where None.
    pretrained: instead of what `config.model.path` holds; it must have a
      tokenizer and a chat template, and its parameters lie on the mesh.

  Returns:
    TrainedModel.

  Raises:
    ValueError: the path is empty or holds no chat model, or prompts and
      responses may be longer than the model was made for.
    ImportError: a package of the extra [lm] is missing.
  """
  given = config.model
  if pretrained is None:
    if not given.path:
      raise ValueError(
        "config.model.path is empty: expected a directory with config.json, "
        "safetensors and tokenizer.json, or a .gguf file"
      )
    pretrained = load.load(
      given.path,
      dtype=config_keys.choose(
        "model.param_dtype", given.param_dtype, settings.DTYPES
      ),
      sharding=None if mesh is None else partition.sharding_rule(mesh),
    )
  pretrained.require_tokenizer()
  if pretrained.chat_template is None:
    raise ValueError(f"{pretrained.where}: no chat template, so no chat model")
  longest = config.prompt.max_tokens + config.response.max_tokens
  most = pretrained.max_positions
  if most is not None and longest > most:
    raise ValueError(
      f"config.prompt.max_tokens + config.response.max_tokens = {longest}, but "
      f"{pretrained.where} was made for {most} tokens"
    )

  def module(**changes: Any) -> language_model.LanguageModel:
    shape = dataclasses.replace(
      pretrained.config.transformer,
      dtype=settings.DTYPES[given.dtype],
      param_dtype=settings.DTYPES[given.param_dtype],
      **changes,
    )
    return language_model.LanguageModel(
      dataclasses.replace(pretrained.config, transformer=shape)
    )

  adapters = None
  if given.lora_rank:
    adapters = lora.LoraConfig(rank=given.lora_rank, alpha=given.lora_alpha)
  return TrainedModel(
    pretrained=pretrained,
    training=module(lora=adapters, remat=given.remat),
    sampling=module(lora=adapters, remat=False),
    reference=module(lora=None, remat=False),
    trained="lora" if given.lora_rank else "params",
  )
