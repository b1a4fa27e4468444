import pytest

from graphgpo_jax.policy.acting import words


def test_words_numbers_and_signs():
  ids = words.word_ids("Take the 15kg, take it!", 4096)
  # take the 15 kg , take it !
  assert len(ids) == 8
  assert ids[0] == ids[5]
  assert len(set(ids)) == 7
  assert ids[:2] == words.word_ids("take THE", 4096)


def test_the_same_everywhere():
  # Checkpoints depend on these numbers.
  assert words.word_ids("open the fridge 1", 4096) == (3294, 521, 961, 2102)


def test_ids_leave_the_padding_free():
  text = " ".join(f"w{chr(97 + k % 26)}{chr(97 + k // 26)}" for k in range(400))
  ids = words.word_ids(text, 50)
  assert min(ids) == 1
  assert max(ids) == 49


def test_no_text_has_no_word():
  assert words.word_ids(" \n", 10) == ()


def test_a_vocabulary_of_padding_alone_is_refused():
  with pytest.raises(ValueError, match="vocabulary_size"):
    words.word_ids("a", 1)
