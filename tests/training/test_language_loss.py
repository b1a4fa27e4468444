"""The loss of rows and one update, on a tiny language model."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from graphgpo_jax import losses
from graphgpo_jax.policy import language_model, lora, transformer
from graphgpo_jax.policy.sampling import options as sampling_options
from graphgpo_jax.policy.sampling import sampler
from graphgpo_jax.rollouts import packing, turns
from graphgpo_jax.training import language_loss, language_update
from tests.rollouts import made_episodes

VOCABULARY = 64
# Of all rows, whatever their form, so that they share what is compiled.
SHAPE = (12, 64)
AGGREGATIONS = [
  (losses.token_mean, language_loss.token_mean_weights),
  (
    losses.sequence_mean_token_mean,
    language_loss.sequence_mean_token_mean_weights,
  ),
  (
    losses.sequence_mean_token_sum,
    language_loss.sequence_mean_token_sum_weights,
  ),
]
WEIGHS = [weigh for _, weigh in AGGREGATIONS]
OPTIONS = {"dual_clip": 1.5, "kl_coefficient": 0.1, "entropy_coefficient": 0.02}


@functools.cache
def model(rank=0, tied=True):
  config = transformer.TransformerConfig(
    num_layers=2,
    width=32,
    num_heads=4,
    num_kv_heads=2,
    causal=True,
    rope=True,
    lora=lora.LoraConfig(rank=rank, alpha=2.0 * rank) if rank else None,
  )
  return language_model.LanguageModel(
    language_model.LanguageModelConfig(VOCABULARY, config, tied)
  )


@functools.cache
def start(rank, tied):
  """Random variables, so far from uniform that a token's context matters."""
  tokens = jnp.zeros((1, 4), jnp.int32)
  shapes = jax.eval_shape(
    model(rank, tied).init, jax.random.key(0), tokens, tokens == 0
  )
  random = np.random.default_rng(5)

  def draw(path, leaf):
    drawn = random.normal(0, 0.25, leaf.shape)
    return drawn + 1 if path[-1].key == "scale" else drawn

  return jax.tree_util.tree_map_with_path(draw, shapes)


def variables(rank=0, tied=True):
  """The variables on buffers of their own, since updates take them over."""
  return jax.tree.map(jnp.float32, start(rank, tied))


@functools.cache
def log_probs(rank=0, tied=True, temperature=1.0, chunk=8):
  return jax.jit(
    language_loss.make_log_probs(
      model(rank, tied), chunk=chunk, temperature=temperature
    )
  )


@functools.cache
def episodes():
  return made_episodes.random_episodes(
    np.random.default_rng(1), (3, 1, 4, 2), vocabulary=VOCABULARY
  )


def pad(rows):
  """The rows among rows and columns of padding."""
  padded = turns.empty_rows(*SHAPE)
  for name, value in rows.items():
    padded[name][: len(value), : value.shape[1]] = value
  return padded


def pack(rows):
  packed = packing.pack_rows(rows, budget=SHAPE[1], rows_multiple_of=SHAPE[0])
  assert packed.mask.shape == SHAPE
  assert packed.mask.any(1).sum() < rows.mask.any(1).sum()
  return packed


@functools.cache
def make_rows():
  """Rows of steps whose old log-probabilities are near those of the model."""
  rows = pad(turns.step_rows(*episodes()).rows)
  log_prob, _ = log_probs()(variables(), rows)
  noise = np.random.default_rng(2).normal(0, 0.2, log_prob.shape)
  old = np.where(rows.loss_mask, log_prob + noise, 0.0).astype(np.float32)
  return dataclasses.replace(rows, old_log_prob=old)


def make_episode_rows():
  """The same tokens, one row per episode, packed."""
  rows = pad(turns.episode_rows(*episodes()).rows)
  old = of_tokens(make_rows(), make_rows().old_log_prob)
  ranks = {}
  for row, column in np.argwhere(rows.loss_mask):
    key = (int(rows.episode[row, column]), int(rows.step[row, column]))
    ranks[key] = ranks.get(key, -1) + 1
    rows.old_log_prob[row, column] = old[*key, ranks[key]]
  return pack(rows)


