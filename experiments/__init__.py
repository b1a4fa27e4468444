"""Binaries and their configs: `python -m experiments.train` in a checkout.

A wheel brings this folder as the package `graphgpo_jax.experiments`, since a
top-level package of so common a name would meet those of other projects. There
the binaries are console commands, see `commands.py`, and can be started as
`python -m graphgpo_jax.experiments.train`. Its modules and configs import one
another as `experiments`, which is this package's second name, in a process that
imports it and in no other: `import graphgpo_jax` does not.
"""

import sys

# What `python -m` needs before a binary's name.
PACKAGE = __name__

if (
  sys.modules.setdefault("experiments", sys.modules[__name__])
  is not sys.modules[__name__]
):
  raise ImportError(
    f"{__name__} goes by the name `experiments`, which another package has in "
    f"this process: {sys.modules['experiments']}; import only one of them, or "
    "start the binary in a process of its own"
  )
