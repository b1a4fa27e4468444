"""Updates of a language model that acts in a text world."""

import functools
import json
import pathlib

import jax
import numpy as np
import pytest

import graphgpo_jax as gg
from graphgpo_jax.rollouts import packing
from graphgpo_jax.rollouts.host import collect as collect_lib
from graphgpo_jax.rollouts.host import records
from graphgpo_jax.tables import jsonl
from graphgpo_jax.training import (
  language_batches,
  language_experiment,
  language_models,
  language_settings,
  language_trainer,
  metrics,
)
from tests.policy.acting import speaking

# Whole runs: test-all.
pytestmark = pytest.mark.slow

WORLD = "tests.training.coin_world"
STEPS = 5


def make_config(**changes):
  """The config; dotted keys are written with two underscores."""
  config = language_settings.default_config()
  config.num_updates = 2
  config.eval_every = 2
  config.environment.name = WORLD
  config.panel.size = 2
  config.model.lora_rank = 2
  config.rollout.tasks_per_update = 2
  config.rollout.rollouts_per_task = 4
  config.text.max_steps = STEPS
  config.text.num_workers = 1
  config.text.environments_per_worker = 4
  config.text.tasks.all = {"first": 20}
  config.prompt.think = False
  # Less than three rooms take.
  config.prompt.max_tokens = 64
  config.response.max_tokens = 4
  config.sampler.batch_size = 4
  config.sampler.segment = 4
  config.sampler.prefill_chunk = 128
  config.loss.row_tokens = 160
  config.loss.microbatch_rows = 4
  config.loss.chunk = 32
  config.loss.kl_coefficient = 0.01
  config.optimizer.learning_rate = 1e-2
  config.update_from_flattened_dict(
    {name.replace("__", "."): value for name, value in changes.items()}
  )
  return config


@functools.cache
def experiment():
  """One for all tests; its workers end with the process."""
  return language_experiment.LanguageExperiment(
    make_config(), speaking.pretrained()
  )


@functools.cache
def start():
  return experiment().initial_state(jax.random.key(0))


@functools.cache
def played():
  """A collection with a success and a failure, and its metrics."""
  for seed in range(30):
    found, numbers = experiment().collect(
      start().variables, jax.random.key(seed)
    )
    if 0 < sum(one.success for one in found.sound) < 8:
      return found, numbers
  raise AssertionError("no mixed batch in 30 draws")


@functools.cache
def credited():
  return experiment().assign(played()[0], "graphgpo")


def rows():
  return language_batches.to_step_rows(played()[0].episodes, credited()[0])


def packed(random=0, **options):
  sizes = {"minibatch_rows": 0, "microbatch_rows": 4, "row_tokens": 160}
  return language_batches.make_minibatches(
    rows(), random=np.random.default_rng(random), **(sizes | options)
  )


def segments(found):
  """Each row that was packed: (row, slice of its columns)."""
  for row, ids in enumerate(found.segment):
    for segment in range(ids.max() + 1):
      (columns,) = np.nonzero(ids == segment)
      yield row, slice(columns[0], columns[-1] + 1)


def turns_by_place():
  return {
    (episode.plan.index, step): (episode, turn)
    for episode in played()[0].sound
    for step, turn in enumerate(episode.turns)
  }


def test_the_samplers_ids_travel_to_the_rows_unchanged():
  wanted = turns_by_place()
  seen = []
  (found,) = packed()
  for row, columns in segments(found):
    step = found.step[row, columns].max()
    place = int(found.episode[row, columns][0]), int(step)
    _, turn = wanted[place]
    drawn = turn.action.extra.turn
    np.testing.assert_array_equal(
      found.tokens[row, columns],
      [*drawn.prompt_tokens, *drawn.response_tokens],
    )
    np.testing.assert_array_equal(
      found.old_log_prob[row, columns][len(drawn.prompt_tokens) :],
      drawn.response_log_probs,
    )
    seen.append(place)
  assert sorted(seen) == sorted(wanted)
  # The tokenizer gives others for the text of most responses.
  again = [
    speaking.Words().encode(turn.action.response)
    == turn.action.extra.turn.response_tokens.tolist()
    for _, turn in wanted.values()
  ]
  assert np.mean(again) < 0.5


