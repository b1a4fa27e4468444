"""One run at a time on a work directory."""

import fcntl
import os
import pathlib


class WorkdirLock:
  """A lock that ends with its process, however that ends."""

  def __init__(self, workdir: str | os.PathLike):
    """Takes the lock.

    Args:
      workdir: existing folder; `run.lock` is in it while the lock is held. The
        file alone means nothing: a killed run leaves it and no lock.

    Raises:
      ValueError: another process has the lock; its number is named.
    """
    self._path = pathlib.Path(workdir) / "run.lock"
    while True:
      file = open(self._path, "a+")  # noqa: SIM115
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError as error:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise ValueError(
          f"workdir {workdir} is in use by the running process {owner}; stop "
          "it first, or choose another workdir"
        ) from error
      if self._is_the_one_on_disk(file):
        break
      # Its last owner removed it while this process was opening it.
      file.close()
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    self._file = file

  def _is_the_one_on_disk(self, file) -> bool:
    try:
      return os.path.samestat(os.fstat(file.fileno()), os.stat(self._path))
    except FileNotFoundError:
      return False

  def close(self) -> None:
    """Gives the lock back."""
    if not self._file.closed:
      self._path.unlink(missing_ok=True)
      self._file.close()
