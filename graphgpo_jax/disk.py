"""What an error of the operating system says of a disk."""

import errno

# No space left, over quota, beyond the largest file that is allowed.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_full(error: OSError) -> bool:
  """Whether a write failed for want of room, which may come back.

  Args:
    error: what the write raised.
  """
  return error.errno in _NO_ROOM
