"""Figures and perplexities of protocol lm_eval-0.4.13, worked out by hand."""

import math

import pytest

from ptft.errors import DataError
from ptft.prompting.lm_eval import aggregates, document_metrics, perplexities, rolling_requests
from ptft.prompting.request import Request

GREEDY = (False, True, False)


def test_each_division_has_its_own_winner():
    choices, unconditional = ["aa", "bbbb", "👩👩"], [-1, -7, -6]
    found = [document_metrics([-6, -8, -9], GREEDY, choices, gold, unconditional) for gold in range(3)]
    assert [found[gold]["acc"] for gold in range(3)] == [1, 0, 0]
    assert [found[gold]["acc_norm"] for gold in range(3)] == [0, 1, 0]  # -3, -2, -4.5
    assert [found[gold]["acc_bytes"] for gold in range(3)] == [0, 0, 1]  # -3, -2, -9/8
    assert [found[gold]["acc_mutual_info"] for gold in range(3)] == [0, 1, 0]  # -5, -1, -3
    assert [found[gold]["exact_match"] for gold in range(3)] == [0, 1, 0]


def test_the_brier_score_is_summed_over_choices():
    found = document_metrics([math.log(0.5) - 3, math.log(0.25) - 3, math.log(0.25) - 3], GREEDY, "abc", 1)
    assert found["brier_score"] == pytest.approx(0.5**2 + 0.75**2 + 0.25**2)
    assert "acc_mutual_info" not in found


def test_of_equals_the_first_wins_and_no_number_over_all():
    assert document_metrics([-1, -1], (False, False), "ab", 0)["acc"] == 1.0
    assert document_metrics([-1, math.nan], (False, False), "ab", 1)["acc"] == 1.0


def test_an_empty_choice_never_wins_by_length():
    found = document_metrics([-1, -5], (False, False), ["", "b"], 1)
    assert (found["acc"], found["acc_norm"], found["acc_bytes"]) == (0, 1, 1)


def test_a_gold_index_beyond_the_choices_is_never_right():
    found = document_metrics([-1, -2], (True, True), "ab", 2)
    assert found == {"acc": 0, "acc_norm": 0, "acc_bytes": 0, "exact_match": 0}


def test_means_and_standard_errors():
    documents = [{"acc": value, "brier_score": 0.5} for value in (1.0, 0.0, 0.0, 1.0, 1.0)]
    found = aggregates(documents)
    # Two differ from 3/5 by 3/5, three by 2/5: variance 1.2 / 4, over five documents.
    assert found["acc"] == (pytest.approx(0.6), pytest.approx(math.sqrt(1.2 / 4 / 5)))
    assert found["brier_score"] == (0.5, None)
    assert aggregates(documents[:1])["acc"] == (1.0, None)


def test_a_figure_that_a_document_lacks_has_no_mean():
    assert set(aggregates([{"acc": 1.0, "brier_score": 0.1}, {"acc": 0.0}])) == {"acc"}


def test_windows_score_each_token_once(bare_letters):
    # As in lm_eval's own picture: positions 4, tokens 0 to 9, the last window moved to the left.
    ids = bare_letters("abcdefghij")["input_ids"]
    windows = rolling_requests(bare_letters, "abcdefghij", 4)
    start = bare_letters.bos_token_id
    assert windows == [
        Request((start,), tuple(ids[:4])),
        Request((ids[3],), tuple(ids[4:8])),
        Request(tuple(ids[5:8]), tuple(ids[8:])),
    ]
    assert rolling_requests(bare_letters, "abcd", 4) == [Request((start,), tuple(ids[:4]))]
    assert rolling_requests(bare_letters, "", 4) == []


def test_a_tokenizer_that_adds_a_first_token_has_two(adding_letters):
    start = adding_letters.bos_token_id
    (window,) = rolling_requests(adding_letters, "ab", 8)
    assert window.context_ids == (start,)
    assert window.continuation_ids[0] == start
    (window,) = rolling_requests(adding_letters, "ab", 8, add_bos=False)
    assert start not in window.continuation_ids


def test_a_text_needs_a_token_to_begin_with(nameless_letters):
    with pytest.raises(DataError, match="nothing can stand before the first token of a text: the tokenizer has no bos"):
        rolling_requests(nameless_letters, "ab", 8)


def test_perplexities_are_weighted_by_length():
    # Words: "a b", " é" with an empty one before it, so 2 and 2; bytes: 3 and 3.
    found = perplexities([-4.0, -8.0], ["a b", " é"])
    assert found["word_perplexity"] == pytest.approx(math.exp(12 / 4))
    assert found["byte_perplexity"] == pytest.approx(math.exp(12 / 6))
    assert found["bits_per_byte"] == pytest.approx(2 / math.log(2))


@pytest.fixture(scope="module")
def bare_letters():
    return _letters(bos_token="<s>")


@pytest.fixture(scope="module")
def adding_letters():
    return _letters(template=True, bos_token="<s>")


@pytest.fixture(scope="module")
def nameless_letters():
    return _letters()


def _letters(*, template=False, **marks):
    """A token for each letter."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: number for number, token in enumerate(["<s>", *"abcdefghij"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    if template:
        tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks)
