"""Words of the small catalogue: departments, kinds of products, options."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Department:
  """What products of a category share.

  Attributes:
    name: the widest of a product's departments.
    attributes: that any of its products may have.
    praise: sentences for descriptions.
  """

  name: str
  attributes: tuple[str, ...]
  praise: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Kind:
  """A kind of product.

  Attributes:
    category: of DEPARTMENTS.
    shelf: the department in the middle.
    name: of one product.
    query: the search that finds the kind.
    attributes: that its products may have; at least four.
    options: names of OPTIONS.
    prices: dollars, least and greatest.
  """

  category: str
  shelf: str
  name: str
  query: str
  attributes: tuple[str, ...]
  options: tuple[str, ...]
  prices: tuple[int, int]


DEPARTMENTS = {
  "fashion": Department(
    "Clothing, Shoes & Jewelry",
    ("machine wash", "hand wash", "daily wear", "imported"),
    (
      "It keeps its shape and its colour after many washes.",
      "Wear it at work, on a walk or at home.",
      "Cut to fit without pinching.",
    ),
  ),
  "beauty": Department(
    "Beauty & Personal Care",
    ("cruelty free", "easy to use", "travel size", "dermatologist tested"),
    (
      "A little goes a long way.",
      "Made in small batches and filled by hand.",
      "For every day, morning and evening.",
    ),
  ),
  "electronics": Department(
    "Electronics",
    ("plug and play", "easy to install", "one year warranty", "light weight"),
    (
      "Set up in a minute, without a manual.",
      "Tested for ten thousand hours.",
      "Fits into a bag and onto a crowded desk.",
    ),
  ),
  "garden": Department(
    "Home & Kitchen",
    ("easy clean", "easy to assemble", "space saving", "eco friendly"),
    (
      "It goes with old furniture as well as with new.",
      "All that is needed to put it up is in the box.",
      "Sturdy enough for a house full of children.",
    ),
  ),
  "grocery": Department(
    "Grocery & Gourmet Food",
    ("non gmo", "resealable bag", "family owned", "small batch"),
    (
      "Keep it in a cool, dry place.",
      "Good on its own and better with friends.",
      "From growers whom we know by name.",
    ),
  ),
}

BRANDS = (
  "Alderby",
  "Brindlewick",
  "Corvane",
  "Dunmorrow",
  "Elstead",
  "Farrowmere",
  "Gantley",
  "Hollisar",
  "Ivenna",
  "Jorrick",
  "Kestriva",
  "Lowenfeld",
  "Marnoch",
  "Northolme",
  "Orlestra",
  "Pennaway",
)

OPENINGS = (
  "i am looking for",
  "i need",
  "i want to buy",
  "find me",
  "please get me",
)

OPTIONS = {
  "color": ("black", "white", "navy", "burgundy", "olive", "grey", "teal"),
  "size": ("x-small", "small", "medium", "large", "x-large", "xx-large"),
  "shoe size": ("6", "7", "8", "9", "10", "11", "12"),
  "scent": ("lavender", "citrus", "unscented", "rose", "sandalwood"),
  "volume": ("1 fl oz", "3.4 fl oz", "8 fl oz", "16 fl oz"),
  "shade": ("ivory", "beige", "caramel", "espresso", "peach"),
  "length": ("3 feet", "6 feet", "10 feet", "15 feet"),
  "capacity": ("64gb", "128gb", "256gb", "512gb"),
  "style": ("classic", "slim", "with stand", "with case"),
  "dimensions": ("12 x 18 in", "16 x 24 in", "24 x 36 in", "30 x 40 in"),
  "finish": ("oak", "walnut", "matte black", "brushed steel"),
  "flavor": ("original", "honey", "sea salt", "spicy chili", "dark chocolate"),
  "pack": ("pack of 1", "pack of 3", "pack of 6", "pack of 12"),
}

_CLOTH = (
  "long sleeve",
  "short sleeve",
  "cotton blend",
  "slim fit",
  "relaxed fit",
  "moisture wicking",
  "elastic waist",
  "button closure",
)
_SHOE = (
  "rubber sole",
  "arch support",
  "memory foam",
  "water resistant",
  "slip resistant",
  "wide toe box",
  "lace up",
)
_SKIN = (
  "fragrance free",
  "paraben free",
  "anti aging",
  "oil free",
  "hyaluronic acid",
  "sensitive skin",
  "long lasting",
)
_HAIR = (
  "sulfate free",
  "argan oil",
  "color treated hair",
  "dry hair",
  "tea tree",
  "volume boosting",
)
_DEVICE = (
  "noise cancelling",
  "fast charging",
  "long battery life",
  "water proof",
  "high speed",
  "hands free",
  "stereo sound",
)
_CABLE = (
  "gold plated",
  "high definition",
  "fast charging",
  "nylon braided",
  "heavy duty",
  "high speed",
)
_FURNITURE = (
  "solid wood",
  "mid century",
  "assembly required",
  "adjustable height",
  "faux leather",
  "steel frame",
  "high density foam",
)
_DECOR = (
  "hand painted",
  "machine washable",
  "double sided",
  "fade resistant",
  "ready to hang",
  "thick fabric",
)
_FOOD = (
  "gluten free",
  "sugar free",
  "low sodium",
  "high protein",
  "keto friendly",
  "plant based",
  "certified organic",
)
_DRINK = (
  "caffeine free",
  "fair trade",
  "low acid",
  "certified organic",
  "zero calories",
  "single origin",
)


def _kinds(category, shelf, attributes, options, prices, names):
  """Kinds that differ in their name alone; a search is its plural."""
  return tuple(
    Kind(category, shelf, name, f"{name}s", attributes, options, prices)
    for name in names
  )


_CLOTHES = ("dress shirt", "hoodie", "cardigan", "jogger", "polo shirt")
_SHOES = ("running shoe", "ankle boot", "loafer")
_CREAMS = ("face serum", "body lotion", "hand cream")
_WASHES = ("shampoo bottle", "conditioner", "hair mask")
_MAKEUP = ("foundation stick", "lip gloss")
_GADGETS = ("bluetooth speaker", "wireless earbud", "action camera")
_STORES = ("tablet computer", "portable drive")
_CABLES = ("hdmi cable", "charging cable", "extension cord")
_SEATS = ("bar stool", "desk chair", "nightstand", "coffee table")
_HANGINGS = ("wall canvas", "pillow cover", "area rug", "window curtain")
_SNACKS = ("granola bar", "trail mix", "popcorn bag", "almond cracker")
_DRINKS = ("ground coffee", "herbal tea", "sparkling juice", "cocoa mix")

KINDS = (
  *_kinds("fashion", "Apparel", _CLOTH, ("color", "size"), (18, 60), _CLOTHES),
  *_kinds("fashion", "Shoes", _SHOE, ("color", "shoe size"), (35, 120), _SHOES),
  *_kinds("beauty", "Skin Care", _SKIN, ("scent", "volume"), (8, 45), _CREAMS),
  *_kinds("beauty", "Hair Care", _HAIR, ("scent", "volume"), (7, 35), _WASHES),
  *_kinds("beauty", "Makeup", _SKIN, ("shade",), (6, 30), _MAKEUP),
  *_kinds(
    "electronics", "Audio", _DEVICE, ("color", "style"), (25, 180), _GADGETS
  ),
  *_kinds("electronics", "Storage", _DEVICE, ("capacity",), (60, 400), _STORES),
  *_kinds("electronics", "Cables", _CABLE, ("length",), (6, 30), _CABLES),
  *_kinds("garden", "Furniture", _FURNITURE, ("finish",), (40, 260), _SEATS),
  *_kinds(
    "garden", "Decor", _DECOR, ("color", "dimensions"), (12, 90), _HANGINGS
  ),
  *_kinds("grocery", "Snacks", _FOOD, ("flavor", "pack"), (5, 40), _SNACKS),
  *_kinds("grocery", "Beverages", _DRINK, ("flavor", "pack"), (6, 45), _DRINKS),
)
