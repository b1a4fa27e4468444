"""The original's product files as products and goals.

Three JSON files: a list of products (`items_shuffle.json`), attributes by
product number (`items_ins_v2.json`), and what people asked for by product
number (`items_human_ins.json`). They are read as data; the list of products is
read a piece at a time, for the whole of it has gigabytes.
"""

import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from graphgpo_jax.envs.text import types
from graphgpo_jax.envs.text.webshop import goods
from graphgpo_jax.envs.text.webshop.goods import Goal, Product

_CHUNK = 2**20
_LONGEST_ASIN = 10
_SEPARATOR = re.compile(r"[\s,]*")


def read_products(
  folder: str,
  products_file: str,
  attributes_file: str,
  *,
  max_products: int | None = None,
) -> list[Product]:
  """Products of the original's files.

  Args:
    folder: where the files lie.
    products_file: a list of objects.
    attributes_file: an object by product number.
    max_products: read the first so many only.

  Returns:
    Products in the order of the file; numbers that are missing, longer than
    ten characters or there already are left out, as the original does.

  Raises:
    ValueError: a file is missing, or `max_products` is not positive.
    TextWorldError: a file is broken; the message names it and the product.
  """
  if max_products is not None and max_products < 1:
    raise ValueError(f"max_products: expected at least 1, got {max_products}")
  attributes = _read_object(folder, attributes_file)
  products: dict[str, Product] = {}
  items = _read_list(folder, products_file)
  for place, item in enumerate(itertools.islice(items, max_products)):
    try:
      asin = item["asin"]
      if asin == "nan" or len(asin) > _LONGEST_ASIN or asin in products:
        continue
      products[asin] = _product(item, attributes.get(asin, {}))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
      raise types.TextWorldError(
        f"{products_file}: product {place} is broken: expected the fields of "
        f"the original ({type(error).__name__}: {error})"
      ) from error
  return list(products.values())


def human_goals(
  folder: str, human_goals_file: str, products: Iterable[Product]
) -> list[Goal]:
  """Goals that people wrote; those without attributes are left out.

  Args:
    folder: where the file lies.
    human_goals_file: an object of lists by product number.
    products: those that are sold.

  Returns:
    Goals in the order of products.

  Raises:
    ValueError: the file is missing.
    TextWorldError: it is broken.
  """
  wanted = _read_object(folder, human_goals_file)
  goals = []
  for product in products:
    try:
      for number, one in enumerate(wanted.get(product.asin, [])):
        if not one["instruction_attributes"]:
          continue
        goals.append(
          goods.with_price_limit(
            product,
            one["instruction"].strip("."),
            _texts(one["instruction_attributes"]),
            _texts(_option_values(one["instruction_options"])),
            number,
          )
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
      raise _broken_goal(human_goals_file, product, error) from error
  return goals


def template_goals(
  folder: str, attributes_file: str, products: Iterable[Product]
) -> list[Goal]:
  """Goals made from templates: one for each combination of a product's options.

  Args:
    folder: where the file lies.
    attributes_file: an object by product number.
    products: those that are sold.

  Returns:
    Goals in the order of products.

  Raises:
    ValueError: the file is missing.
    TextWorldError: it is broken.
  """
  wanted = _read_object(folder, attributes_file)
  goals = []
  for product in products:
    try:
      one = wanted.get(product.asin, {})
      if one.get("instruction") is None:
        continue
      attributes = _texts(one["instruction_attributes"])
      names = sorted(product.options)
      combinations = itertools.product(*map(product.options.get, names))  # type: ignore[arg-type]
      for number, values in enumerate(combinations):
        said = ", and ".join(map(": ".join, zip(names, values, strict=True)))
        text = one["instruction"] + (f" with {said}" if said else "")
        goals.append(
          goods.with_price_limit(product, text, attributes, values, number)
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
      raise _broken_goal(attributes_file, product, error) from error
  return goals


def _product(item: dict[str, Any], more: dict[str, Any]) -> Product:
  features = item["small_description"]
  if not isinstance(features, list):
    features = [features]
  return Product(
    asin=item["asin"],
    name=_text(item["name"]),
    category=_text(item["category"]),
    query=_text(item["query"]).lower().strip(),
    product_category=_text(item["product_category"]),
    description=_text(item["full_description"] or ""),
    bullet_points=_texts(one or "" for one in features),
    prices=_prices(item.get("pricing")),
    options=_options(item.get("customization_options")),
    attributes=_texts(more.get("attributes", ())),
  )


def _prices(tag: str | None) -> tuple[float, ...]:
  """Dollars of a tag such as "$12.99 to $1,400.00"."""
  parts = (tag or "").split("$")[1:]
  prices = [float(re.sub(r"[^\d.]", "", part)) for part in parts]
  return tuple(prices[:2])


def _options(contents: dict[str, Any] | None) -> dict[str, tuple[str, ...]]:
  """Values by name, as pages show them."""
  return {
    name.lower(): tuple(
      one["value"].strip().replace("/", " | ").lower() for one in values
    )
    for name, values in (contents or {}).items()
    if values is not None
  }


def _option_values(options: Any) -> Any:
  """Wanted options are a list, or an object by name."""
  return options.values() if isinstance(options, dict) else options


def _text(value: Any) -> str:
  if not isinstance(value, str):
    raise ValueError(f"expected a text, got {value!r}")
  return value


def _texts(values: Iterable[Any]) -> tuple[str, ...]:
  if isinstance(values, str):
    raise ValueError(f"expected a list of texts, got {values!r}")
  return tuple(map(_text, values))


def _broken_goal(
  file: str, product: Product, error: Exception
) -> types.TextWorldError:
  return types.TextWorldError(
    f"{file}: the goals of product {product.asin} are broken: expected the "
    f"fields of the original ({type(error).__name__}: {error})"
  )


def _path(folder: str, name: str) -> str:
  path = os.path.join(folder, name)
  if not os.path.isfile(path):
    raise ValueError(f"no file {path}: expected WebShop's {name} there")
  return path


def _read_object(folder: str, name: str) -> dict[str, Any]:
  path = _path(folder, name)
  try:
    with open(path, encoding="utf-8") as file:
      found = json.load(file)
  except (ValueError, RecursionError) as error:
    raise types.TextWorldError(f"{name}: broken JSON ({error})") from error
  if not isinstance(found, dict):
    raise types.TextWorldError(
      f"{name}: expected an object by product number, got a "
      f"{type(found).__name__}"
    )
  return found


def _read_list(folder: str, name: str) -> Iterator[Any]:
  """Entries of a JSON list, as many in memory as a chunk holds."""
  decoder = json.JSONDecoder()
  with open(_path(folder, name), encoding="utf-8") as file:
    try:
      text = file.read(_CHUNK).lstrip()
      if not text.startswith("["):
        raise types.TextWorldError(f"{name}: expected a list of products")
      place = 1
      while True:
        place = _SEPARATOR.match(text, place).end()  # type: ignore[union-attr]
        if text.startswith("]", place):
          return
        fault: json.JSONDecodeError | None = None
        try:
          entry, end = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
          fault, end = error, len(text)
        if end == len(text):
          # Perhaps cut by the chunk's end.
          if more := file.read(max(_CHUNK, len(text) - place)):
            text, place = text[place:] + more, 0
            continue
          if fault:
            raise fault
        yield entry
        place = end
    except (ValueError, RecursionError) as error:
      raise types.TextWorldError(f"{name}: broken JSON ({error})") from error
