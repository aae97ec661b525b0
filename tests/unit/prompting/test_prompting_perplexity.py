import math
import re

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from ptft.errors import CheckpointError, DataError, RecipeError
from ptft.prompting.perplexity import evaluate_perplexity, windows_of

TEXTS = ["Is the soup red?", "a violin, a page", "Café für  zwei\n", "dull"]
LONG = "Answer the question: is the soup red or is the violin blue? " * 4


def direct(model, ids, windows=None):
    """The sum of log-probabilities of ids after token 0, each given all tokens since the start of its window."""
    windows = windows or [(0, 0, len(ids))]
    total = 0.0
    whole = [0, *ids]
    with torch.no_grad():
        for start, first, last in windows:  # numbers of tokens: seen from, scored from, scored to
            fed = whole[start:last]
            table = model.eval()(torch.tensor([fed])).logits[0].double().log_softmax(-1)
            total += sum(float(table[place - start, whole[place + 1]]) for place in range(first, last))
    return total


def test_figures_are_those_of_whole_forward_passes(model, tokenizer):
    result = evaluate_perplexity(model, tokenizer, TEXTS, name="set")
    encoded = [tokenizer(text)["input_ids"] for text in TEXTS]
    sums = [direct(model, ids) for ids in encoded]
    assert [document["log_likelihood"] for document in result.documents] == pytest.approx(sums, rel=1e-5)
    nats, size = -sum(sums), sum(len(text.encode()) for text in TEXTS)
    words = sum(len(text.split()) for text in TEXTS)
    tokens = sum(map(len, encoded))
    figures = result.figures
    assert figures["set.bits_per_byte"] == pytest.approx(nats / size / math.log(2))
    assert figures["set.byte_perplexity"] == pytest.approx(math.exp(nats / size))
    assert figures["set.word_perplexity"] == pytest.approx(math.exp(nats / words))
    assert figures["set.token_perplexity"] == pytest.approx(math.exp(nats / tokens))
    assert [figures[f"set.{key}"] for key in ("n", "tokens", "words", "bytes")] == [4, tokens, words, size]
    for key in ("bits_per_byte", "word_perplexity", "token_perplexity", "byte_perplexity"):
        assert figures[f"set.{key}.low"] < figures[f"set.{key}"] < figures[f"set.{key}.high"]


def test_all_figures_can_be_worked_out_from_the_documents(model, tokenizer):
    result = evaluate_perplexity(model, tokenizer, TEXTS, name="set")
    nats = -sum(document["log_likelihood"] for document in result.documents)
    size = sum(document["bytes"] for document in result.documents)
    (record,) = result.records
    assert record["value"] == result.figures["set.bits_per_byte"] == pytest.approx(nats / size / math.log(2))
    assert record["low"] == result.figures["set.bits_per_byte.low"]
    assert {key: record[key] for key in ("task", "metric", "protocol", "n", "positions", "context", "left_out")} == {
        "task": "set",
        "metric": "bits_per_byte",
        "protocol": "ptft",
        "n": 4,
        "positions": 128,
        "context": 64,
        "left_out": 0,
    }
    assert len({document["document"] for document in result.documents}) == 4


@pytest.mark.parametrize("size", [1, 7, 8, 9, 12, 13, 40])
@pytest.mark.parametrize("context", [1, 4, 8])
def test_windows_score_each_token_once_with_context(size, context):
    ids = list(range(1, size + 1))
    windows = list(windows_of(ids, 0, 8, context))
    assert [token for window in windows for token in window.continuation_ids] == ids
    assert windows[0].context_ids == (0,)
    for window in windows[1:]:
        assert window.num_inputs == 8, "a later window is full"
        assert len(window.context_ids) >= context
        assert window.context_ids[-1] + 1 == window.continuation_ids[0]


@pytest.mark.parametrize("size", [5, 8, 9, 16, 17, 30])
def test_windows_with_one_token_of_context_are_those_of_lm_eval(size):
    """Runs where lm_eval is installed; it is no dependency."""
    utils = pytest.importorskip("lm_eval.utils")
    ids = list(range(1, size + 1))
    theirs = map(utils.make_disjoint_window, utils.get_rolling_token_windows(ids, 0, 8, 1))
    assert [tuple(map(list, window)) for window in windows_of(ids, 0, 8, 1)] == [tuple(pair) for pair in theirs]


def test_a_document_longer_than_the_positions_is_scored_in_windows(new_model, tokenizer):
    model = new_model(positions=32)
    ids = tokenizer(LONG)["input_ids"]
    assert 48 < len(ids) < 64, "the premise: three windows, the last one short"
    (document,) = evaluate_perplexity(model, tokenizer, [LONG], name="set").documents
    assert document["tokens"] == len(ids)
    assert document["windows"] == 3
    windows = [(0, 0, 32), (17, 32, 49), (len(ids) - 32, 49, len(ids))]
    assert document["log_likelihood"] == pytest.approx(direct(model, ids, windows), rel=1e-5)


