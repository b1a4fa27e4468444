"""A world's engine in a Java machine of its own, spoken to through py4j.

The machine has a bounded heap, listens to this process alone (a token), ends
with it, and answers within a time limit or is killed.
"""

import os
import pathlib
import shutil
import subprocess
import threading
import weakref
from typing import Any

from graphgpo_jax.envs.text import text_extra
from graphgpo_jax.envs.text.types import TextWorldError


def find_java() -> str:
  """The java program: of JAVA_HOME where that is set, else on the PATH.

  Raises:
    TextWorldError: there is none.
  """
  home = os.environ.get("JAVA_HOME")
  name = os.path.join(home, "bin", "java") if home else "java"
  found = shutil.which(name)
  if found is None:
    place = f"JAVA_HOME={home} has no bin/java" if home else "none on the PATH"
    raise TextWorldError(
      f"this world needs Java 8 or later, and {place}: install a Java runtime "
      "(such as openjdk-17-jre-headless) or set JAVA_HOME"
    )
  return os.path.abspath(found)


def _end(process: subprocess.Popen) -> None:
  """Kills a machine and forgets its pipes; it has nothing worth saving."""
  process.kill()
  process.wait()
  for pipe in (process.stdin, process.stdout):
    if pipe is not None:
      pipe.close()


class JavaEngine:
  """An object in a Java machine."""

  def __init__(
    self,
    jar: pathlib.Path,
    class_name: str,
    *,
    heap_megabytes: int,
    timeout_seconds: float,
  ):
    """Starts a machine and makes the object.

    Args:
      jar: the engine's classes.
      class_name: the object's, with its package.
      heap_megabytes: the most memory for the engine's objects.
      timeout_seconds: the most time for the start and for each answer.

    Raises:
      ValueError: a limit is not positive.
      ImportError: py4j is missing.
      TextWorldError: there is no Java, or the machine does not start.
    """
    if heap_megabytes < 1 or timeout_seconds <= 0:
      raise ValueError(
        "heap_megabytes and timeout_seconds must be positive, got "
        f"{heap_megabytes} and {timeout_seconds}"
      )
    self._gateway_lib = text_extra.require("py4j.java_gateway", class_name)
    self._protocol = text_extra.require("py4j.protocol", class_name)
    self._name = class_name
    self._gateway: Any = None
    self._object: Any = None
    own_jar = self._gateway_lib.find_jar_path()
    if not own_jar or not jar.is_file():
      raise TextWorldError(
        f"{own_jar or 'the jar of py4j'} or {jar} is missing"
      )
    self._process = subprocess.Popen(
      [
        find_java(),
        f"-Xmx{heap_megabytes}m",
        # One small heap per environment: collecting it with as many threads as
        # there are cores would only get in the way of the other environments.
        "-XX:+UseSerialGC",
        "-classpath",
        os.pathsep.join((os.path.abspath(own_jar), str(jar.resolve()))),
        "py4j.GatewayServer",
        "--die-on-broken-pipe",
        "--enable-auth",
        "0",
      ],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      # Engines read files that lie beside their jar by their bare names.
      cwd=jar.parent,
    )
    self._finalizer = weakref.finalize(self, _end, self._process)
    port, token = self._read_address(timeout_seconds)
    self._gateway = self._gateway_lib.JavaGateway(
      gateway_parameters=self._gateway_lib.GatewayParameters(
        port=port,
        auth_token=token,
        read_timeout=timeout_seconds,
        # Answers are numbers and texts, so that no object must be kept alive
        # over there, nor be let go after the machine has ended.
        enable_memory_management=False,
      )
    )
    view = self._gateway.jvm
    for part in class_name.split("."):
      view = getattr(view, part)
    self._object = self._guarded("the start", view)

  @property
  def process_id(self) -> int:
    """Of the Java machine."""
    return self._process.pid

  def call(self, method: str, *arguments: Any) -> Any:
    """Calls a method of the object.

    Raises:
      TextWorldError: the machine has ended, the method failed or did not
        answer in time. The machine is killed then: nothing is known of its
        state.
    """
    if self._object is None:
      raise TextWorldError(
        f"{self._name} has ended: make a new environment to go on"
      )
    return self._guarded(method, getattr(self._object, method), *arguments)

  def close(self) -> None:
    """Kills the machine. May be repeated."""
    self._object = None
    gateway, self._gateway = self._gateway, None
    self._finalizer()
    if gateway is not None:
      gateway.close()

  def _read_address(self, timeout_seconds: float) -> tuple[int, str]:
    """Port and token, which the machine prints when it is ready."""
    said = []
    stdout = self._process.stdout
    assert stdout is not None
    # A read cannot be given a time limit, but ends with the process.
    alarm = threading.Timer(timeout_seconds, self._process.kill)
    alarm.start()
    try:
      # Warnings of the machine come before the port.
      for line in stdout:
        if line.strip().isdigit():
          return int(line), stdout.readline().strip()
        said.append(line.strip())
    finally:
      alarm.cancel()
      # What engines print is of no use, and an unread pipe would fill up and
      # stop them; writing into a closed one does not disturb a Java machine.
      stdout.close()
    self.close()
    raise TextWorldError(
      f"{self._name}: Java did not start (it has {timeout_seconds} s): "
      + " ".join(said)[:500]
    )

  def _guarded(self, what: str, function: Any, *arguments: Any) -> Any:
    try:
      return function(*arguments)
    except (self._protocol.Py4JError, OSError) as error:
      code = self._process.poll()
      reason = str(error).splitlines() or [type(error).__name__]
      self.close()
      state = "" if code is None else f" (its Java machine ended: {code})"
      raise TextWorldError(
        f"{self._name}: {what} failed{state}: {' '.join(reason[:3])[:500]}"
      ) from error
