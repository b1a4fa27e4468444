import types

import jax
import jax.numpy as jnp
import pytest

from graphgpo_jax.training import profiling


@pytest.mark.parametrize(
  ("text", "expected"),
  [("", []), ("1:2", [1]), ("10:15", [10, 11, 12, 13, 14])],
)
def test_steps(text, expected):
  assert list(profiling.parse_steps(text)) == expected


@pytest.mark.parametrize(
  "text", ["10", "15:10", "5:5", "0:3", "-1:3", "a:b", "1:2:3", "1:", "²:5"]
)
def test_what_is_no_pair_of_steps(text):
  with pytest.raises(ValueError, match="--profile_steps=.*such as 10:15"):
    profiling.parse_steps(text)


def _updates(first, end, work):
  for step in range(first, end):
    work(step)
    yield types.SimpleNamespace(step=step), {"loss": float(step)}


@pytest.fixture
def active(monkeypatch):
  """Holds True while a trace is being written."""
  state = [False]

  def switch(function, value):
    def called(*args):
      function(*args)
      state[0] = value

    return called

  for name, value in (("start_trace", True), ("stop_trace", False)):
    function = getattr(jax.profiler, name)
    monkeypatch.setattr(jax.profiler, name, switch(function, value))
  return state


def _traces(folder):
  return sorted(folder.glob("plugins/profile/*/*.xplane.pb"))


def test_metrics_say_what_updates_cost(tmp_path):
  def work(step):
    # Another program in the steps 0 and 2.
    if step in (0, 2):
      jax.jit(lambda x: jnp.sin(x) * (step + 17.3))(jnp.ones(3 + step))

  found = list(
    profiling.observe(
      _updates(0, 4, work), done=0, steps=range(0), folder=tmp_path / "profile"
    )
  )
  assert [state.step for state, _ in found] == [0, 1, 2, 3]
  assert [metrics["loss"] for _, metrics in found] == [0, 1, 2, 3]
  compiled = [metrics["time/compile"] > 0 for _, metrics in found]
  assert compiled == [True, False, True, False]
  assert 0.01 < found[0][1]["time/host_gigabytes"] < 1000
  assert not (tmp_path / "profile").exists()


# With and without a step 0, and in a run that goes on.
@pytest.mark.parametrize(("done", "first"), [(0, 0), (0, 1), (2, 3)])
def test_the_updates_that_were_asked_for_are_traced(
  tmp_path, active, done, first
):
  seen = []

  def work(step):
    jax.block_until_ready(jnp.ones(5) * step)
    seen.append((step, active[0]))

  updates = _updates(first, 7, work)
  list(
    profiling.observe(updates, done=done, steps=range(3, 5), folder=tmp_path)
  )
  assert [step for step, traced in seen if traced] == [3, 4]
  assert not active[0]
  (trace,) = _traces(tmp_path)
  assert trace.stat().st_size > 0


def test_a_run_that_ends_amidst_a_trace_keeps_it(tmp_path):
  def fail(step):
    jax.block_until_ready(jnp.ones(5) * step)
    if step == 2:
      raise RuntimeError("broken")

  with pytest.raises(RuntimeError, match="broken"):
    list(
      profiling.observe(
        _updates(0, 5, fail), done=0, steps=range(1, 9), folder=tmp_path
      )
    )
  assert _traces(tmp_path)
  observed = profiling.observe(
    _updates(0, 3, lambda step: None),
    done=0,
    steps=range(1, 9),
    folder=tmp_path / "short",
  )
  list(observed)
  assert _traces(tmp_path / "short")


def test_the_clock_is_taken_down():
  clock = profiling.CompileClock()
  with clock:
    pass
  jax.jit(lambda x: x * 41.7)(jnp.ones(7))
  assert clock.take() == 0.0