def test_fewer_positions_than_the_model_has(new_model, tokenizer):
    short, long = (evaluate_perplexity(new_model(), tokenizer, [LONG], name="set", positions=p) for p in (32, 0))
    assert short.documents[0]["windows"] == 3
    assert long.documents[0]["windows"] == 1


def test_a_token_to_begin_with_is_added_once(new_model, tokenizer, bare_tokenizer):
    class Twice:
        """A tokenizer that adds a beginning itself when it is not told to leave it."""

        def __init__(self, inner):
            self.inner = inner

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def __len__(self):
            return len(self.inner)

        def __call__(self, texts, add_special_tokens=True, **kwargs):
            encoded = self.inner(texts, **kwargs)
            if add_special_tokens:
                encoded["input_ids"] = [[0, *ids] for ids in encoded["input_ids"]]
            return encoded

    model = new_model()
    once, twice = (evaluate_perplexity(model, one, TEXTS, name="set") for one in (tokenizer, Twice(tokenizer)))
    assert once.figures == twice.figures


def test_where_there_is_no_beginning_token_the_end_stands_in(new_model, tokenizer):
    ending = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|endoftext|>")
    model = new_model()
    figures = [evaluate_perplexity(model, one, TEXTS, name="set").figures for one in (tokenizer, ending)]
    assert figures[0] == figures[1]


def test_documents_without_text_are_left_out_and_told(model, tokenizer):
    said = []
    result = evaluate_perplexity(model, tokenizer, ["dull", "", " \n", "red"], name="set", say=said.append)
    assert said == ["2 of 4 documents have no text and are left out (first: number 1)"]
    assert [document["index"] for document in result.documents] == [0, 3]
    assert result.records[0]["left_out"] == 2


def test_unknown_text_is_told(new_model, tokenizer):
    backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    spelling = tokenizer("?")["input_ids"][0]
    unknown = type(tokenizer)(
        tokenizer_object=backend, eos_token="<|endoftext|>", unk_token=tokenizer.convert_ids_to_tokens(spelling)
    )
    said = []
    evaluate_perplexity(new_model(), unknown, ["red?"], name="set", say=said.append)
    (told,) = said
    assert re.search(r"% of the tokens stand for text that the tokenizer does not know \(\?\)", told)


def test_a_perplexity_beyond_all_numbers_is_left_out_and_told(new_model, tokenizer):
    said = []
    text = "".join(map(str, np.arange(60)))  # one word of many tokens
    result = evaluate_perplexity(new_model(), tokenizer, [text], name="set", say=said.append)
    assert "set.word_perplexity" not in result.figures
    assert all(math.isfinite(value) for value in result.figures.values())
    assert re.fullmatch(r"set.word_perplexity is left out: at \d+ nats a word it is beyond all numbers", said[0])


def test_progress_is_told(model, tokenizer, monkeypatch):
    monkeypatch.setattr("ptft.prompting.perplexity._TOKENS_AT_ONCE", 10)
    told = []
    parts = evaluate_perplexity(model, tokenizer, TEXTS, name="set", progress=lambda *done: told.append(done))
    assert told[-1] == (4, 4)
    assert len(told) > 1
    monkeypatch.undo()
    whole = evaluate_perplexity(model, tokenizer, TEXTS, name="set")
    assert parts.figures == pytest.approx(whole.figures)


@pytest.mark.parametrize("settings", [{"context": 129}, {"context": -1}, {"positions": 129}, {"positions": -1}])
def test_settings_out_of_range_are_refused(model, tokenizer, settings):
    ((setting, value),) = settings.items()
    with pytest.raises(RecipeError, match=f"{setting} is {value}; give 1 to 128"):
        evaluate_perplexity(model, tokenizer, TEXTS, name="set", **settings)


def test_documents_and_models_that_cannot_be_used_are_refused(model, tokenizer, bare_tokenizer):
    with pytest.raises(DataError, match="none of 2 documents has text"):
        evaluate_perplexity(model, tokenizer, ["", "\n"], name="set")
    with pytest.raises(CheckpointError, match="neither bos_token nor eos_token"):
        evaluate_perplexity(model, bare_tokenizer, TEXTS, name="set")
    config = BertConfig(
        vocab_size=400, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1
    )
    with pytest.raises(CheckpointError, match="is an encoder"):
        evaluate_perplexity(BertForMaskedLM(config), tokenizer, TEXTS, name="set")
