"""WebShop: an agent buys what a customer describes.

The real task (Yao et al. 2022, arXiv 2207.01206) over the user's product
files, or over a small catalogue that the project generates; pages, actions and
reward are the same. `environment` says what an episode is, `reward` what a
purchase is worth and where it differs from the authors' code, `search` how
results are ranked.

Task ids are "goal-N"; the first 500 goals are for evaluation, the others for
training. Goals stand in the order in which the original puts them.

State keys: "recipe" is the page without the instruction, and "observation" is
the same text, since an observation holds no instruction here. A page does not
show which options are chosen, so one page is several states; "true" tells them
apart.
"""

import functools
from collections.abc import Mapping
from types import MappingProxyType

from graphgpo_jax.envs.text import state_keys, types
from graphgpo_jax.envs.text.webshop import (
  environment,
  generator,
  product_files,
  shop,
)


def make(
  *,
  data_folder: str | None = None,
  products_file: str = "items_shuffle.json",
  attributes_file: str = "items_ins_v2.json",
  human_goals_file: str = "items_human_ins.json",
  human_goals: bool = True,
  max_products: int | None = None,
  max_steps: int = 15,
) -> types.TextEnvironment:
  """A shop to visit.

  Args:
    data_folder: where the user's product files lie; None: the small generated
      catalogue, and the next five do not matter.
    products_file: the original's `items_shuffle.json` or its first thousand.
    attributes_file: its `items_ins_v2.json`.
    human_goals_file: its `items_human_ins.json`.
    human_goals: goals that people wrote, otherwise those made from templates.
    max_products: the file's first so many products only.
    max_steps: actions of a visit.

  Returns:
    The environment; those of one process share a shop.

  Raises:
    ValueError: an option is wrong or a file is missing.
    TextWorldError: a file is broken.
    ImportError: rapidfuzz is not installed.
  """
  return environment.WebShop(
    _open_shop(
      data_folder,
      products_file,
      attributes_file,
      human_goals_file,
      human_goals,
      max_products,
    ),
    max_steps=max_steps,
  )


def task_ids(
  *,
  side: str,
  data_folder: str | None = None,
  products_file: str = "items_shuffle.json",
  attributes_file: str = "items_ins_v2.json",
  human_goals_file: str = "items_human_ins.json",
  human_goals: bool = True,
  max_products: int | None = None,
) -> tuple[str, ...]:
  """Tasks of a side.

  Args:
    side: "train" or "evaluation".
    data_folder: as for `make`.
    products_file: as for `make`.
    attributes_file: as for `make`.
    human_goals_file: as for `make`.
    human_goals: as for `make`.
    max_products: as for `make`.

  Returns:
    Task ids in order.

  Raises:
    ValueError: no such side, no goal is left for it, or as `make`.
    TextWorldError: a file is broken.
  """
  opened = _open_shop(
    data_folder,
    products_file,
    attributes_file,
    human_goals_file,
    human_goals,
    max_products,
  )
  return opened.task_ids(side)


@functools.lru_cache(maxsize=2)
def _open_shop(
  data_folder: str | None,
  products_file: str,
  attributes_file: str,
  human_goals_file: str,
  human_goals: bool,
  max_products: int | None,
) -> shop.Shop:
  if data_folder is None:
    return shop.Shop(*generator.make_catalogue())
  products = product_files.read_products(
    data_folder, products_file, attributes_file, max_products=max_products
  )
  if human_goals:
    goals = product_files.human_goals(data_folder, human_goals_file, products)
  else:
    goals = product_files.template_goals(data_folder, attributes_file, products)
  return shop.Shop(products, goals)


STATE_KEYS: Mapping[str, types.StateKeyFn] = MappingProxyType(
  {
    "recipe": state_keys.observation_key,
    "true": state_keys.true_key,
    "observation": state_keys.observation_key,
  }
)
