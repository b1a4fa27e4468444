"""Damage to files: bytes, lines and JSON, each drawn from a generator."""

import copy
import json
import struct

import numpy as np

# Of more levels than Python's recursion has.
DEEP = 5000
# Bytes.
_HEADER = 2048
_NUMBERS = (0, 1, 127, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1)
_LONG_NUMBERS = (*_NUMBERS, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
PATHS = (
  "../outside.safetensors",
  "../../../../etc/passwd",
  "/etc/passwd",
  "..",
  ".",
  "",
  "a/../../outside.safetensors",
  "a\\..\\outside",
  "name\x00.safetensors",
)
# What stands in a file as it is, and has no value in Python or a costly one.
_RAW = (
  "NaN",
  "Infinity",
  "-Infinity",
  "1e999",
  "-0.0",
  "9" * 400,
  "9" * 5000,
  "[" * DEEP + "]" * DEEP,
  '{"a":' * DEEP + "0" + "}" * DEEP,
  '"\\ud800"',
  "undefined",
)
_VALUES = (
  None,
  True,
  False,
  0,
  1,
  -1,
  0.5,
  2**31,
  2**53 + 1,
  2**63,
  2**64,
  -(10**30),
  "",
  "text",
  "1",
  "x" * 10_000,
  [],
  [None],
  [[1], [2]],
  {},
  {"a": 1},
  *PATHS,
)


def _pick(rng, options):
  return options[int(rng.integers(len(options)))]


def damage_bytes(rng, data, other=b""):
  """One to four changes of single places of a file.

  Args:
    rng: NumPy generator.
    data: the file.
    other: a file that pieces are taken from.
  """
  data = bytearray(data)
  for _ in range(int(rng.integers(1, 5))):
    place = int(rng.integers(len(data) + 1))
    match int(rng.integers(9)):
      case 0 if place < len(data):
        data[place] ^= 1 << int(rng.integers(8))
      case 1 if place < len(data):
        data[place] = int(rng.integers(256))
      case 2:
        del data[place:]
      case 3:
        del data[place : place + int(rng.integers(1, 64))]
      case 4:
        data[place:place] = rng.bytes(int(rng.integers(1, 16)))
      case 5:
        source = other or bytes(data)
        start = int(rng.integers(len(source) + 1))
        data[place:place] = source[start : start + int(rng.integers(1, 256))]
      case 6:
        # Most formats have their counts and lengths at multiples of four.
        place = place // 4 * 4
        data[place : place + 4] = struct.pack("<I", _pick(rng, _NUMBERS))
      case 7:
        number = struct.pack("<Q", _pick(rng, _LONG_NUMBERS))
        data[place : place + 8] = number
      case 8:
        # A number of up to 64 bits as Thrift and Protobuf write it.
        data[place:place] = b"\xff" * int(rng.integers(1, 10)) + b"\x7f"
  return bytes(data)


def damage_lines(rng, data):
  """Lines twice, lost, in another order, glued together or not UTF-8."""
  lines = data.splitlines(keepends=True) or [b""]
  place = int(rng.integers(len(lines)))
  match int(rng.integers(7)):
    case 0:
      lines.insert(int(rng.integers(len(lines) + 1)), lines[place])
    case 1:
      del lines[place]
    case 2:
      lines = [lines[index] for index in rng.permutation(len(lines))]
    case 3:
      lines[place] = lines[place].rstrip(b"\r\n")
    case 4:
      lines.insert(place, _pick(rng, (b"\n", b" \t\n", b"\x00\n", b"\xff\n")))
    case 5:
      lines.insert(place, _pick(rng, _RAW).encode() + b"\n")
    case 6:
      lines[place] = damage_bytes(rng, lines[place])
  return b"".join(lines)


def _places(value, parent=None, key=None):
  """Every container and the key or index of each of its entries."""
  if parent is not None:
    yield parent, key
  if isinstance(value, dict):
    for name in value:
      yield from _places(value[name], value, name)
  elif isinstance(value, list):
    for index in range(len(value)):
      yield from _places(value[index], value, index)


def damage_json(rng, value):
  """One to three changes of a JSON value.

  Args:
    rng: NumPy generator.
    value: what `json.loads` gave; it stays as it is.

  Returns:
    JSON text; perhaps with a key twice, numbers that JSON does not have, or
    thousands of levels.
  """
  value = copy.deepcopy(value)
  raw = {}
  for _ in range(int(rng.integers(1, 4))):
    places = list(_places(value))
    if not places:
      value = _pick(rng, _VALUES)
      continue
    parent, key = _pick(rng, places)
    match int(rng.integers(6)):
      case 0:
        parent[key] = copy.deepcopy(_pick(rng, _VALUES))
      case 1:
        mark = f"@raw{len(raw)}@"
        raw[json.dumps(mark)] = _pick(rng, _RAW)
        parent[key] = mark
      case 2:
        del parent[key]
      case 3:
        other, name = _pick(rng, places)
        # Both may have been one inside the other: copies hold no cycles.
        if isinstance(other, dict) and name in other:
          parent[key] = copy.deepcopy(other[name])
      case 4 if isinstance(parent, dict):
        mark = f"@twice{len(raw)}@"
        raw[json.dumps(mark)] = json.dumps(key)
        parent[mark] = copy.deepcopy(_pick(rng, _VALUES))
      case 4 | 5:
        if isinstance(parent, dict):
          name = _pick(rng, ("", "other", "step", "__proto__", "\ud800"))
          parent[name] = parent.pop(key)
        else:
          parent.insert(key, copy.deepcopy(parent[key]))
  text = json.dumps(value)
  for mark, instead in raw.items():
    text = text.replace(mark, instead)
  return text


def damage_file(rng, name, data):
  """Damage that suits a file, by the end of its name."""
  if name.endswith(".gguf") and rng.random() < 0.8:
    # Its header: most of the rest may be any bytes.
    return damage_bytes(rng, data[:_HEADER]) + data[_HEADER:]
  if name.endswith(".parquet") and rng.random() < 0.5:
    # Its footer.
    return data[:-_HEADER] + damage_bytes(rng, data[-_HEADER:])
  if rng.random() < 0.35:
    return damage_bytes(rng, data)
  try:
    if name.endswith(".json"):
      return damage_json(rng, json.loads(data)).encode()
    if name.endswith(".jsonl") and rng.random() < 0.7:
      lines = data.splitlines()
      place = int(rng.integers(len(lines)))
      lines[place] = damage_json(rng, json.loads(lines[place])).encode()
      return b"\n".join(lines) + b"\n"
    if name.endswith(".safetensors"):
      return _damage_header(rng, data)
  except (ValueError, IndexError, RecursionError):  # Damaged already.
    return damage_bytes(rng, data)
  if name.endswith((".jsonl", ".txt")):
    return damage_lines(rng, data)
  return damage_bytes(rng, data)


def _damage_header(rng, data):
  """A safetensors file whose header is other JSON of the right length."""
  (size,) = struct.unpack("<Q", data[:8])
  header = damage_json(rng, json.loads(data[8 : 8 + size])).encode()
  return struct.pack("<Q", len(header)) + header + data[8 + size :]


def generator(name, case):
  """The generator of one case of a target: the same in every process."""
  return np.random.default_rng([case, *name.encode()])
