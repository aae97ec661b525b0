"""Ids, cuts and lengths of protocol lm_eval-0.4.13, worked out by hand from a vocabulary of eight tokens."""

from types import SimpleNamespace

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from ptft.errors import DataError
from ptft.prompting.lm_eval import encode_pairs, encode_texts, max_length, prefix_id, truncated
from ptft.prompting.request import Request

START, A, B, SPACE, AB, SPACE_A, LINE, END = range(8)
TOKENS = ("<s>", "a", "b", "Ġ", "ab", "Ġa", "Ċ", "</s>")


def small_tokenizer(*, template=False, **marks):
    vocabulary = {token: number for number, token in enumerate(TOKENS)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("a", "b"), ("Ġ", "a")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    if template:
        tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", START)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks)


@pytest.fixture(scope="module")
def plain():
    return small_tokenizer(bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def adding():
    """A tokenizer that puts the beginning-of-text token before each text."""
    return small_tokenizer(template=True, bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize(
    ("context", "continuation", "context_ids", "continuation_ids"),
    [
        ("b", "a", [B], [A]),
        ("b ", "a", [B], [SPACE_A]),  # the space moves
        ("b", " a", [B], [SPACE_A]),
        ("b\n \n", "a", [B], [LINE, SPACE, LINE, A]),  # all of it
        ("a", "ba", [A], [A]),  # the token across the border is not counted: the model sees "aa"
        ("ab", "b", [AB], [B]),
        ("", "ab", [START], [AB]),
        ("", " a", [START], [SPACE_A]),
        ("", "<s>ab", [START], [AB]),  # not scored: it is the context
        ("<s>b", "a", [START, B], [A]),
    ],
)
def test_ids_without_special_tokens(plain, context, continuation, context_ids, continuation_ids):
    assert encode_pairs(plain, [(context, continuation)]) == [Request(tuple(context_ids), tuple(continuation_ids))]


@pytest.mark.parametrize(
    ("context", "continuation", "context_ids", "continuation_ids"),
    [
        ("b", "a", [START, B], [A]),
        ("", "ab", [START], [AB]),
        (" ", "a", [START], [SPACE_A]),  # a context after all
        ("<s>b", "a", [START, B], [A]),  # not twice
    ],
)
def test_ids_of_a_tokenizer_that_adds_a_token(adding, context, continuation, context_ids, continuation_ids):
    assert encode_pairs(adding, [(context, continuation)]) == [Request(tuple(context_ids), tuple(continuation_ids))]


def test_special_tokens_can_be_left_out(adding, plain):
    assert encode_pairs(adding, [("b", "a")], add_bos=False) == [Request((B,), (A,))]
    assert encode_pairs(plain, [("b", "a")], add_bos=True) == [Request((B,), (A,))], "it has no form to add one"
    assert encode_texts(adding, ["b", "b", "<s>b"], add_bos=True) == {"b": (START, B), "<s>b": (START, B)}


@pytest.mark.parametrize(
    ("context", "continuation", "sentence"),
    [
        ("a", "b", r"the continuation 'b' adds no token to its context \(which ends in 'a'\), where lm_eval 0\.4\.13 "),
        ("b", "", "the continuation '' adds no token"),
        ("", "", "the continuation '' adds no token"),
        ("", "<s>", "the continuation '<s>' adds no token"),
        (" ", "a", r"the context ' ' of the continuation 'a' has no token of its own, where lm_eval 0\.4\.13 fails"),
        (" \n", "a", "has no token of its own"),
    ],
)
def test_what_leaves_nothing_is_refused(plain, context, continuation, sentence):
    with pytest.raises(DataError, match=sentence):
        encode_pairs(plain, [("b", "a"), (context, continuation)])


def test_the_first_token_is_the_beginning_or_the_end_of_text():
    ends = small_tokenizer(eos_token="</s>")
    assert prefix_id(ends) == END
    assert encode_pairs(ends, [("", "a")]) == [Request((END,), (A,))]
    nothing = small_tokenizer()
    assert prefix_id(nothing) is None
    assert encode_pairs(nothing, [("b", "a")]) == [Request((B,), (A,))]
    with pytest.raises(DataError, match="the context '' of the continuation 'a' has no token of its own"):
        encode_pairs(nothing, [("", "a")])


@pytest.mark.parametrize(
    ("positions", "context"), [(11, range(10)), (10, range(1, 10)), (5, range(6, 10)), (2, range(9, 10))]
)
def test_a_long_request_loses_its_beginning(positions, context):
    cut = truncated(Request(tuple(range(10)), (10, 11)), positions)
    assert cut == Request(tuple(context), (10, 11))
    assert cut.num_inputs == min(positions, 11)


def test_a_continuation_longer_than_the_model_is_refused():
    with pytest.raises(DataError, match=r"a continuation has 3 tokens but the model has 2 positions, where lm_eval"):
        truncated(Request((0,), (1, 2, 3)), 2)


@pytest.mark.parametrize(
    ("config", "longest", "expected"),
    [
        ({"n_positions": 7, "max_position_embeddings": 8}, 9, 7),
        ({"max_position_embeddings": 8, "n_ctx": 6}, 9, 8),
        ({"n_ctx": 6}, 9, 6),
        ({"n_ctx": 6, "text_config": SimpleNamespace(n_positions=5)}, 9, 5),
        ({}, 9, 9),
        ({}, int(1e30), 2048),
        ({}, None, 2048),
    ],
)
def test_the_longest_input(config, longest, expected):
    model = SimpleNamespace(config=SimpleNamespace(**config))
    assert max_length(model, SimpleNamespace(model_max_length=longest)) == expected
