"""A tool environment of Tunix: six rooms, a tool to walk, one room to find."""

import types
from collections.abc import Mapping
from typing import Any

from graphgpo_jax import extras

_PURPOSE = "the Tunix example"
base_environment: Any = extras.require(
  "tunix.rl.agentic.environments.base_environment", _PURPOSE, extra="tunix"
)
base_tool: Any = extras.require(
  "tunix.rl.agentic.tools.base_tool", _PURPOSE, extra="tunix"
)
tool_environment: Any = extras.require(
  "tunix.rl.agentic.environments.tool_environment", _PURPOSE, extra="tunix"
)

# A plan of two rows, and where the walls are: none but around it.
PLAN = (("hall", "kitchen", "cellar"), ("garden", "study", "attic"))
ROOMS = tuple(room for row in PLAN for room in row)
DOORS: Mapping[str, tuple[int, int]] = types.MappingProxyType(
  {"north": (-1, 0), "south": (1, 0), "west": (0, -1), "east": (0, 1)}
)
START, GOAL = "hall", "study"
_ANSWER = "Tool returned result: "


class Walk(base_tool.BaseTool):
  """Walk through a door of the room."""

  def get_json_schema(self) -> dict[str, Any]:
    """The tool as a chat model is told of it."""
    door = {"type": "string", "enum": list(DOORS)}
    return {
      "type": "function",
      "function": {
        "name": self.name,
        "description": self.description,
        "parameters": {
          "type": "object",
          "properties": {"door": door},
          "required": ["door"],
        },
      },
    }

  def apply(self, door: str, room: str) -> Any:
    """Walks from a room.

    Args:
      door: one of DOORS; a wall leaves one where one is.
      room: where one is; the environment says so, not the model.

    Returns:
      A ToolOutput with the room that one is in then.
    """
    row, column = divmod(ROOMS.index(room), len(PLAN[0]))
    down, right = DOORS[door]
    inside = 0 <= row + down < len(PLAN) and 0 <= column + right < len(PLAN[0])
    found = PLAN[row + down][column + right] if inside else room
    return base_tool.ToolOutput(name=self.name, output=found)


TOOLS = {"walk": Walk}


class RoomsEnvironment(tool_environment.ToolEnvironment):
  """Reward 1 for walking into GOAL, which ends the episode."""

  def __init__(self, task: dict[str, Any] | None = None, **kwargs):
    """Takes what Tunix's ToolEnvironment takes, its tools apart."""
    super().__init__(task, tool_map=TOOLS, **kwargs)
    self._room = START

  def _initial_observation(self) -> dict[str, Any]:
    self._room = START
    # Tunix asks the task for "prompts" later, its ToolAgent for "question".
    return {**self.task, "question": START}

  def _execute_tool_calls(self, tool_calls: list[Any]) -> dict[str, str]:
    """Carries out the first call; tools have no memory, so it is told."""
    (call,) = tool_calls[:1]
    function = call["function"]
    arguments = function["arguments"][:-1] + f', "room": "{self._room}"}}'
    told = {**call, "function": {**function, "arguments": arguments}}
    (outcome,) = super()._execute_tool_calls([told]).values()
    self._room = outcome
    return {call["id"]: outcome}

  def _step_impl(self, action: Any) -> Any:
    result = super()._step_impl(action)
    if result.done or self._room != GOAL:
      return result
    return base_environment.EnvStepResult(
      observation=result.observation, reward=1.0, done=True, info=result.info
    )


def state_key(message: Mapping[str, Any]) -> str:
  """The room that a message tells of: the state.

  Args:
    message: the task, or a tool's answer.

  Returns:
    The room's name.
  """
  return message["content"].removeprefix(_ANSWER)
