"""Files are data: nothing in them is run, and no name leads out of a folder."""

import ast
import json
import os
import pathlib
import pickle

import numpy as np
import pytest

from graphgpo_jax.envs.text import panels, registry
from graphgpo_jax.envs.text.alfworld import games
from graphgpo_jax.envs.text.types import TextWorldError
from graphgpo_jax.rollouts.host import records
from graphgpo_jax.tables.logs import credit_file
from tests import log_files, oracle
from tests.fuzz import child, target, targets

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = sorted(
  path
  for folder in ("graphgpo_jax", "experiments")
  for path in (ROOT / folder).rglob("*.py")
)

# Modules that make objects of bytes, and calls that run text or do the same.
UNPICKLERS = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle"}
BANNED = {
  *(f"{module}.{name}" for module in UNPICKLERS for name in ("load", "loads")),
  "pickle.Unpickler",
  "shelve.open",
  "joblib.load",
  "torch.load",
  "os.system",
  "os.popen",
  "yaml.load",
  "yaml.load_all",
  "yaml.unsafe_load",
  "yaml.full_load",
  "runpy.run_path",
  "read_pickle",
}
BANNED_NAMES = {"eval", "exec", "compile", "__import__"}
NUMPY_LOADS = {"np.load", "numpy.load", "jnp.load", "jax.numpy.load"}
# A worker unpickles what its own parent sent through a pipe, never a file.
ALLOWED = {("graphgpo_jax/rollouts/host/worker_main.py", "pickle.loads")}


def dotted(node):
  """Name of what is called: "np.load" for np.load(...), "" if it has none."""
  if isinstance(node, ast.Attribute):
    before = dotted(node.value)
    return f"{before or '?'}.{node.attr}"
  return node.id if isinstance(node, ast.Name) else ""


def dangers(source):
  """What a module calls or imports that can run what it reads."""
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.ImportFrom) and node.module in UNPICKLERS:
      yield from (f"{node.module}.{alias.name}" for alias in node.names)
    if isinstance(node, ast.Import):
      for alias in node.names:
        if alias.name in UNPICKLERS and alias.asname:
          yield f"{alias.name} as {alias.asname}"
    # Named is enough: a function may be handed on and be called elsewhere.
    if isinstance(node, ast.Attribute):
      name = dotted(node)
      if name in BANNED or node.attr == "read_pickle":
        yield name
    if not isinstance(node, ast.Call):
      continue
    name = dotted(node.func)
    if name in BANNED_NAMES:
      yield name
    arguments = {one.arg: one.value for one in node.keywords}
    if name in NUMPY_LOADS:
      value = arguments.get("allow_pickle")
      if not (isinstance(value, ast.Constant) and value.value is False):
        yield f"{name} without allow_pickle=False"
    elif "allow_pickle" in arguments and not (
      isinstance(arguments["allow_pickle"], ast.Constant)
      and arguments["allow_pickle"].value is False
    ):
      yield f"{name} with allow_pickle"
    shell = arguments.get("shell")
    if shell is not None and not (
      isinstance(shell, ast.Constant) and shell.value is False
    ):
      yield f"{name} with shell"


@pytest.mark.parametrize(
  "source",
  [
    "pickle.loads(data)",
    "from pickle import loads",
    "import pickle as p",
    "reader = pickle.load",
    "eval(text)",
    "exec(compile(text, 'x', 'exec'))",
    "np.load(path)",
    "np.load(path, allow_pickle=True)",
    "np.load(path, allow_pickle=flag)",
    "f(path, allow_pickle=True)",
    "torch.load(path)",
    "yaml.load(text, Loader=yaml.Loader)",
    "pd.read_pickle(path)",
    "subprocess.run(text, shell=True)",
    "os.system(text)",
    "shelve.open(path)",
    "marshal.loads(data)",
  ],
)
def test_the_search_finds(source):
  assert list(dangers(source))


@pytest.mark.parametrize(
  "source",
  [
    "np.load(path, allow_pickle=False)",
    "json.loads(text)",
    "model.eval()",
    "re.compile(text)",
    "pickle.dumps(value)",
    "ast.literal_eval(text)",
    "yaml.safe_load(text)",
  ],
)
def test_the_search_lets_pass(source):
  assert not list(dangers(source))


@pytest.mark.parametrize(
  "path", SOURCES, ids=lambda path: str(path.relative_to(ROOT))
)
def test_nothing_can_run_what_it_reads(path):
  name = path.relative_to(ROOT).as_posix()
  found = {danger for danger in dangers(path.read_text())}
  assert not {danger for danger in found if (name, danger) not in ALLOWED}


class MakesFile:
  """Unpickled, it makes a file."""

  def __init__(self, path):
    self._path = str(path)

  def __reduce__(self):
    return os.open, (self._path, os.O_CREAT | os.O_WRONLY)


def payloads(mark):
  """Bytes by kind that make a file if they are unpickled."""
  trap = MakesFile(mark)
  made = {
    f"protocol {number}": pickle.dumps(trap, number) for number in (0, 2, 5)
  }
  folder = mark.parent / "made"
  folder.mkdir()
  array = np.empty(1, object)
  array[0] = trap
  np.save(folder / "a.npy", array, allow_pickle=True)
  np.savez(folder / "a.npz", array, allow_pickle=True)
  made |= {path.suffix: path.read_bytes() for path in folder.iterdir()}
  # As torch and joblib users send it: a pickle behind another file's start.
  made["behind magic"] = b"GGUF\x03\x00\x00\x00" + made["protocol 2"]
  return made


def test_the_trap_works(tmp_path):
  mark = tmp_path / "mark"
  for kind, data in payloads(mark).items():
    if kind.startswith("protocol"):
      os.close(pickle.loads(data))
      assert mark.exists(), kind
      mark.unlink()


