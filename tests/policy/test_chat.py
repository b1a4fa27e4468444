import json
import re

import pytest

from graphgpo_jax.policy import chat

pytestmark = pytest.mark.extra("lm")

USER = {"role": "user", "content": "Hi"}
CHATML = (
  "{%- for m in messages %}\n"
  "    {% if loop.first and m.role != 'system' %}\n"
  "<|im_start|>system\nBe kind.<|im_end|>\n"
  "    {% endif %}\n"
  "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}\n"
  "{%- endfor %}\n"
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_render():
  template = chat.ChatTemplate(CHATML)
  # Blocks take their line with them, as templates count on.
  start = (
    "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
  )
  assert template.render([USER]) == start + "<|im_start|>assistant\n"
  assert template.render([USER], add_generation_prompt=False) == start
  both = [{"role": "system", "content": "Short."}, USER]
  assert template.render(both).startswith(
    "<|im_start|>system\nShort.<|im_end|>"
  )


@pytest.mark.parametrize(
  ("source", "expected"),
  [
    ("{{ bos_token }}|{{ eos_token }}", "<s>|"),
    ("{{ {'a': '<é>'} | tojson }}", '{"a": "<é>"}'),
    ("{{ [1, 2] | tojson(indent=1) }}", "[\n 1,\n 2\n]"),
    (
      "{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}"
      "{{ i }}{% endfor %}",
      "01",
    ),
    ("{{ tools is none }}{{ thinking is defined }}", "TrueFalse"),
    ("{% if messages[0].content is string %}x{% endif %}", "x"),
  ],
)
def test_what_templates_use(source, expected):
  template = chat.ChatTemplate(source, {"bos_token": "<s>"})
  assert template.render([USER]) == expected


def test_options_and_date():
  template = chat.ChatTemplate("{{ thinking }} {{ strftime_now('%Y') }}")
  assert re.fullmatch(r"7 20\d\d", template.render([USER], thinking=7))


@pytest.mark.parametrize(
  ("source", "words"),
  [
    ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
    ("{{ messages[0].content + 1 }}", "chat template"),
    ("{{ nothing.at.all }}", "nothing"),
    ("{{ 1 / 0 }}", "division"),
    # The sandbox: no way to Python's own objects, no change of the messages.
    ("{{ ''.__class__.__mro__ }}", "unsafe"),
    ("{{ messages.append(1) }}", "not safely callable|unsafe"),
  ],
)
def test_templates_that_fail(source, words):
  template = chat.ChatTemplate(source)
  with pytest.raises(ValueError, match=f"chat template: .*{words}|{words}"):
    template.render([USER])


def test_what_is_no_template():
  with pytest.raises(ValueError, match="chat template: .*endif"):
    chat.ChatTemplate("{% if x %}")


@pytest.mark.parametrize(
  ("message", "words"),
  [
    ({"role": "user"}, "message 1: content=None"),
    ({"content": "x"}, "message 1: role=None"),
    ({"role": "user", "content": 3}, "message 1: content=3"),
  ],
)
def test_messages_at_fault(message, words):
  with pytest.raises(ValueError, match=words):
    chat.ChatTemplate("").render([USER, message])


@pytest.mark.parametrize(
  ("files", "expected"),
  [
    ({}, None),
    ({"tokenizer_config.json": {}}, None),
    ({"tokenizer_config.json": {"chat_template": "one"}}, "one"),
    (
      {
        "tokenizer_config.json": {
          "chat_template": [
            {"name": "tool_use", "template": "two"},
            {"name": "default", "template": "three"},
          ]
        }
      },
      "three",
    ),
    (
      {
        "tokenizer_config.json": {"chat_template": "one"},
        "chat_template.jinja": "four",
      },
      "four",
    ),
  ],
)
def test_from_directory(tmp_path, files, expected):
  for name, content in files.items():
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / name).write_text(text)
  found = chat.ChatTemplate.from_directory(tmp_path)
  assert (found and found.render([USER])) == expected


def test_from_gguf():
  assert chat.ChatTemplate.from_gguf({}) is None
  found = chat.ChatTemplate.from_gguf(
    {"tokenizer.chat_template": "{{ eos_token }}"}, {"eos_token": "<e>"}
  )
  assert found.render([USER]) == "<e>"
