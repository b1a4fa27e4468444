"""The original's files: read as they are meant, broken ones named."""

import json

import pytest

from graphgpo_jax.envs.text import types, webshop
from graphgpo_jax.envs.text.webshop import goods, product_files, shop
from tests.envs.text.webshop import goods_for_tests

FILES = ("items_shuffle.json", "items_ins_v2.json")


def test_products(tmp_path):
  folder = goods_for_tests.write_files(tmp_path)
  shirt, jacket = product_files.read_products(folder, *FILES)
  assert shirt.query == "shirts"
  assert shirt.options == {
    "color": ("navy blue", "red"),
    "size": ("small", "large | tall"),
  }
  assert shirt.attributes == ("slim fit", "long sleeve")
  assert shirt.price_tag == "$20.0" and shirt.price == 20.0
  assert jacket.bullet_points == ("Warm",) and jacket.description == ""
  assert jacket.price_tag == "$1030.0 to $1050.5"
  assert 1030.0 < jacket.price < 1050.5
  (first,) = product_files.read_products(folder, *FILES, max_products=1)
  assert first == shirt


def test_products_without_a_price_cost_a_hundred():
  assert goods_for_tests.JACKET.price_tag == "$30.0 to $50.0"
  product = goods.Product("B1", "cup", "garden", "cups", "a")
  assert (product.price, product.price_tag) == (100.0, "$100.0")


def test_goals_of_people(tmp_path):
  folder = goods_for_tests.write_files(tmp_path)
  products = product_files.read_products(folder, *FILES)
  shirt, jacket = product_files.human_goals(
    folder, "items_human_ins.json", products
  )
  assert shirt.price_limit in (40.0, 50.0, 60.0)
  limit = f"{shirt.price_limit:.2f}"
  assert shirt.instruction == (
    f"i want a red shirt, and price lower than {limit} dollars"
  )
  assert shirt.options == ("red",)
  # Beyond the limits that a customer may name.
  assert jacket.instruction == "i want a jacket"
  assert jacket.price_limit == goods.NO_LIMIT
  assert jacket.options == ("red",)


def test_goals_from_templates(tmp_path):
  folder = goods_for_tests.write_files(tmp_path)
  products = product_files.read_products(folder, *FILES)
  goals = product_files.template_goals(folder, FILES[1], products)
  assert [goal.options for goal in goals] == [
    ("navy blue", "small"),
    ("navy blue", "large | tall"),
    ("red", "small"),
    ("red", "large | tall"),
  ]
  assert goals[3].instruction.startswith(
    "find me a slim fit shirt with color: red, and size: large | tall, and"
  )


def test_price_limits_are_those_of_the_original():
  """The greater of two of the next four multiples of ten."""
  limits = [
    goods.with_price_limit(
      goods_for_tests.SHIRT, "", (), (), number
    ).price_limit
    for number in range(600)
  ]
  counts = {limit: limits.count(limit) / 600 for limit in sorted(set(limits))}
  assert list(counts) == [40.0, 50.0, 60.0]
  for share, expected in zip(
    counts.values(), (1 / 6, 1 / 3, 1 / 2), strict=True
  ):
    assert share == pytest.approx(expected, abs=0.08)


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_the_list_is_read_in_pieces(tmp_path, monkeypatch, chunk):
  monkeypatch.setattr(product_files, "_CHUNK", chunk)
  entries = [{"a": "]}, {[", "b": 1.5}, [], 'ü\\"', 12345, {}]
  for text in (json.dumps(entries), json.dumps(entries, indent=2) + "\n\n"):
    (tmp_path / "list.json").write_text(text)
    assert list(product_files._read_list(str(tmp_path), "list.json")) == entries
  (tmp_path / "list.json").write_text("[]")
  assert not list(product_files._read_list(str(tmp_path), "list.json"))


def changed(**fields):
  return [goods_for_tests.ITEMS[0] | fields]


@pytest.mark.parametrize(
  ("files", "match"),
  [
    ({"items": "[{"}, "items_shuffle.json: broken JSON"),
    ({"items": '[{"asin": "B1"}'}, "items_shuffle.json"),
    ({"items": "{}"}, "expected a list"),
    ({"items": "[" * 100_000}, "items_shuffle.json"),
    ({"items": [3]}, "product 0 is broken"),
    ({"items": [{"asin": "B1"}]}, "product 0 .*KeyError"),
    ({"items": changed(pricing="$1.2.3")}, "product 0 is broken"),
    ({"items": changed(name=None)}, "expected a text, got None"),
    ({"items": changed(customization_options={"a": [3]})}, "product 0"),
    ({"attributes": "[]"}, "items_ins_v2.json: expected an object"),
    ({"attributes": {"B000000001": {"attributes": "fit"}}}, "list of texts"),
    ({"human": "{"}, "items_human_ins.json: broken JSON"),
    ({"human": {"B000000001": [{}]}}, "goals of product B000000001"),
    ({"human": {}}, "0 goals"),
  ],
)
def test_broken_files_are_named(tmp_path, files, match):
  folder = goods_for_tests.write_files(tmp_path, **files)
  with pytest.raises(types.TextWorldError, match=match):
    webshop.task_ids(side="train", data_folder=folder)


def test_missing_files_are_named(tmp_path):
  with pytest.raises(ValueError, match=r"items_ins_v2\.json"):
    webshop.task_ids(side="train", data_folder=str(tmp_path))
  folder = goods_for_tests.write_files(tmp_path)
  with pytest.raises(ValueError, match="max_products"):
    webshop.task_ids(side="train", data_folder=folder, max_products=0)


def test_goals_are_mixed_as_in_the_original(tmp_path):
  """Places of ten goals after the stock shop's shuffle with its seed."""
  goals = [
    goods.Goal(goods_for_tests.SHIRT, str(number), ("fit",), (), 30.0)
    for number in range(10)
  ]
  mixed = shop.Shop([goods_for_tests.SHIRT], goals).goals
  assert "".join(goal.instruction for goal in mixed) == "5901476382"


def test_sides_of_the_split(tmp_path):
  folder = goods_for_tests.write_files(tmp_path)
  found = webshop.task_ids(side="evaluation", data_folder=folder)
  assert found == ("goal-0", "goal-1")
  with pytest.raises(ValueError, match="2"):
    webshop.task_ids(side="train", data_folder=folder)
  with pytest.raises(ValueError, match="side"):
    webshop.task_ids(side="test")
  generated = [webshop.task_ids(side=side) for side in ("evaluation", "train")]
  assert [len(ids) for ids in generated] == [500, 700]
  assert not set(generated[0]) & set(generated[1])
  assert generated[1][0] == "goal-500"