def _marks(one):
  if not one.packages:
    return ()
  return pytest.mark.extra("logs" if one.name in targets.LOGS else "lm")


@pytest.mark.parametrize(
  "one",
  [
    pytest.param(one, id=one.name, marks=_marks(one)) for one in targets.TARGETS
  ],
)
# Orbax leaves tasks behind whose errors nobody asks for.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_pickle_in_a_file_is_not_unpickled(one, tmp_path):
  for package in one.packages:
    pytest.importorskip(package)
  mark = tmp_path / "mark"
  files = child.sound_files(one)
  made = payloads(mark)
  for place, (kind, data) in enumerate(made.items()):
    # Each file alone, so that no other's error comes first; many are alike.
    for name in one.damaged_names(files)[place :: len(made)]:
      _, fault = child.read_case(one, {**files, name: data})
      assert fault is None, f"{kind} in {name}: {fault}"
      assert not mark.exists(), f"{kind} in {name} was run"


OUTSIDE = ["../secret", "a/../../secret", "/etc/passwd", "..", ".", "", "x\0y"]


@pytest.mark.extra("lm")
@pytest.mark.parametrize("name", [*OUTSIDE, "..\\secret", None, 3, ["a"]])
def test_a_shard_lies_in_its_model_directory(name, tmp_path):
  pytest.importorskip("safetensors")
  from graphgpo_jax.policy.pretrained import safetensors_files
  from tests.policy.pretrained import made_models

  tensors = made_models.random_tensors("llama")
  made_models.write_directory(tmp_path / "outside", {}, tensors)
  (tmp_path / "outside" / "model.safetensors").rename(tmp_path / "secret")
  folder = tmp_path / "model"
  folder.mkdir()
  index = {"weight_map": dict.fromkeys(tensors, name)}
  (folder / safetensors_files.INDEX_FILE).write_text(json.dumps(index))
  with pytest.raises(ValueError, match="is no file name"):
    safetensors_files.SafetensorsDirectory(folder)


@pytest.fixture
def downloaded(tmp_path):
  """A folder of downloaded games, with a game outside of it."""
  home = tmp_path / "data" / "train" / "some" / "trial"
  home.mkdir(parents=True)
  (home / "game.tw-pddl").write_text('{"solvable": true}')
  (tmp_path / "secret").mkdir()
  (tmp_path / "secret" / "game.tw-pddl").write_text('{"secret": 1}')
  return tmp_path


def test_a_game_lies_in_the_folder_of_games(downloaded):
  data = downloaded / "data"
  assert games.game_of("train/some/trial", cache=None, data=data)
  (data / "link").symlink_to(downloaded / "secret")
  for name in ("../secret", str(downloaded / "secret"), "link", "train/../.."):
    with pytest.raises(ValueError, match="no ALFWorld task"):
      games.game_of(name, cache=None, data=data)


def test_a_broken_game_is_told(downloaded):
  path = downloaded / "data" / "train" / "some" / "trial" / "game.tw-pddl"
  path.write_text("[" * 100_000)
  with pytest.raises(TextWorldError, match="broken game file"):
    games.read_json(path)


@pytest.mark.parametrize("name", ["../panels", "/etc/passwd", "a/b", "..", ""])
def test_a_panel_lies_in_the_package(name):
  with pytest.raises(ValueError, match="no such panel"):
    panels.load_panel(name)


@pytest.mark.parametrize("name", ["os", "subprocess", "", "graphgpo_jax.envs"])
def test_a_world_is_named_in_full_or_one_of_the_packages(name):
  with pytest.raises(ValueError, match="text world"):
    registry.make(name)


def test_a_log_folder_gives_its_own_files_alone(tmp_path):
  (tmp_path / "rollouts-000001.jsonl").write_text("")
  for name in ("rollouts-1.jsonl", "x-rollouts-000002.jsonl", "notes.txt"):
    (tmp_path / name).write_text("")
  found = [os.path.basename(path) for path in records.log_files(str(tmp_path))]
  assert found == ["rollouts-000001.jsonl"]


@pytest.mark.parametrize("name", [*OUTSIDE, "manifest.json", "credit.jsonl/."])
def test_an_unfinished_run_moves_no_file_but_its_own(name, tmp_path):
  one = targets.BY_NAME["unfinished_publish"]
  files = child.sound_files(one)
  folder = tmp_path / "run"
  folder.mkdir()
  (tmp_path / "secret").write_text("stays where it is")
  path = "credit.jsonl.partial/manifest.json"
  manifest = json.loads(files[path])
  assert manifest["state"]["result"] == "credit.jsonl"
  # Two folders up from the run's own.
  manifest["state"]["result"] = name.replace("../secret", "../../secret")
  target.write(folder, {**files, path: json.dumps(manifest).encode()})
  with pytest.raises(ValueError, match="'result'.*--restart"):
    one.read(folder)
  assert (tmp_path / "secret").read_text() == "stays where it is"
  assert not (folder / "credit.jsonl").exists()


def test_a_task_name_in_a_log_names_no_file(tmp_path):
  table = oracle.random_table(1, tasks=2)
  table["task"] = [f"../../{task}" for task in table["task"]]
  table["trajectory"] = [f"/{number}" for number in table["trajectory"]]
  folder = tmp_path / "in"
  folder.mkdir()
  log_files.write(folder / "log.jsonl", table)
  credit_file.credit_file(
    str(folder / "log.jsonl"), str(folder / "credit.jsonl")
  )
  assert {path.name for path in tmp_path.rglob("*")} == {
    "in",
    "log.jsonl",
    "credit.jsonl",
  }