def test_nothing_but_the_models_own_tokens_carries_loss():
  (found,) = packed()
  for row, columns in segments(found):
    place = int(found.episode[row, columns][0]), found.step[row, columns].max()
    _, turn = turns_by_place()[place]
    prompt = len(turn.action.extra.turn.prompt_tokens)
    own = np.arange(columns.stop - columns.start) >= prompt
    np.testing.assert_array_equal(found.loss_mask[row, columns], own)
    assert not found.advantage[row, columns][~own].any()
  responses = sum(
    turn.action.response_tokens for _, turn in turns_by_place().values()
  )
  assert found.loss_mask.sum() == responses
  assert not (found.loss_mask & ~found.mask).any()


def test_advantages_are_those_of_the_log_penalties_included(tmp_path):
  log = records.RolloutLog(str(tmp_path))
  log.write(
    played()[0].episodes,
    experiment().state_key,
    update=3,
    success_reward=language_settings.success_reward(experiment().config),
  )
  (path,) = records.log_files(log.folder)
  table = jsonl.read_steps(path)
  options = experiment().config.estimator_options.graphgpo.to_dict()
  expected = gg.assign_credit(table, **options)["advantage"]
  written = [
    json.loads(line) for line in pathlib.Path(path).read_text().splitlines()
  ]
  place = {
    (line["group"] * 4 + line["rollout"], line["step"]): value
    for line, value in zip(written, expected, strict=True)
  }
  (found,) = packed()
  for row, columns in segments(found):
    key = int(found.episode[row, columns][0]), found.step[row, columns].max()
    own = found.loss_mask[row, columns]
    np.testing.assert_allclose(
      found.advantage[row, columns][own], place[key], atol=1e-5
    )
  assert len(np.unique(np.round(expected, 3))) > 3
  options["invalid_penalty"] = 0.0
  moved = expected - gg.assign_credit(table, **options)["advantage"]
  valid = np.asarray([line["action_valid"] for line in written])
  assert moved[~valid].mean() < moved[valid].mean() - 1e-3


def test_invalid_actions_are_counted():
  collection, numbers = played()
  turns = [turn for one in collection.sound for turn in one.turns]
  unread = [turn for turn in turns if not turn.action.valid]
  assert {turn.action.command for turn in unread} & {"fly", "fall", "hm"}
  assert numbers["response/not_a_command"] == len(unread) / len(turns)
  untagged = [turn for turn in turns if not turn.action.extra.tagged]
  assert numbers["response/untagged"] == len(untagged) / len(turns)
  assert 0 < len(untagged) < len(unread) < len(turns)
  _, metrics_found = credited()
  np.testing.assert_allclose(
    metrics_found["rollout/invalid_actions"], len(unread) / len(turns)
  )


def test_dropped_turns_are_counted():
  collection, numbers = played()
  dropped = [
    turn.action.extra.turns_dropped
    for one in collection.sound
    for turn in one.turns
  ]
  assert numbers["prompt/turns_dropped"] == sum(dropped) > 0
  assert numbers["prompt/shortened"] == np.mean(np.array(dropped) > 0) < 1
  longest = max(
    turn.action.prompt_tokens for one in collection.sound for turn in one.turns
  )
  assert longest <= 64