def of_tokens(rows, values):
  """What `values` says of each token of the agent's, by its key."""
  marked = dataclasses.replace(
    rows, advantage=np.where(rows.loss_mask, values, 0.0)
  )
  return {
    key: found[1] for key, found in made_episodes.by_token(marked).items()
  }


@pytest.mark.parametrize("tied, temperature", [(True, 1.0), (False, 0.7)])
def test_log_probs_are_those_of_the_tokens_own_prefix(tied, temperature):
  rows = make_rows()
  given = variables(tied=tied)
  found, entropy = log_probs(tied=tied, temperature=temperature)(given, rows)
  logits = jax.jit(model(tied=tied).apply)(given, rows.tokens, rows.mask)
  logits = logits / temperature
  expected = np.asarray(jax.nn.log_softmax(logits))
  count = 0
  for row, column in np.argwhere(rows.loss_mask):
    before = expected[row, column - 1]
    np.testing.assert_allclose(
      found[row, column], before[rows.tokens[row, column]], atol=2e-5
    )
    np.testing.assert_allclose(
      entropy[row, column], -np.sum(np.exp(before) * before), atol=2e-5
    )
    count += 1
  assert count == rows.loss_mask.sum() > 20
  spread = np.asarray(found)[rows.loss_mask]
  assert np.ptp(spread) > 1


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampler_and_trainer_agree(temperature):
  """On tokens that a cache of two turns and a filter were used to draw."""
  options = sampling_options.SamplingOptions(
    temperature=temperature, top_k=20, max_tokens=6
  )
  conversations = [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3]]
  talk = small_sampler().episode(3)
  made = [[] for _ in conversations]
  for key in jax.random.split(jax.random.key(1), 2):
    samples = talk.sample(conversations, key, options)
    for index, (prompt, sample) in enumerate(
      zip(conversations, samples, strict=True)
    ):
      turn = turns.Turn(prompt, sample.tokens, sample.log_probs)
      made[index].append(turn)
      conversations[index] = [*prompt, *sample.tokens, 7, 8]
  assert talk.tokens_reused > 0
  for form in (turns.step_rows, turns.episode_rows):
    rows = pad(
      form([turns.Episode(each) for each in made], np.ones((3, 2))).rows
    )
    assert rows.loss_mask.sum() == sum(
      len(turn.response_tokens) for each in made for turn in each
    )
    log_prob, entropy = log_probs(temperature=temperature)(variables(), rows)
    _, metrics = score(WEIGHS[0], log_prob, entropy, rows)
    assert metrics["sampler/difference_max"] < 1e-3
    # The ids are the sampler's own: with others the two would be far apart.
    rows.tokens[rows.loss_mask] = (rows.tokens[rows.loss_mask] + 1) % VOCABULARY
    log_prob, entropy = log_probs(temperature=temperature)(variables(), rows)
    _, metrics = score(WEIGHS[0], log_prob, entropy, rows)
    assert metrics["sampler/difference_mean"] > 0.3


@functools.cache
def small_sampler():
  return sampler.Sampler(
    model(), variables(), eos_ids=[2], segment=4, prefill_chunk=32
  )


def assert_same_by_token(found, expected, atol):
  assert found.keys() == expected.keys()
  for key, value in expected.items():
    assert found[key] == pytest.approx(value, abs=atol)


@pytest.mark.parametrize("change", ["packed", "one row per episode"])
def test_log_probs_do_not_depend_on_the_form_of_the_rows(change):
  rows = make_rows()
  other = pack(rows) if change == "packed" else make_episode_rows()
  for index in range(2):
    expected, found = (
      of_tokens(form, log_probs()(variables(), form)[index])
      for form in (rows, other)
    )
    assert_same_by_token(found, expected, 1e-5)


@pytest.mark.parametrize("aggregate, weigh", AGGREGATIONS)
def test_weights_are_those_of_the_losses(aggregate, weigh):
  rows = make_rows()
  values = np.random.default_rng(0).normal(size=rows.mask.shape)
  found = np.sum(weigh(rows.loss_mask, rows.segment) * values)
  expected = aggregate(jnp.float32(values), jnp.asarray(rows.loss_mask))
  assert found == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("weigh", WEIGHS)
