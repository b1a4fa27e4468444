"""What the fuzzer found, each with the least input that shows it."""

import json
import struct

import pytest

from graphgpo_jax.credit import estimators
from graphgpo_jax.envs.sokoban import levels
from graphgpo_jax.envs.text import panels
from graphgpo_jax.policy import chat, json_files, tokenizer
from graphgpo_jax.policy.pretrained import config_files, gguf_header, load
from graphgpo_jax.tables import assign
from graphgpo_jax.training import comparison, metrics, workdir
from tests.fuzz import child, target, targets
from tests.policy import made_tokenizers
from tests.policy.pretrained import made_models

DEEP = '{"a":' * 5000 + "0" + "}" * 5000


@pytest.mark.parametrize("text", [DEEP, "[]", "{", "\xff", "9" * 5000])
def test_config_of_a_run(text, tmp_path):
  (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
  with pytest.raises(ValueError, match=r"config\.json"):
    workdir.read_config(tmp_path)


@pytest.mark.parametrize("text", [DEEP, "[" * 5000])
def test_json_of_a_model(text, tmp_path):
  (tmp_path / "a.json").write_text(text)
  with pytest.raises(ValueError, match=r"a\.json: no JSON"):
    json_files.read_object(tmp_path / "a.json")


@pytest.mark.parametrize(
  "line",
  [
    DEEP,
    '{"step": Infinity}',
    '{"step": NaN}',
    '{"step": "1"}',
    '{"step": 1, "eval/success": "0.5"}',
    '{"step": 1, "eval/success": null}',
    '{"step": 1, "loss": ' + "9" * 400 + "}",
    '{"step": 1, "\udcff": 1}',
  ],
  ids=lambda line: line[:30].encode("ascii", "replace").decode(),
)
def test_line_of_metrics(line, tmp_path):
  text = '{"step": 0}\n' + line + "\n"
  path = tmp_path / "metrics.jsonl"
  path.write_bytes(text.encode(errors="surrogateescape"))
  with pytest.raises(ValueError, match="line 2"):
    metrics.read_metrics(path)
  with pytest.raises(ValueError, match="line 2"):
    metrics.MetricsWriter(tmp_path, tensorboard=False)


def test_metrics_that_are_sound_stay_so(tmp_path):
  writer = metrics.MetricsWriter(tmp_path, tensorboard=False)
  writer.write(0, {"loss": float("nan"), "other": float("inf"), "é": 1})
  writer.close()
  (line,) = metrics.read_metrics(tmp_path / "metrics.jsonl")
  assert str(line) == "{'step': 0, 'loss': nan, 'other': inf, 'é': 1.0}"


def test_area_under_a_curve_of_any_steps():
  curve = {-(10**30): 0.5, 4: 0.5}
  assert comparison.area_under(curve) == pytest.approx(0.5)


def test_text_that_is_none(tmp_path, monkeypatch):
  (tmp_path / "a.txt").write_bytes(b"\xff\n")
  monkeypatch.setattr(panels, "_FOLDER", tmp_path)
  with pytest.raises(ValueError, match="panel 'a' is broken"):
    panels.load_panel("a")
  (tmp_path / "b.txt").write_text("scene/1\n")
  (tmp_path / "SHA256SUMS").write_bytes(b"\xff\n")
  with pytest.raises(ValueError, match="SHA256SUMS is broken"):
    panels.load_panel("b")
  with pytest.raises(ValueError, match=r"a\.txt: no text"):
    levels.read_levels(tmp_path / "a.txt")


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("rope_theta", 10**400),
    ("rope_theta", float("nan")),
    ("rms_norm_eps", float("inf")),
    ("architectures", [["LlamaForCausalLM"]]),
    ("architectures", [{}]),
  ],
  ids=str,
)
def test_config_of_a_model(name, value):
  fields = made_models.config_fields("llama", **{name: value})
  with pytest.raises(ValueError, match="here: "):
    config_files.parse_config(fields, where="here")