def test_minibatches_hold_every_row_once():
  number = rows().mask.shape[0]
  found = packed(minibatch_rows=7, microbatch_rows=2)
  assert len(found) == -(-number // 7)
  places = [
    (int(one.episode[row, columns][0]), int(one.step[row, columns].max()))
    for one in found
    for row, columns in segments(one)
  ]
  assert sorted(places) == sorted(turns_by_place())
  assert all(one.mask.shape[0] % 2 == 0 for one in found)
  assert packing.padding_share(found[0]) < 0.7


@pytest.mark.parametrize(
  ("number", "expected"), [(1, 1), (8, 8), (15, 15), (17, 18), (33, 36)]
)
def test_few_numbers_of_microbatches(number, expected):
  assert language_batches.round_up(number) == expected


def test_an_update_moves_the_adapters_alone():
  own = language_experiment.LanguageExperiment(
    make_config(), speaking.pretrained()
  )
  state = own.initial_state(jax.random.key(0))
  before = jax.device_get((state.trained, state.frozen))
  state, found = own.optimise(
    state, played()[0].episodes, credited()[0], np.random.default_rng(0)
  )
  after = jax.device_get((state.trained, state.frozen))
  jax.tree.map(np.testing.assert_array_equal, before[1], after[1])
  assert list(after[0]) == ["lora"] and int(state.step) == 1
  moved = [
    np.any(one != other)
    for one, other in zip(
      *map(jax.tree.leaves, (before[0], after[0])), strict=True
    )
  ]
  assert any(moved)
  assert found["optimiser/skipped"] == 0.0
  # The trainer scores what the sampler drew, adapters change nothing yet.
  assert found["sampler/difference_max"] < 1e-3
  assert abs(found["loss/reference_kl"]) < 1e-6
  assert found["sampler/tokens"] == rows().loss_mask.sum()
  # The next one needs no other program.
  state, _ = own.optimise(
    state, played()[0].episodes, credited()[0], np.random.default_rng(0)
  )
  after = jax.device_get((state.trained, state.frozen))
  (program,) = own.optimise._updates.values()
  assert program._cache_size() == 1
  # With nothing to learn nothing is computed.
  still, skipped = own.optimise(
    state,
    played()[0].episodes,
    np.zeros_like(credited()[0]),
    np.random.default_rng(0),
  )
  assert skipped == {"optimiser/skipped": 1.0} and int(still.step) == 3
  np.testing.assert_array_equal(
    jax.tree.leaves(still.trained)[0], jax.tree.leaves(after[0])[0]
  )


def test_new_adapters_are_drawn_as_init_draws_them():
  model = experiment().model
  found = language_models.draw_adapters(model.training, jax.random.key(3))
  tokens = np.zeros((1, 2), np.int32)
  expected = jax.eval_shape(
    model.training.init, jax.random.key(0), tokens, tokens == 0
  )["lora"]
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  for path, leaf in jax.tree_util.tree_flatten_with_path(found)[0]:
    if path[-1].key == "b":
      assert not leaf.any()
    else:
      assert abs(np.std(leaf) * leaf.shape[0] ** 0.5 - 1) < 0.3


def test_broken_episodes_earn_nothing():
  collection, _ = played()
  first = collection.episodes[0]
  broken = type(first)(first.plan, first.turns, "crash", False)
  other = collect_lib.Collection(
    (broken, *collection.episodes[1:]), {"crash": 1}, 0, 0, 1.0, 0.0
  )
  advantage, _ = experiment().assign(other, "graphgpo")
  assert not advantage[0, 0].any() and advantage.any()
  found = language_batches.to_step_rows(other.episodes, advantage)
  assert 0 not in found.episode and 1 in found.episode


@pytest.mark.slow
def test_a_run_goes_on_where_it_stopped(tmp_path):
  # One context at a time: which of them meet in a batch depends on timing, and
  # so do the last bits of a sum.
  config = make_config(
    checkpoint_every=1,
    loss__importance_cap=2.0,
    text__environments_per_worker=1,
    sampler__batch_size=1,
  )
  whole = tmp_path / "whole"
  language_trainer.train(config, whole, pretrained=speaking.pretrained())
  lines = metrics.read_metrics(whole / "metrics.jsonl")
  assert [line["step"] for line in lines] == [0, 1, 2]
  assert "eval/success" in lines[0] and "eval/success" in lines[2]
  assert all(np.isfinite(list(line.values())).all() for line in lines)
  logged = records.log_files(str(whole / "rollouts"))
  updates = {
    json.loads(line)["update"]
    for path in logged
    for line in pathlib.Path(path).read_text().splitlines()
  }
  assert updates == {1, 2}
  # The first update alone, then the rest: the same numbers.
  parts = tmp_path / "parts"
  steps = []

  class HaltError(Exception):
    pass

  real = language_trainer.iterate

  def some(*arguments, **options):
    for current, values in real(*arguments, **options):
      yield current, values
      steps.append(int(current.step))
      if steps[-1] == 1:
        raise HaltError

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(language_trainer, "iterate", some)
    with pytest.raises(HaltError):
      language_trainer.train(config, parts, pretrained=speaking.pretrained())
  language_trainer.train(config, parts, pretrained=speaking.pretrained())
  without_times = [
    {name: value for name, value in line.items() if "time/" not in name}
    for line in lines
  ]
  assert without_times == [
    {name: value for name, value in line.items() if "time/" not in name}
    for line in metrics.read_metrics(parts / "metrics.jsonl")
  ]
  panel = language_trainer.evaluate(
    config, whole, pretrained=speaking.pretrained()
  )
  assert panel == {
    name: value
    for name, value in lines[-1].items()
    if name == "step" or name.startswith("eval/")
  }


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [{"fsdp": 2}])
def test_all_parameters_on_a_mesh(sizes):
  """Full fine-tuning, whose reference is a copy, on two devices and on one."""
  found = []
  for mesh in ({}, sizes):
    changes = {f"mesh__{name}": size for name, size in mesh.items()}
    config = make_config(model__lora_rank=0, loss__minibatch_rows=12, **changes)
    own = language_experiment.LanguageExperiment(config, speaking.pretrained())
    state = own.initial_state(jax.random.key(0))
    state, numbers = own.optimise(
      state, played()[0].episodes, credited()[0], np.random.default_rng(0)
    )
    assert numbers["optimiser/steps"] > 1
    # The second step is off the policy that played.
    assert numbers["loss/reference_kl"] > 0
    found.append((jax.device_get(state.trained), numbers))
  (one, numbers), (other, same) = found
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), one, other
  )
  assert same["loss/policy"] == pytest.approx(numbers["loss/policy"], abs=1e-3)


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [
    ("text__max_steps", 0, "text.max_steps"),
    ("text__state_key", "page", "no state key 'page'"),
    ("prompt__overflow", "cut", "config.prompt: overflow='cut'"),
    ("response__temperature", 0.0, "response.temperature must be positive"),
    ("response__free_commands", ("(",), "config.response: free_commands"),
    ("loss__kl", "k9", "config.loss.kl='k9' does not exist"),
    ("loss__aggregate", "sum", "config.loss.aggregate"),
    ("loss__dual_clip", 0.5, "loss.dual_clip must exceed 1"),
    ("loss__row_tokens", 60, "row_tokens=60 is less than"),
    ("loss__microbatch_rows", 0, "loss.microbatch_rows"),
    ("mesh__fsdp", 3, "microbatch_rows=4 is no multiple"),
    ("model__dtype", "float8", "config.model.dtype"),
    ("estimator", "ppo", "config.estimator='ppo'"),
    ("environment__name", "household", "'household' is no text world"),
    ("prompt__max_tokens", 4095, "made for 4096 tokens"),
  ],
)
def test_what_is_refused(name, value, message):
  config = make_config(loss__row_tokens=0) if "prompt" in name else None
  config = config or make_config()
  config.update_from_flattened_dict({name.replace("__", "."): value})
  with pytest.raises(ValueError, match=message):
    language_experiment.LanguageExperiment(config, speaking.pretrained())


def test_other_refusals():
  with pytest.raises(ValueError, match="config.model.path is empty"):
    language_experiment.LanguageExperiment(make_config())
  config = make_config(model__lora_rank=0, model__param_dtype="bfloat16")
  with pytest.raises(ValueError, match="param_dtype must be float32"):
    language_settings.check_config(config)
  config = make_config()
  del config.text.tasks.all
  with pytest.raises(ValueError, match="config.text.tasks is empty"):
    language_settings.check_config(config)
  config = make_config()
  with config.unlocked():
    config.loss.gamma = 1.0
  with pytest.raises(ValueError, match="config key loss.gamma does not exist"):
    language_settings.check_config(config)