def test_weights_do_not_depend_on_packing(weigh):
  rows = make_rows()
  packed = pack(rows)
  expected = of_tokens(rows, weigh(rows.loss_mask, rows.segment))
  found = of_tokens(packed, weigh(packed.loss_mask, packed.segment))
  assert_same_by_token(found, expected, 1e-7)
  weights = np.asarray(weigh(packed.loss_mask, packed.segment))
  assert not weights[~packed.loss_mask].any()


@pytest.mark.parametrize("weigh", WEIGHS)
def test_nothing_to_learn_from_has_no_weight(weigh):
  rows = turns.empty_rows(2, 5)
  weights = np.asarray(weigh(rows.loss_mask, rows.segment))
  np.testing.assert_array_equal(weights, np.zeros((2, 5)))


def score(weigh, log_prob, entropy, rows, *arrays, **options):
  return language_loss.rows_loss(
    log_prob,
    entropy,
    rows,
    weigh(rows.loss_mask, rows.segment),
    language_loss.token_mean_weights(rows.loss_mask, rows.segment),
    *arrays,
    **options,
  )


def arrays_like(rows, seed=3):
  """Log-probabilities near the old ones, entropies, and a reference's."""
  random = np.random.default_rng(seed)
  near = [
    rows.old_log_prob + random.normal(0, 0.3, rows.mask.shape) for _ in range(2)
  ]
  entropy = random.random(rows.mask.shape)
  return [jnp.float32(values) for values in (near[0], entropy, near[1])]


@pytest.mark.parametrize("aggregate, weigh", AGGREGATIONS)
def test_loss_is_the_policy_loss_of_the_package(aggregate, weigh):
  rows = make_rows()
  log_prob, entropy, reference = arrays_like(rows)
  ours = functools.partial(score, weigh, rows=rows, **OPTIONS)
  theirs = functools.partial(
    losses.policy_loss,
    old_log_prob=jnp.asarray(rows.old_log_prob),
    advantage=jnp.asarray(rows.advantage),
    mask=jnp.asarray(rows.loss_mask),
    aggregate=aggregate,
    **OPTIONS,
  )

  def both(one, other):
    return jax.value_and_grad(one, argnums=(0, 1), has_aux=True)(
      log_prob, entropy
    ), jax.value_and_grad(other, argnums=(0, 1), has_aux=True)(
      log_prob, entropy
    )

  ((found, metrics), gradient), ((expected, given), slope) = both(
    lambda x, y: ours(x, y, reference_log_prob=reference),
    lambda x, y: theirs(x, reference_log_prob=reference, entropy=y),
  )
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  for one, other in zip(gradient, slope, strict=True):
    np.testing.assert_allclose(one, other, atol=1e-6)
  for name, other in {
    "loss/policy": "policy_loss",
    "loss/reference_kl": "kl",
    "loss/entropy": "entropy",
    "loss/clip_fraction": "clip_fraction",
    "loss/kl": "old_kl",
  }.items():
    np.testing.assert_allclose(metrics[name], given[other], rtol=1e-4)
  assert 0 < metrics["loss/clip_fraction"] < 1


def test_what_stands_outside_the_loss_does_not_matter():
  rows = make_rows()
  arrays = arrays_like(rows)
  spoilt = [jnp.where(rows.loss_mask, values, jnp.nan) for values in arrays]
  bad_rows = dataclasses.replace(
    rows,
    old_log_prob=np.where(rows.loss_mask, rows.old_log_prob, -np.inf),
    advantage=np.where(rows.loss_mask, rows.advantage, np.nan),
  )
  weigh = language_loss.token_mean_weights

  def of(log_prob, rows, arrays):
    return score(
      weigh,
      log_prob,
      arrays[1],
      rows,
      arrays[2],
      arrays[2],
      importance_cap=1.1,
      **OPTIONS,
    )[0]

  found = jax.value_and_grad(of)(spoilt[0], bad_rows, spoilt)
  expected = jax.value_and_grad(of)(arrays[0], rows, arrays)
  np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
  np.testing.assert_allclose(found[1], expected[1], atol=1e-7)
  assert np.any(found[1])
  assert not np.any(np.asarray(found[1])[~rows.loss_mask])


