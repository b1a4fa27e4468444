"""Small byte-level tokenizers, trained on the spot."""

CORPUS = [
  "The quick brown fox jumps over the lazy dog; it's 12345 times quicker.",
  "You are in the middle of a room. On the desk 1, you see a cellphone 3.",
  "Émile naïvely ordered 20 crêpes for 1234567 €.\n\n  Indented\tand 'QUOTED'",
  "go to fridge 1\nopen fridge 1\ntake apple 2 from fridge 1\n",
] * 3
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def train(pre_tokenizer, normalizer=None, ignore_merges=False):
  """A `tokenizers.Tokenizer` of 400 words with `SPECIAL` in front."""
  import tokenizers

  backend = tokenizers.Tokenizer(
    tokenizers.models.BPE(ignore_merges=ignore_merges)
  )
  if normalizer is not None:
    backend.normalizer = normalizer
  backend.pre_tokenizer = pre_tokenizer
  backend.decoder = tokenizers.decoders.ByteLevel()
  alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
  trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=400,
    special_tokens=SPECIAL,
    initial_alphabet=alphabet,
    show_progress=False,
  )
  backend.train_from_iterator(CORPUS, trainer)
  return backend


def smollm():
  """Cut as SmolLM's are."""
  from tokenizers import pre_tokenizers

  return train(
    pre_tokenizers.Sequence(
      [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
      ]
    )
  )
