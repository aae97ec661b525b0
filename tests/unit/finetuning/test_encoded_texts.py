"""Texts, pairs and words as token ids."""

import pytest

from ptft.finetuning.texts import encode_texts


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
