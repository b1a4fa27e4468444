"""Collections: whole, in order, and the same whatever the timing."""

import functools
import math
import random

import pytest

from graphgpo_jax.rollouts.host import collect as collect_lib
from graphgpo_jax.rollouts.host import episodes, workers
from tests.rollouts import text_corridor

TASKS = ("walk-2", "slow-3", "walk-1", "slow-2")


def wander(contexts):
  """Chance alone, drawn from each context's own key."""
  actions = []
  for context in contexts:
    chance = random.Random(str(context.random_key))
    actions.append(
      episodes.Action(chance.choice(("east", "east", "wait", "fly")))
    )
  return actions


def gather(
  tasks=TASKS,
  act=wander,
  *,
  make=text_corridor.TextCorridor,
  count=2,
  each=1,
  rollouts=3,
  **options,
):
  plans = episodes.plan_episodes(tasks, rollouts_per_task=rollouts, seed=9)
  with workers.WorkerPool(
    make, num_workers=count, environments_per_worker=each
  ) as pool:
    return collect_lib.collect(
      pool, plans, act, **({"seed": 1, "max_steps": 6} | options)
    )


def without_process(collection):
  """Episodes without what says which process played them."""

  def plain(step):
    kept = {
      name: text for name, text in step.facts.items() if name != "process"
    }
    return (step.observation, step.reward, step.done, tuple(kept.items()))

  return [
    (
      one.plan,
      one.success,
      [
        (plain(turn.before), turn.action, plain(turn.after))
        for turn in one.turns
      ],
    )
    for one in collection.episodes
  ]


def test_plans_share_the_seed_of_their_group():
  plans = episodes.plan_episodes("ab", rollouts_per_task=2, seed=7)
  assert [(p.index, p.group, p.rollout, p.task_id, p.seed) for p in plans] == [
    (0, 0, 0, "a", 7),
    (1, 0, 1, "a", 7),
    (2, 1, 0, "b", 8),
    (3, 1, 1, "b", 8),
  ]


def test_episodes_do_not_depend_on_timing():
  alone = gather(count=1, min_batch=1)
  assert [one.plan.index for one in alone.episodes] == list(range(12))
  assert (
    alone.batches
    == alone.actions
    == sum(len(one.turns) for one in alone.episodes)
  )
  assert {one.success for one in alone.episodes} == {True, False}
  for options in (
    {"count": 2, "each": 3},
    {"count": 3, "max_batch": 2},
    {"count": 2, "each": 2, "patience": 0.0},
  ):
    other = gather(**options)
    assert without_process(other) == without_process(alone)
    assert other.actions == alone.actions


def test_episodes_that_play_at_once_share_batches():
  together = gather(count=3, min_batch=2, patience=math.inf)
  assert together.batches < together.actions


def test_turns_are_a_chain_with_its_past():
  seen = []

  def act(contexts):
    seen.extend(contexts)
    return [episodes.Action("east", extra=one.random_key) for one in contexts]

  (episode,) = gather(["walk-3"], act, rollouts=1, count=1).episodes
  assert episode.success and episode.episode_return == 1.0
  assert [turn.after.observation for turn in episode.turns] == [
    f"You are at {place}." for place in (1, 2, 3)
  ]
  for one, other in zip(episode.turns, episode.turns[1:], strict=False):
    assert one.after == other.before
  assert [turn.action.extra for turn in episode.turns] == [
    (1, 0, step) for step in range(3)
  ]
  assert [context.past for context in seen] == [
    episode.turns[:step] for step in range(3)
  ]
  assert seen[0].plan.seed == 9


def test_batches_are_sorted_and_bounded():
  sizes = []

  def act(contexts):
    indices = [one.plan.index for one in contexts]
    assert indices == sorted(indices)
    sizes.append(len(indices))
    return wander(contexts)

  patient = {"each": 3, "patience": math.inf}
  gather(["walk-3"], act, rollouts=8, min_batch=6, max_batch=4, **patient)
  assert max(sizes) == 4
  sizes.clear()
  gather(["walk-9"], act, rollouts=6, min_batch=99, **patient)
  assert sizes == [6] * 6  # all that are under way, to the step limit