def two_tokens():
  """One row with two tokens of the agent's, advantages 1 and -2."""
  rows = turns.empty_rows(1, 4)
  rows.mask[0] = [True, True, True, False]
  rows.loss_mask[0] = [False, True, True, False]
  rows.segment[0] = [0, 0, 0, -1]
  rows.old_log_prob[0] = [0.0, -1.0, -2.0, 0.0]
  rows.advantage[0] = [0.0, 1.0, -2.0, 0.0]
  return rows


def test_truncated_importance_weights_by_hand():
  rows = two_tokens()
  trainer = jnp.float32([[9.0, -0.5, -2.1, 9.0]])
  now = jnp.float32([[9.0, -0.45, -2.05, 9.0]])
  weigh = language_loss.token_mean_weights
  loss, metrics = score(weigh, now, now, rows, trainer, importance_cap=1.25)
  ratio = np.exp(0.05)
  expected = (-1.25 * ratio + np.exp(-0.1) * 2 * ratio) / 2
  assert float(loss) == pytest.approx(expected, rel=1e-5)
  assert metrics["sampler/difference_mean"] == pytest.approx(0.3, rel=1e-5)
  assert metrics["sampler/difference_max"] == pytest.approx(0.5, rel=1e-5)
  assert metrics["sampler/tokens"] == 2
  assert metrics["sampler/importance_truncated"] == 0.5
  mean = (np.exp(0.5) + np.exp(-0.1)) / 2
  assert metrics["sampler/importance_mean"] == pytest.approx(mean, rel=1e-5)
  # Without a cap the ratio is to the trainer's, and nothing is weighed.
  loss, metrics = score(weigh, now, now, rows, trainer)
  assert float(loss) == pytest.approx((-1 + 2) * ratio / 2, rel=1e-5)
  assert "sampler/importance_mean" not in metrics
  # Without the trainer's the ratio is to the sampler's.
  loss, metrics = score(weigh, now, now, rows)
  expected = (-1.2 + 2 * np.exp(-0.05)) / 2
  assert float(loss) == pytest.approx(expected, rel=1e-5)
  assert metrics["sampler/difference_max"] == pytest.approx(0.55, rel=1e-5)


def test_no_gradient_through_the_importance_weight():
  rows = two_tokens()
  weigh = language_loss.token_mean_weights

  def of(now, trainer):
    return score(weigh, now, now, rows, trainer, importance_cap=9.0)[0]

  now = jnp.float32([[0.0, -0.5, -2.1, 0.0]])
  slope, through = jax.grad(of, argnums=(0, 1))(now, now)
  assert np.any(slope) and not np.any(through)


@pytest.mark.parametrize(
  "options, words",
  [
    ({"kl_coefficient": 0.1}, "kl_coefficient needs reference_log_prob"),
    ({"importance_cap": 2.0}, "importance_cap needs trainer_log_prob"),
    (
      {"importance_cap": 0.0, "trainer_log_prob": jnp.zeros((1, 4))},
      "importance_cap=0.0 must be positive",
    ),
    ({"dual_clip": 0.5}, "dual_clip"),
    ({"entropy_coefficient": 0.1}, "entropy_coefficient needs entropy"),
  ],
)
def test_bad_options_are_refused(options, words):
  zeros = jnp.zeros((1, 4))
  with pytest.raises(ValueError, match=words):
    score(
      language_loss.token_mean_weights, zeros, None, two_tokens(), **options
    )


# The first step moves the parameters by the gradient.
SGD = optax.sgd(1.0, momentum=0.9)


@functools.cache
def make_update(rank=0, parts=1, weigh=WEIGHS[0], **options):
  return language_update.make_update(
    log_probs(rank), SGD, num_microbatches=parts, weigh=weigh, **options
  )


def step(update, rows, *arrays, rank=0):
  """State, on the host, and metrics after an update of fresh variables."""
  state = language_update.create_state(
    variables(rank), SGD, train="lora" if rank else "params"
  )
  return jax.device_get(update(state, rows, *arrays))


