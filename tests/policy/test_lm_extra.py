import pathlib
import sys

import pytest

from graphgpo_jax.policy import chat, lm_extra, tokenizer


def test_a_missing_package_is_named(monkeypatch, tmp_path):
  # What stands for a module that cannot be imported.
  for name in ("tokenizers", "jinja2"):
    monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(ImportError, match=r"tokenizers: .*graphgpo-jax\[lm\]"):
    tokenizer.Tokenizer.from_directory(tmp_path)
  with pytest.raises(ImportError, match=r"jinja2: .*graphgpo-jax\[lm\]"):
    chat.ChatTemplate("")
  with pytest.raises(ImportError, match="a test needs no_such_package: pip"):
    lm_extra.require("no_such_package.part", "a test")


def test_the_packages_belong_to_the_extra():
  text = pathlib.Path(__file__).parents[2].joinpath("setup.cfg").read_text()
  extra = text.split("\nlm =\n")[1].split("\n\n")[0].split("\nparity")[0]
  for package in ("tokenizers", "jinja2", "safetensors", "gguf"):
    assert f"    {package}>=" in extra