@pytest.mark.parametrize(
  "options", [{"min_batch": 4}, {"min_batch": 1, "patience": math.inf}]
)
def test_nobody_waits_for_the_slowest(tmp_path, options):
  """One environment keeps silent until all others have been played."""
  gate = tmp_path / "gate"
  played = set()

  def act(contexts):
    for one in contexts:
      played.add((one.plan.index, len(one.past)))
    if len(played - {(0, 0), (0, 1)}) == 3 * 5:
      gate.touch()
    return [episodes.Action("east") for _ in contexts]

  collection = gather(
    ["await-1", "walk-5", "walk-5", "walk-5"],
    act,
    make=functools.partial(text_corridor.TextCorridor, gate=str(gate)),
    rollouts=1,
    count=4,
    **options,
  )
  assert [one.success for one in collection.episodes] == [True] * 4


def test_broken_episodes_are_marked_and_the_others_are_not():
  tasks = ["walk-2", "crash-2", "break-1", "walk-1", "slip-0"]
  act = lambda contexts: [episodes.Action("east") for _ in contexts]  # noqa: E731
  collection = gather(tasks, act, rollouts=2)
  kinds = [one.failure and one.failure.kind for one in collection.episodes]
  expected = [None, "crash", "engine", None, "engine"]
  assert kinds == [kind for kind in expected for _ in range(2)]
  assert collection.failures == {"crash": 2, "engine": 4}
  turns = [len(one.turns) for one in collection.episodes]
  assert turns == [2, 2, 1, 1, 0, 0, 1, 1, 0, 0]
  assert [one.plan.index for one in collection.sound] == [0, 1, 6, 7]
  assert all(one.success for one in collection.sound)
  assert not any(one.success for one in collection.episodes if one.failed)


def test_a_pool_can_be_used_again_after_an_error():
  with workers.WorkerPool(text_corridor.TextCorridor, num_workers=2) as pool:

    def play(tasks, act):
      plans = episodes.plan_episodes(tasks, rollouts_per_task=2, seed=0)
      return collect_lib.collect(pool, plans, act, seed=0, max_steps=4)

    with pytest.raises(ValueError, match="fly"):
      play(["walk-3", "fly-1"], wander)
    with pytest.raises(ValueError, match="one for each context"):
      play(["walk-3"], lambda contexts: [])
    again = play(["walk-2"], wander)
    fresh = gather(["walk-2"], seed=0, rollouts=2, max_steps=4)
  assert [one.plan.task_id for one in again.episodes] == ["walk-2"] * 2
  assert [
    [turn.after.observation for turn in one.turns] for one in again.episodes
  ] == [
    [turn.after.observation for turn in one.turns] for one in fresh.episodes
  ]


@pytest.mark.parametrize("name", ["max_steps", "min_batch", "max_batch"])
def test_numbers_are_checked(name):
  with pytest.raises(ValueError, match=name):
    gather(rollouts=1, count=1, **{name: 0})


@pytest.mark.parametrize("patience", [-1.0, math.nan])
def test_patience_is_checked(patience):
  with pytest.raises(ValueError, match="patience: expected at least 0"):
    gather(patience=patience)


def test_plans_are_checked():
  with pytest.raises(ValueError, match="rollouts_per_task"):
    episodes.plan_episodes(["walk-1"], rollouts_per_task=0, seed=0)
  with pytest.raises(ValueError, match="at least one task"):
    episodes.plan_episodes([], rollouts_per_task=1, seed=0)
  twice = episodes.plan_episodes(["walk-1"], rollouts_per_task=1, seed=0) * 2
  with (
    workers.WorkerPool(text_corridor.TextCorridor, num_workers=1) as pool,
    pytest.raises(ValueError, match="index"),
  ):
    collect_lib.collect(pool, twice, wander, seed=0, max_steps=1)
