"""What is fuzzed: sound files, their reader, and the errors it promises."""

import contextlib
import dataclasses
import fnmatch
import importlib.util
import pathlib
from collections.abc import Callable, Mapping

from tests.fuzz import mutations

Files = Mapping[str, bytes]


@dataclasses.dataclass(frozen=True)
class Target:
  """A reader under test.

  Attributes:
    name: for the command line.
    make: writes sound files into an empty folder.
    read: reads them; ends, and raises nothing but `errors`.
    cases: share of `make fuzz`.
    core_cases: share of the core tests.
    errors: what the reader's docstring promises.
    packages: what must be installed.
    damages: patterns of the names of files that are damaged.
  """

  name: str
  make: Callable[[pathlib.Path], None]
  read: Callable[[pathlib.Path], None]
  cases: int
  core_cases: int = 0
  errors: tuple[type[Exception], ...] = (ValueError,)
  packages: tuple[str, ...] = ()
  damages: tuple[str, ...] = ("*",)

  @property
  def missing(self) -> list[str]:
    """Packages that are not installed."""
    return [
      name for name in self.packages if not importlib.util.find_spec(name)
    ]

  def damaged_names(self, files: Files) -> list[str]:
    """Names of the files that cases damage, in order."""
    return sorted(
      name
      for name in files
      if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.damages)
    )

  def damaged(self, files: Files, case: int) -> dict[str, bytes]:
    """The files of a case: one of them, seldom two, damaged."""
    rng = mutations.generator(self.name, case)
    names = self.damaged_names(files)
    found = dict(files)
    for _ in range(1 + int(rng.random() < 0.1)):
      name = names[int(rng.integers(len(names)))]
      found[name] = mutations.damage_file(rng, name, found[name])
    return found


def write(folder: pathlib.Path, files: Files) -> None:
  """Writes files, in folders of their own where their names say so."""
  for name, data in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def contents(folder: pathlib.Path) -> dict[str, bytes]:
  """The files of a folder and those below it."""
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


def out_of_memory(error: BaseException | None) -> bool:
  """Whether an error is of memory, or was raised because of such a one."""
  while error is not None:
    if isinstance(error, MemoryError) or "out of memory" in str(error):
      return True
    error = error.__cause__ or error.__context__
  return False


@contextlib.contextmanager
def replaced(owner, name, value):
  """An attribute with another value while the block runs."""
  before = getattr(owner, name)
  setattr(owner, name, value)
  try:
    yield
  finally:
    setattr(owner, name, before)
