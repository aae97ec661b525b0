"""Texts, pairs and words as token ids."""

import pytest

from ptft.finetuning.texts import encode_examples, encode_texts
from ptft.tasks.problems.token_classification import TokenClassification
from ptft.tasks.task import Example


def decoded(tokenizer, encoded):
    return [tokenizer.convert_ids_to_tokens(ids) for ids in encoded.ids]


def test_the_texts_of_a_decoders_pair_are_kept_apart_by_its_end_of_text(gpt_tokenizer):
    pairs = [("red", "ice"), ("redice", ""), ("re", "dice"), ("red ice", ""), ("", "ice")]
    encoded = encode_texts(pairs, gpt_tokenizer, 32)
    assert len(set(map(tuple, encoded.ids))) == len(pairs)
    end = gpt_tokenizer.eos_token_id
    for (first, second), ids in zip(pairs, encoded.ids, strict=True):
        parts = [gpt_tokenizer(part)["input_ids"] for part in (first, second)]
        assert ids == (parts[0] + [end] * bool(second) + parts[1])


@pytest.mark.parametrize("length", [4, 5, 6])
def test_the_longer_text_of_a_decoders_pair_is_cut_first_and_the_border_stays(gpt_tokenizer, length):
    encoded = encode_texts([("red red red red red red red red", "ice")], gpt_tokenizer, length)
    (ids,) = encoded.ids
    assert encoded.num_truncated == 1 and len(ids) == length
    assert ids.count(gpt_tokenizer.eos_token_id) == 1


def test_an_encoders_pair_has_its_own_border(bert_tokenizer):
    encoded = encode_texts([("red", "ice")], bert_tokenizer, 32)
    assert encoded.ids[0] == bert_tokenizer("red", "ice")["input_ids"]


def words_of(tokenizer, *words, length=32):
    example = Example(" ".join(words), "", words=words)
    return encode_examples([example], TokenClassification(), tokenizer, length)


@pytest.mark.parametrize("kind", ["bert", "gpt"])
def test_a_word_is_from_its_first_to_its_last_token(kind, request):
    tokenizer = request.getfixturevalue(f"{kind}_tokenizer")
    words = ("red", "unbelievableness", "ice")
    encoded = words_of(tokenizer, *words)
    (places,) = encoded.words
    for word, (first, last) in zip(words, places, strict=True):
        assert tokenizer.decode(encoded.ids[0][first : last + 1]).strip() == word
    assert places[1, 1] > places[1, 0]
    assert places[2, 0] > places[1, 1]


def test_a_word_that_is_cut_ends_with_the_last_token_that_is_left(gpt_tokenizer):
    encoded = words_of(gpt_tokenizer, "red", "unbelievableness", "ice", length=6)
    assert encoded.words[0][1:, 1].tolist() == [5, -1]
    assert (encoded.num_truncated, encoded.num_lost) == (1, 0)


def test_a_word_that_the_tokenizer_leaves_out_is_not_cut_off(bert_tokenizer):
    """A space without width, as there are many in crawled text; at the beginning of a word it does no harm."""
    encoded = words_of(bert_tokenizer, "red", "\u200b", "\u200bsun", "\u200b")
    assert (encoded.words[0][:, 0] >= 0).tolist() == [True, False, True, False]
    assert (encoded.num_truncated, encoded.num_lost) == (0, 2)
    cut = words_of(bert_tokenizer, "red", "\u200b", *["sun"] * 9, length=5)
    assert (cut.num_truncated, cut.num_lost) == (1, 1)
