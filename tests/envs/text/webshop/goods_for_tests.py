"""A handful of products, in memory and as the original's files."""

import json

from graphgpo_jax.envs.text.webshop.goods import Goal, Product

SHIRT = Product(
  asin="B000000001",
  name="Alder Slim Fit Cotton Shirt",
  category="fashion",
  query="shirts",
  product_category="Clothing › Men › Shirts",
  description="A shirt for every day.",
  bullet_points=("Machine washable", "Made of soft cotton"),
  prices=(20.0,),
  options={"color": ("navy blue", "red"), "size": ("small", "large")},
  attributes=("slim fit", "long sleeve"),
)
JACKET = Product(
  asin="B000000002",
  name="Brindle Jacket",
  category="fashion",
  query="jackets",
  product_category="Clothing › Women › Coats",
  prices=(30.0, 50.0),
)
WANTED = Goal(
  SHIRT, "a shirt", ("slim fit", "machine washable"), ("red", "large"), 30.0
)

ITEMS = [
  {
    "asin": "B000000001",
    "name": "Alder Slim Fit Cotton Shirt",
    "category": "fashion",
    "query": " Shirts ",
    "product_category": "Clothing › Men › Shirts",
    "full_description": "A shirt for every day.",
    "small_description": ["Machine washable", "Made of soft cotton"],
    "pricing": "$20.00",
    "customization_options": {
      "Color": [{"value": " Navy Blue", "image": None}, {"value": "Red"}],
      "Size": [{"value": "Small"}, {"value": "Large/Tall"}],
      "Style": None,
    },
    "images": ["x.jpg"],
  },
  {
    "asin": "B000000002",
    "name": "Brindle Jacket",
    "category": "fashion",
    "query": "jackets",
    "product_category": "Clothing › Women › Coats",
    "full_description": None,
    "small_description": "Warm",
    "pricing": "$1,030.00 to $1,050.50 to $2",
    "customization_options": "",
    "images": ["y.jpg"],
  },
  {"asin": "nan"},
  {"asin": "longer than ten"},
  {"asin": "B000000001"},
]
ATTRIBUTES = {
  "B000000001": {
    "attributes": ["slim fit", "long sleeve"],
    "instruction": "find me a slim fit shirt",
    "instruction_attributes": ["slim fit"],
  },
  "B000000002": {"attributes": [], "instruction": None},
}
HUMAN_GOALS = {
  "B000000001": [
    {
      "instruction": "i want a red shirt.",
      "instruction_attributes": ["slim fit"],
      "instruction_options": ["red"],
    },
    {
      "instruction": "nothing in particular",
      "instruction_attributes": [],
      "instruction_options": [],
    },
  ],
  "B000000002": [
    {
      "instruction": "i want a jacket",
      "instruction_attributes": ["warm"],
      "instruction_options": {"color": "red"},
    }
  ],
}


def write_files(folder, items=None, attributes=None, human=None):
  """Writes the three files; a text stands for itself."""
  contents = {
    "items_shuffle.json": ITEMS if items is None else items,
    "items_ins_v2.json": ATTRIBUTES if attributes is None else attributes,
    "items_human_ins.json": HUMAN_GOALS if human is None else human,
  }
  for name, content in contents.items():
    if not isinstance(content, str):
      content = json.dumps(content)
    (folder / name).write_text(content)
  return str(folder)
