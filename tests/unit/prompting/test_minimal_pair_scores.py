from functools import partial

import pytest
import torch
from masked_models import bert_like_tokenizer, masked_model

from ptft.errors import DataError
from ptft.prompting.masked import pseudo_loglikelihoods
from ptft.prompting.minimal_pairs import evaluate_minimal_pairs
from ptft.prompting.scoring import Scored, loglikelihoods
from ptft.tasks.metrics import wilson
from ptft.tasks.minimal_pairs import MinimalPair

VALUES = {"a": -1.0, "b": -2.0, "c": -2.0, "d": -3.0}
PAIRS = [
    MinimalPair("a", "b", "one", "x"),
    MinimalPair("b", "c", "one", "x"),
    MinimalPair("d", "a", "two", "x"),
    MinimalPair("a", "d", "three", "y"),
    MinimalPair("c", "d", "three", "y"),
    MinimalPair("b", "d", "three", "y"),
]


def score(pairs):
    assert all(context == "" for context, _ in pairs)
    return [Scored(VALUES[sentence], False, (), ()) for _, sentence in pairs]


def test_accuracy_in_total_and_in_groups():
    figures, records = evaluate_minimal_pairs(score, PAIRS)
    assert figures["accuracy"] == 4.5 / 6
    assert (figures["accuracy.low"], figures["accuracy.high"]) == wilson(4.5, 6)
    assert figures["accuracy_of_subtasks"] == pytest.approx((0.75 + 0 + 1) / 3)
    assert figures["phenomenon.x"] == 0.5
    assert figures["subtask.three"] == 1.0
    assert (figures["subtask.three.low"], figures["subtask.three.high"]) == wilson(3, 3)
    low, high = wilson(1.5, 2)
    expected = {"group": "subtask", "name": "one", "value": 0.75, "low": low, "high": high, "n": 2, "ties": 1}
    assert [record for record in records if record["name"] == "one"] == [expected]


def test_a_sentence_is_scored_once():
    asked = []

    def counting(pairs):
        asked.extend(pairs)
        return score(pairs)

    evaluate_minimal_pairs(counting, PAIRS)
    assert len(asked) == len(set(asked)) == 4


def test_pairs_without_phenomenon():
    figures, _ = evaluate_minimal_pairs(score, [MinimalPair("a", "b", "one")])
    assert not any(name.startswith("phenomenon") for name in figures)


def test_no_pairs():
    with pytest.raises(DataError, match="there are no minimal pairs to ask about"):
        evaluate_minimal_pairs(score, [])


SENTENCES = [MinimalPair("It was bad.", "It is bad.", "s", "p"), MinimalPair("bad It was.", "It was bad.", "s", "p")]


def test_a_constant_encoder_is_at_chance():
    tokenizer = bert_like_tokenizer()
    model = masked_model("bert", tokenizer)
    with torch.no_grad():
        model.cls.predictions.decoder.weight.zero_()
    pairs = SENTENCES[1:]  # of as many tokens: a uniform model finds the shorter of two sentences more probable
    figures, records = evaluate_minimal_pairs(partial(pseudo_loglikelihoods, model, tokenizer), pairs)
    assert figures["accuracy"] == 0.5
    assert records[0]["ties"] == 1


def test_an_encoder_and_a_decoder_can_be_asked(new_model, tokenizer):
    wordpiece = bert_like_tokenizer()
    for found in (
        partial(pseudo_loglikelihoods, masked_model("bert", wordpiece), wordpiece),
        partial(loglikelihoods, new_model(), tokenizer),
    ):
        figures, _ = evaluate_minimal_pairs(found, SENTENCES)
        values = [[found([("", text)])[0].log_likelihood for text in (pair.good, pair.bad)] for pair in SENTENCES]
        assert figures["accuracy"] == sum(good > bad for good, bad in values) / 2
