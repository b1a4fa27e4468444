"""The notebooks run from top to bottom; what they print is not kept."""

import ast
import os
import pathlib

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "experiments" / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.extra("dev")

# Words that each must have printed: what its prose promises.
PROMISED = {
  "credit_from_logs": [
    "the same credit as by rooms: True",
    "with a clock   66 states,   0% of steps",
  ],
  "jit_vmap_shard": [
    "4 devices",
    "vmap equals map_groups: True",
    "and each group alone: True",
    "cpu:3 has groups 24 to 31",
    "the same as on one device: True",
  ],
  "your_own_rule": [
    "the same in any order: True",
    "no success: finite True",
    "unknown option 'wait'",
  ],
}


def read(path):
  notebook = nbformat.read(path, as_version=4)
  nbformat.validate(notebook)
  return notebook


def code_of(notebook):
  return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_all_are_here():
  assert {path.stem for path in NOTEBOOKS} == set(PROMISED)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_kept_without_outputs_and_reads_well(path):
  notebook = read(path)
  for cell in notebook.cells:
    assert not cell.get("outputs") and cell.get("execution_count") is None
    assert "  \n" not in cell.source
    for line in cell.source.splitlines():
      assert len(line) <= 100, line
  for source in code_of(notebook):
    ast.parse(source)
  assert notebook.cells[0].source.startswith("# ")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_and_prints_what_its_prose_says(path, tmp_path, monkeypatch):
  # The notebook chooses its devices itself, as on a laptop.
  monkeypatch.delenv("XLA_FLAGS", raising=False)
  paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
  monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
  for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
    monkeypatch.setenv(name, str(tmp_path / name))
  monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
  notebook = read(path)
  client = nbclient.NotebookClient(
    notebook,
    timeout=600,
    # What a busy machine prints late is not lost.
    iopub_timeout=600,
    startup_timeout=600,
    kernel_name="python3",
    resources={"metadata": {"path": str(tmp_path)}},
  )
  client.execute()
  text, pictures = "", 0
  for cell in notebook.cells:
    for output in cell.get("outputs", []):
      if output.output_type == "stream":
        assert output.name == "stdout", output.text
        text += output.text
      else:
        pictures += "image/png" in output.get("data", {})
  assert pictures == 1
  for words in PROMISED[path.stem]:
    assert words in text, text