def assert_close(one, other, atol=1e-5):
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=0, atol=atol), one, other
  )


# The mean over sequences: the aggregation that needs the segments most.
PER_SEQUENCE = language_loss.sequence_mean_token_mean_weights


@functools.cache
def whole_batch():
  """State and metrics after a step on rows of steps, none packed."""
  update = make_update(weigh=PER_SEQUENCE, **OPTIONS)
  rows = make_rows()
  return step(update, rows, None, rows.old_log_prob - 0.1)


@pytest.mark.parametrize("parts", [1, 3])
def test_neither_packing_nor_microbatches_change_the_update(parts):
  packed = pack(make_rows())
  update = make_update(parts=parts, weigh=PER_SEQUENCE, **OPTIONS)
  state, metrics = step(update, packed, None, packed.old_log_prob - 0.1)
  expected, numbers = whole_batch()
  assert_close(metrics, numbers)
  assert_close(state.trained, expected.trained)
  assert numbers["loss/gradient_norm"] > 0.01
  assert numbers["sampler/difference_max"] > 0.1


def test_a_row_per_episode_trains_as_rows_of_steps_do():
  (state, metrics), (other, found) = (
    step(make_update(), rows) for rows in (make_rows(), make_episode_rows())
  )
  assert_close(found, metrics)
  assert_close(other.trained, state.trained)
  assert metrics["loss/gradient_norm"] > 0.01


def test_lora_leaves_the_weights_alone():
  rows = make_rows()
  before = variables(3)
  state, metrics = step(make_update(3), rows, rank=3)
  assert set(state.trained) == {"lora"} and set(state.frozen) == {"params"}
  jax.tree.map(
    np.testing.assert_array_equal, state.frozen["params"], before["params"]
  )
  moved = [
    np.any(one != other)
    for one, other in zip(
      *map(jax.tree.leaves, (state.trained["lora"], before["lora"])),
      strict=True,
    )
  ]
  assert all(moved) and moved
  assert state.variables.keys() == {"params", "lora"}
  assert metrics["optimiser/skipped"] == 0 and state.step == 1


def test_sampled_tokens_follow_their_advantage():
  rows = make_rows()
  rows = dataclasses.replace(
    rows,
    # Small, since the rate is not.
    advantage=0.01 * rows.advantage,
    old_log_prob=log_probs()(variables(), rows)[0],
  )
  update = make_update()
  state = language_update.create_state(variables(), SGD)
  for _ in range(3):
    state, _ = update(state, rows)
  assert state.step == 3
  moved = log_probs()(state.variables, rows)[0] - rows.old_log_prob
  gain = np.asarray(moved * rows.advantage)[rows.loss_mask]
  assert gain.mean() > 0.01 and np.mean(gain > 0) > 0.8


def test_without_an_advantage_only_the_step_goes_on():
  update = make_update()
  state = language_update.create_state(variables(), SGD)
  state, metrics = update(state, make_rows())
  assert metrics["optimiser/skipped"] == 0
  before = jax.device_get(state)
  still = dataclasses.replace(
    make_rows(), advantage=np.zeros_like(make_rows().advantage)
  )
  state, metrics = jax.device_get(update(state, still))
  assert metrics["optimiser/skipped"] == 1 and state.step == 2
  for name in ("trained", "opt_state"):
    jax.tree.map(np.testing.assert_array_equal, state[name], before[name])


def test_the_states_buffers_are_taken_over():
  state = language_update.create_state(variables(3), SGD, train="lora")
  make_update(3)(state, make_rows())
  for tree in (state.trained, state.frozen):
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(tree))


def test_bad_updates_are_refused():
  with pytest.raises(ValueError, match="num_microbatches=0 must be"):
    make_update(parts=0)
  with pytest.raises(ValueError, match="12 rows are no multiple of .*=5"):
    step(make_update(parts=5), make_rows())
  with pytest.raises(ValueError, match=r"collections are \['params'\]"):
    language_update.create_state(variables(), SGD, train="lora")
  with pytest.raises(ValueError, match="merge it into params"):
    language_update.create_state(variables(3), SGD)
