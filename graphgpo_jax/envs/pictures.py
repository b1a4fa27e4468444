"""What a person reads of an environment's states and actions."""

from collections.abc import Callable
from typing import Any

from graphgpo_jax.envs import types, wrapper

# Of a state; of the state before an action and the action.
StateText = Callable[[Any], str]
ActionText = Callable[[Any, int], str]


def text_viewer(
  environment: types.Environment,
) -> tuple[StateText, ActionText] | None:
  """Viewers of an environment's states and actions, on the host.

  Args:
    environment: wrapped or not.

  Returns:
    Two functions of one state (unbatched); None for an environment that has no
    viewer.
  """
  if isinstance(environment, wrapper.Wrapper):
    inner = text_viewer(environment.environment)
    if inner is None:
      return None
    show, name = inner
    return (
      lambda state: show(getattr(state, "world", state)),
      lambda state, action: name(getattr(state, "world", state), action),
    )
  if environment.spec.name.startswith("household"):
    from graphgpo_jax.envs.household import viewer as household

    hidden = bool(getattr(environment, "hidden", False))
    return (
      lambda state: household.render_observation(state, hidden=hidden),
      household.render_action,
    )
  if environment.spec.name == "sokoban":
    from graphgpo_jax.envs.sokoban import types as sokoban_types
    from graphgpo_jax.envs.sokoban import viewer as sokoban

    return (
      sokoban.render_text,
      lambda state, action: sokoban_types.ACTION_NAMES[action],
    )
  return None
