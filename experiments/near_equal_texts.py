"""Observations as text agents see them: few pages, each in many versions.

For tests and benchmarks of `graphgpo_jax.tables.near_equal`. A page is a room,
an opened receptacle, a list of search results or an item of a shop; a version
of it has another clock and step counter, its lists in another order, entries
that come and go, and typing noise. How much of that differs from version to
version, so that similarities lie on both sides of any threshold, and close to
it too.
"""

import random
from collections.abc import Callable


def _words(text: str) -> list[str]:
  return text.split()


_RECEPTACLES = _words("""
cabinet countertop drawer fridge garbagecan microwave shelf sidetable sinkbasin
stoveburner toaster coffeemachine dresser armchair bed desk sofa
""")
_OBJECTS = _words("""
apple bowl bread butterknife cellphone creditcard cup dishsponge egg fork
glassbottle houseplant kettle knife lettuce mug pan pencil peppershaker plate
pot potato saltshaker soapbottle spatula spoon statue tomato vase
""")
_COLOURS = _words("""
black blue brown gold green grey navy pink red silver white
""")
_ROOMS = ("kitchen", "bedroom", "bathroom", "living room", "study")
_GOODS = (
  "running shoes",
  "desk lamp",
  "water bottle",
  "hair dryer",
  "wool sweater",
  "phone case",
  "office chair",
  "tea kettle",
  "yoga mat",
  "rain jacket",
)
_TRAITS = (
  "lightweight",
  "machine washable",
  "non slip",
  "easy to clean",
  "long lasting",
  "water resistant",
  "slim fit",
  "hand made",
  "foldable",
  "heavy duty",
)
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789 "

Version = Callable[[random.Random, float], str]


def near_equal_texts(
  num_texts: int, *, seed: int = 0, texts_per_page: float = 12.0
) -> list[str]:
  """Distinct observations, about 100 to 1,000 characters long.

  Args:
    num_texts: how many.
    seed: of everything drawn.
    texts_per_page: how many versions a page has, on average; some have many.

  Returns:
    num_texts texts, no two equal, in no order.
  """
  rng = random.Random(seed)
  num_pages = max(1, round(num_texts / texts_per_page))
  pages = [_page(rng) for _ in range(num_pages)]
  texts: dict[str, None] = {}
  while len(texts) < num_texts:
    # Squared, so that a few pages are seen far more often than most.
    page = pages[int(num_pages * rng.random() ** 2)]
    change = rng.choice((0.0, 0.0, 0.1, 0.2, 0.35, 0.5))
    texts.setdefault(_with_noise(rng, page(rng, change), change))
  return list(texts)


def _page(rng: random.Random) -> Version:
  return rng.choice((_room, _receptacle, _results, _item))(rng)


def _room(rng: random.Random) -> Version:
  room = rng.choice(_ROOMS)
  places = _numbered(rng, _RECEPTACLES, rng.randrange(6, 22))
  task = f"put a {rng.choice(_OBJECTS)} in {rng.choice(_RECEPTACLES)}"

  def version(rng, change):
    seen = ", a ".join(_changed(rng, places, change))
    return (
      f"Step {rng.randrange(50)}. You are in the middle of a {room}. Looking "
      f"quickly around you, you see a {seen}. Your task is to: {task}."
    )

  return version


def _receptacle(rng: random.Random) -> Version:
  place = _numbered(rng, _RECEPTACLES, 1)[0]
  things = _numbered(rng, _OBJECTS, rng.randrange(2, 14))

  def version(rng, change):
    seen = ", a ".join(_changed(rng, things, change)) or "nothing"
    return (
      f"[{_clock(rng)}] You open the {place}. The {place} is open. In it, you "
      f"see a {seen}. You have {rng.randrange(50)} steps left."
    )

  return version


def _results(rng: random.Random) -> Version:
  query = f"{rng.choice(_TRAITS)} {rng.choice(_COLOURS)} {rng.choice(_GOODS)}"
  number = rng.randrange(1, 9)
  items = [
    f"{_code(rng)} [SEP] {_title(rng)} [SEP] ${rng.randrange(500, 20000) / 100}"
    for _ in range(rng.randrange(3, 10))
  ]

  def version(rng, change):
    return (
      f"Instruction: [SEP] Find me a {query} [SEP] Back to Search [SEP] Page "
      f"{number} (Total results: {rng.randrange(10, 99)}) [SEP] Next > [SEP] "
      + " [SEP] ".join(_changed(rng, items, change))
    )

  return version


def _item(rng: random.Random) -> Version:
  title = _title(rng)
  price = rng.randrange(500, 20000) / 100
  choices = rng.sample(_COLOURS, rng.randrange(2, len(_COLOURS)))

  def version(rng, change):
    shown = " [SEP] ".join(_changed(rng, choices, change))
    return (
      f"Back to Search [SEP] < Prev [SEP] color [SEP] {shown} [SEP] {title} "
      f"[SEP] Price: ${price} [SEP] Rating: {rng.randrange(10, 50) / 10} [SEP] "
      f"Description [SEP] Features [SEP] Reviews ({rng.randrange(2000)}) [SEP] "
      "Buy Now"
    )

  return version


def _numbered(rng: random.Random, names: list[str], count: int) -> list[str]:
  return [f"{rng.choice(names)} {rng.randrange(1, 9)}" for _ in range(count)]


def _clock(rng: random.Random) -> str:
  return f"{rng.randrange(24):02}:{rng.randrange(60):02}"


def _code(rng: random.Random) -> str:
  return "B0" + "".join(rng.choices("0123456789BCDFGHJKLMNPQRSTVWXYZ", k=8))


def _title(rng: random.Random) -> str:
  traits = ", ".join(rng.sample(_TRAITS, 3))
  return f"{rng.choice(_COLOURS)} {rng.choice(_GOODS)}, {traits}"


def _changed(rng: random.Random, items: list[str], change: float) -> list[str]:
  """Some of a page's items, and in another order, the more the change."""
  kept = [item for item in items if rng.random() >= change / 3]
  if rng.random() < 2 * change:
    rng.shuffle(kept)
  return kept


def _with_noise(rng: random.Random, text: str, change: float) -> str:
  """The text with some of its characters replaced, dropped or doubled."""
  letters = list(text)
  for _ in range(int(rng.random() * change * len(text) / 6)):
    place = rng.randrange(len(letters))
    letters[place] = rng.choice((rng.choice(_LETTERS), "", 2 * letters[place]))
  return "".join(letters)
