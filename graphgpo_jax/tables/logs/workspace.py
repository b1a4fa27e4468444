"""The folder of an unfinished run: what is done, safe against a kill.

Files grow; the manifest says how much of each counts. It is replaced as a
whole after the files are on disk, so whenever a run ends, the manifest is true
and the rest of the files is cut off.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

try:
  import fcntl
except ImportError:  # Not on Windows; two runs at once go unnoticed there.
  fcntl = None  # type: ignore[assignment]

_MANIFEST = "manifest.json"
_LOCK = "lock"
# Of another format nothing is read.
_FORMAT = 1


class Workspace:
  """`OUTPUT.partial`, held by one process."""

  def __init__(self, output: str, identity: Mapping[str, Any]):
    """Names the folder; `open` makes it.

    Args:
      output: the file that the run is to write.
      identity: what the run computes from what, as JSON; only a run of the
        same identity goes on.
    """
    self.folder = f"{output}.partial"
    self._identity = {"format": _FORMAT, **identity}
    self.keeps_anything = False  # whether a later run can go on from here

  @contextlib.contextmanager
  def open(self, *, restart: bool) -> Iterator[dict[str, Any] | None]:
    """Takes the folder, and makes it if it is not there.

    Args:
      restart: throw away what an earlier run left.

    Yields:
      The state that was last committed, None if there is none.

    Raises:
      ValueError: the folder is another run's; the message says in what they
        differ. Or another process holds it.
    """
    made = not os.path.isdir(self.folder)
    os.makedirs(self.folder, exist_ok=True)
    with open(self.path(_LOCK), "ab") as lock:
      self._take(lock)
      if restart:
        self.clear()
      manifest = self._read()
      if manifest is None:
        if not made and not restart:
          self._check_is_ours()
        self.clear()
        yield None
      else:
        if not isinstance(manifest, dict) or not all(
          isinstance(manifest.get(name), dict) for name in ("identity", "state")
        ):
          raise ValueError(
            f"{self.path(_MANIFEST)}: expected the state of an unfinished run; "
            "--restart throws it away"
          )
        self._compare(manifest["identity"])
        self.keeps_anything = True
        yield manifest["state"]

  def path(self, name: str) -> str:
    """Path of a file in the folder."""
    return os.path.join(self.folder, name)

  def commit(self, state: Mapping[str, Any]) -> None:
    """Makes a state the one that a later run goes on from.

    Args:
      state: as JSON; the files that it speaks of must be on disk.
    """
    manifest = {"identity": self._identity, "state": state}
    partial = self.path(_MANIFEST + ".new")
    with open(partial, "w", encoding="utf-8") as file:
      json.dump(manifest, file, indent=1)
      sync(file)
    os.replace(partial, self.path(_MANIFEST))
    sync_folder(self.folder)
    self.keeps_anything = True

  def clear(self) -> None:
    """Removes all files, the manifest first."""
    with contextlib.suppress(FileNotFoundError):
      os.remove(self.path(_MANIFEST))
    self.keeps_anything = False
    for name in os.listdir(self.folder):
      if name != _LOCK:
        os.remove(self.path(name))

  def remove(self) -> None:
    """Removes the folder; the manifest goes last."""
    for name in os.listdir(self.folder):
      if name not in (_MANIFEST, _LOCK):
        os.remove(self.path(name))
    shutil.rmtree(self.folder)

  def _take(self, lock: Any) -> None:
    if fcntl is None:
      return
    try:
      # The system lets go of it however the process ends.
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise ValueError(
        f"{self.folder}: expected one run at a time, and another one is "
        "writing there"
      ) from None

  def _read(self) -> Any:
    try:
      with open(self.path(_MANIFEST), encoding="utf-8") as file:
        return json.load(file)
    except FileNotFoundError:
      return None
    except (ValueError, RecursionError) as error:
      raise ValueError(
        f"{self.path(_MANIFEST)}: expected the state of an unfinished run, "
        f"got invalid JSON ({error}); --restart throws it away"
      ) from None

  def _check_is_ours(self) -> None:
    """No file but those of a run that was killed before its first commit."""
    for name in os.listdir(self.folder):
      stem = name.split(".")[0].split("-")[0]
      if stem not in (_LOCK, "manifest", "credit", "faults", "tasks", "bucket"):
        raise ValueError(
          f"{self.folder}: expected no such folder or one of an unfinished "
          f"run, got one with a file {name!r}"
        )

  def _compare(self, earlier: Mapping[str, Any]) -> None:
    differences = list(_differences(earlier, self._identity))
    if differences:
      raise ValueError(
        f"{self.folder} holds an unfinished run of another kind: "
        f"{'; '.join(differences)}. Give what it was given to go on, or "
        "--restart to throw it away"
      )


def _differences(
  earlier: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> Iterator[str]:
  for name in sorted({*earlier, *now}):
    one, two = earlier.get(name), now.get(name)
    if isinstance(one, Mapping) and isinstance(two, Mapping):
      yield from _differences(one, two, f"{prefix}{name} ")
    elif one != two:
      yield f"{prefix}{name} was {one}, is {two}"


class Appender:
  """A file that grows behind what a manifest says of it."""

  def __init__(self, path: str, size: int):
    """Opens the file and cuts it off.

    Args:
      path: the file, made if `size` is 0.
      size: bytes that count.

    Raises:
      ValueError: the file is shorter than that.
    """
    self._file = open(path, "ab" if size else "wb")  # noqa: SIM115
    have = os.path.getsize(path)
    if have < size:
      self._file.close()
      raise ValueError(
        f"{path}: expected at least {size} bytes of an unfinished run, got "
        f"{have}; --restart throws it away"
      )
    self._file.truncate(size)
    self._file.seek(size)

  def write(self, data: Any) -> None:
    """Adds bytes."""
    self._file.write(data)

  def sync(self) -> int:
    """Brings everything to the disk; returns the size."""
    sync(self._file)
    return self._file.tell()

  def close(self) -> None:
    """Closes the file."""
    self._file.close()


def sync(file: Any) -> None:
  """Brings an open file to the disk."""
  file.flush()
  os.fsync(file.fileno())


def sync_folder(folder: str) -> None:
  """Brings the names of a folder's files to the disk."""
  if os.name == "nt":
    return
  handle = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(handle)
  finally:
    os.close(handle)