@pytest.mark.extra("lm")
@pytest.mark.parametrize("number", [10**9, 10**30])
def test_blocks_without_end(number, tmp_path):
  pytest.importorskip("safetensors")
  pytest.importorskip("jinja2")
  fields = made_models.config_fields("llama", num_hidden_layers=number)
  tensors = made_models.random_tensors("llama")
  made_models.write_directory(tmp_path, fields, tensors)
  with pytest.raises(ValueError, match="too few"):
    load.load(tmp_path)


@pytest.mark.extra("lm")
def test_longest_sequence_that_is_no_number(tmp_path):
  pytest.importorskip("safetensors")
  pytest.importorskip("jinja2")
  fields = made_models.config_fields("llama", max_position_embeddings="many")
  tensors = made_models.random_tensors("llama")
  made_models.write_directory(tmp_path, fields, tensors)
  with pytest.raises(ValueError, match="max_position_embeddings"):
    load.load(tmp_path)


def gguf(*, key=b"", kind=4, value=b"", tensor=b"", version=3):
  """A GGUF file of one key and perhaps the beginning of a tensor."""
  start = b"GGUF" + struct.pack("<IQQ", version, int(bool(tensor)), 1)
  return start + text(key) + struct.pack("<I", kind) + value + tensor


def text(data):
  return struct.pack("<Q", len(data)) + data


def array(inner, count):
  return struct.pack("<IQ", inner, count)


STRING, ARRAY = 8, 9
BAD_HEADERS = {
  "no end of numbers": (gguf(kind=ARRAY, value=array(0, 2**60)), "left"),
  "no end of texts": (gguf(kind=ARRAY, value=array(8, 2**60)), "entries"),
  "no end of arrays": (
    gguf(kind=ARRAY, value=array(ARRAY, 1) * 5000),
    "arrays in arrays",
  ),
  "long text": (gguf(kind=STRING, value=struct.pack("<Q", 2**63)), "left"),
  "no such type": (gguf(kind=77), "unknown type 77"),
  "key not UTF-8": (gguf(key=b"\xff"), "UTF-8"),
  "many axes": (
    gguf(value=b"\0" * 4, tensor=text(b"a") + struct.pack("<I", 2**31)),
    "axes",
  ),
  "no rows": (
    gguf(value=b"\0" * 4, tensor=text(b"a") + struct.pack("<IQQ", 2, 4, 0)),
    "is empty",
  ),
  "version": (gguf(version=99), "version 99"),
  "other file": (b"GGML" + b"\0" * 64, "does not begin"),
  "nothing": (b"", "does not begin"),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_header_of_gguf(name, tmp_path):
  data, message = BAD_HEADERS[name]
  (tmp_path / "a.gguf").write_bytes(data)
  with pytest.raises(ValueError, match=message):
    gguf_header.check(tmp_path / "a.gguf")


@pytest.mark.parametrize("order", ["<", ">"])
def test_header_of_either_byte_order_passes(order, tmp_path):
  data = b"GGUF" + struct.pack(order + "IQQ", 3, 0, 1)
  data += struct.pack(order + "Q", 1) + b"k"
  data += struct.pack(order + "IIQQ", ARRAY, STRING, 1, 2) + b"ab"
  (tmp_path / "a.gguf").write_bytes(data)
  gguf_header.check(tmp_path / "a.gguf")


METADATA = {
  "tokenizer.ggml.model": "gpt2",
  "tokenizer.ggml.pre": "gpt-2",
  "tokenizer.ggml.tokens": ["a", "b", "ab"],
  "tokenizer.ggml.merges": ["a b"],
}


@pytest.mark.extra("lm")
@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("tokens", 3),
    ("tokens", [1, 2]),
    ("merges", ["ab"]),
    ("merges", [1]),
    ("token_type", 1),
  ],
)
def test_tokenizer_of_gguf(name, value):
  pytest.importorskip("tokenizers")
  tokenizer.Tokenizer.from_gguf(METADATA, where="here")
  with pytest.raises(ValueError, match=f"here: tokenizer.ggml.{name}"):
    tokenizer.Tokenizer.from_gguf(
      METADATA | {f"tokenizer.ggml.{name}": value}, where="here"
    )


