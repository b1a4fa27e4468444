import pytest

from graphgpo_jax.policy.acting import tags

COMMANDS = ("go to desk 1", "look", "take Mug 1 from desk 1")
SPEC = tags.TagSpec()


@pytest.mark.parametrize(
  ("response", "command"),
  [
    ("<think>hm</think><action>look</action>", "look"),
    ("<action>look</action> no: <action>go to desk 1</action>", "go to desk 1"),
    ("<ACTION>\n Take  mug 1\tfrom DESK 1 </Action>", "take Mug 1 from desk 1"),
    # The innermost pair is the well-formed one; what is open does not count.
    ("<action>no <action>look</action> rest</action>", "look"),
    ("<action>look</action><action>go to", "look"),
    (
      "<think><action>go to desk 1</action></think><action>look</action>",
      "look",
    ),
  ],
)
def test_commands_are_found(response, command):
  found = tags.parse(response, COMMANDS, SPEC)
  assert (found.command, found.valid, found.tagged) == (command, True, True)


@pytest.mark.parametrize(
  ("response", "command", "tagged"),
  [
    ("<action>fly\n away</action>", "fly away", True),
    ("<action>go to desk</action>", "go to desk", True),
    ("I look", "I look", False),
    ("<action>look", "<action>look", False),
    ("<action> </action>", "nothing", True),
    ("", "nothing", False),
    # The last one counts, even where one before it could be followed.
    ("<action>look</action><action>fly</action>", "fly", True),
  ],
)
def test_what_is_no_command(response, command, tagged):
  found = tags.parse(response, COMMANDS, SPEC)
  assert (found.command, found.valid, found.tagged) == (command, False, tagged)
  quiet = tags.TagSpec(invalid_command="wait")
  assert tags.parse(response, COMMANDS, quiet).command == "wait"


def test_a_text_of_any_length_is_sent_in_part():
  found = tags.parse("x" * 3000 + "the end", COMMANDS, SPEC)
  assert len(found.command) < 1000 and found.command.endswith("the end")


def test_equal_but_for_case_the_written_one_is_taken():
  commands = ("go A", "go a")
  for command in commands:
    found = tags.parse(f"<action>{command}</action>", commands, SPEC)
    assert found.command == command
  assert tags.parse("<action>GO A</action>", commands, SPEC).command == "go A"


def test_where_the_world_lists_nothing_it_judges_itself():
  found = tags.parse("<action>Go  north</action>", (), SPEC)
  assert found.valid and found.command == "Go north"
  assert not tags.parse("Go north", (), SPEC).valid


def test_free_commands():
  spec = tags.TagSpec(free_commands=[r"search\[.+\]"])
  found = tags.parse("<action>Search[red shoe]</action>", COMMANDS, spec)
  assert found.valid and found.command == "Search[red shoe]"
  for text in ("search[]", "research[x]", "search[x] now"):
    assert not tags.parse(f"<action>{text}</action>", COMMANDS, spec).valid


@pytest.mark.parametrize(
  ("response", "valid"),
  [
    ("<think>so</think> <action>look</action>", True),
    ("<think>so <action>look</action>", False),
    ("<action>look</action>", False),
    ("<action>look</action><think>so</think>", False),
  ],
)
def test_a_thought_may_be_required(response, valid):
  spec = tags.TagSpec(require_thought=True)
  found = tags.parse(response, COMMANDS, spec)
  # The command is followed all the same, as in the recipe.
  assert found.valid == valid and found.command == "look"


@pytest.mark.parametrize("given", ["search", ("(",)])
def test_bad_patterns_are_named(given):
  with pytest.raises(ValueError, match="free_commands"):
    tags.TagSpec(free_commands=given)