@pytest.mark.extra("lm")
def test_special_token_that_is_no_text(tmp_path):
  pytest.importorskip("tokenizers")
  tokenizer.Tokenizer(made_tokenizers.smollm()).save(tmp_path)
  path = tmp_path / tokenizer.SETTINGS_FILE
  path.write_text('{"eos_token": "\\ud800"}')
  with pytest.raises(ValueError, match=f"{tokenizer.SETTINGS_FILE}: no text"):
    tokenizer.Tokenizer.from_directory(tmp_path)


def test_end_token_of_gguf():
  with pytest.raises(ValueError, match="no whole number"):
    tokenizer.gguf_eos_ids({"tokenizer.ggml.eos_token_id": ["a"]})


@pytest.mark.extra("lm")
@pytest.mark.parametrize(
  "source",
  [
    3,
    "{{ 'a' * 10000000000 }}",
    "{{ [0] * 10000000000 }}",
    "{{ 10 ** 10000000000 }}",
    "{{ '%10000000000d' % 1 }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
  ],
)
def test_chat_template(source):
  pytest.importorskip("jinja2")
  with pytest.raises(ValueError, match="chat template"):
    chat.ChatTemplate(source).render([{"role": "user", "content": "hello"}])


@pytest.mark.extra("lm")
def test_chat_template_may_still_count_and_format():
  pytest.importorskip("jinja2")
  source = "{{ '-' * 3 }}{{ 2 ** 5 }}{{ '%02d' % 7 }}{{ 7 % 4 }}{{ 2 * 1.5 }}"
  assert chat.ChatTemplate(source).render([]) == "---320733.0"


@pytest.mark.extra("lm")
def test_chat_templates_by_name(tmp_path):
  pytest.importorskip("jinja2")
  found = [3, {"name": ["x"]}, {"name": "default", "template": "yes"}]
  path = tmp_path / tokenizer.SETTINGS_FILE
  path.write_text(json.dumps({"chat_template": found}))
  assert chat.ChatTemplate.from_directory(tmp_path).source == "yes"


STATES = {
  "no object": [],
  "no stage": {},
  "other stage": {"stage": "other"},
  "stage no text": {"stage": []},
  "no more": {"stage": "credit"},
  "many buckets": {"buckets": 10**9},
  "no row": {"done_rows": -1},
  "flag": {"stop": 1},
  "summary": {"summary": {"tasks": 1}},
}


@pytest.mark.parametrize("change", STATES.values(), ids=STATES)
def test_state_of_an_unfinished_run(change, tmp_path):
  one = targets.BY_NAME["unfinished_credit"]
  files = child.sound_files(one)
  name = "credit.jsonl.partial/manifest.json"
  manifest = json.loads(files[name])
  whole = isinstance(change, list) or set(change) <= {"stage"}
  manifest["state"] = change if whole else manifest["state"] | change
  target.write(tmp_path, {**files, name: json.dumps(manifest).encode()})
  with pytest.raises(ValueError, match="--restart throws it away"):
    one.read(tmp_path)


@pytest.mark.parametrize("line", [b"\xff\n", b"[]\n", b"{}\n", b'{"row": "a"}'])
def test_faults_of_an_unfinished_run(line, tmp_path):
  one = targets.BY_NAME["unfinished_join"]
  files = child.sound_files(one)
  name = "credit.jsonl.partial/faults-own.jsonl"
  assert name in files
  target.write(tmp_path, {**files, name: line})
  with pytest.raises(ValueError, match="--restart throws it away"):
    one.read(tmp_path)


@pytest.mark.parametrize("row", [-(2**60), 2**40, 2**60])
def test_credit_of_an_unfinished_run(row, tmp_path):
  one = targets.BY_NAME["unfinished_join"]
  files = child.sound_files(one)
  name = max(
    (name for name in files if "credit-" in name),
    key=lambda name: len(files[name]),
  )
  # Of the second record: a search by halves passes over the first.
  size = 8 + 4 * len(assign.credit_columns(estimators.graphgpo))
  data = bytearray(files[name])
  assert len(data) % size == 0 and len(data) > 2 * size
  data[size : size + 8] = struct.pack("<q", row)
  target.write(tmp_path, {**files, name: bytes(data)})
  with pytest.raises(ValueError, match="--restart throws it away"):
    one.read(tmp_path)
