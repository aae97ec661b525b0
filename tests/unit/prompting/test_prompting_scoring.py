import copy

import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    GPT2ForSequenceClassification,
    GPT2ForTokenClassification,
    T5Config,
    T5ForConditionalGeneration,
)

from ptft.errors import CheckpointError, DataError, RecipeError
from ptft.prompting import loglikelihoods
from ptft.prompting.decoder import check_decoder
from ptft.prompting.encoding import encode_pairs
from ptft.prompting.request import Request
from ptft.prompting.scoring import score_requests

PAIRS = [
    ("Review: a joy.\nSentiment:", " good"),
    ("Review: a joy.\nSentiment:", " bad and dull, dull, dull"),
    ("is the soup", " red"),
    ("", "Answer"),
    ("Review: a joy.\nSentiment: ", "good"),
]


def by_hand(model, context_ids, continuation_ids):
    """One forward pass of the full text for each scored token, no padding and no batch."""
    total, greedy = 0.0, True
    ids = list(context_ids)
    model.eval()
    for target in continuation_ids:
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1].double()
        total += float(torch.log(torch.softmax(logits, -1)[target]))
        greedy = greedy and int(logits.argmax()) == target
        ids.append(target)
    return total, greedy


def test_log_likelihood_is_the_sum_of_the_log_probabilities_of_the_continuation(model, tokenizer):
    for scored in loglikelihoods(model, tokenizer, PAIRS):
        total, greedy = by_hand(model, scored.context_ids, scored.continuation_ids)
        assert scored.log_likelihood == pytest.approx(total, abs=1e-4)
        assert scored.is_greedy is greedy


def test_is_greedy_only_if_every_token_is_the_most_probable_one(model):
    def best(*ids):
        with torch.no_grad():
            return int(model.eval()(torch.tensor([ids])).logits[0, -1].argmax())

    context = (0, 70, 80)
    first = best(*context)
    second = best(*context, first)
    other = (first + 1) % 400
    continuations = [(first, second), (first, (second + 1) % 400), (other, best(*context, other))]
    scored = score_requests(model, [Request(context, continuation) for continuation in continuations])
    assert [score.is_greedy for score in scored] == [True, False, False]


@pytest.mark.parametrize("tokens_per_batch", [1, 30, 100_000])
def test_scores_do_not_depend_on_the_batching(model, tokenizer, tokens_per_batch):
    expected = [loglikelihoods(model, tokenizer, [pair])[0] for pair in PAIRS]
    scored = loglikelihoods(model, tokenizer, PAIRS, tokens_per_batch=tokens_per_batch)
    assert [s.continuation_ids for s in scored] == [s.continuation_ids for s in expected]
    assert [s.log_likelihood for s in scored] == pytest.approx([s.log_likelihood for s in expected], abs=1e-4)


def test_equal_pairs_are_scored_once(new_model, tokenizer):
    model = new_model()
    requests = encode_pairs(tokenizer, [PAIRS[0]] * 5)
    score_requests(model, requests)  # tries out what the model can do
    rows = []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    scored = score_requests(model, requests)
    assert len(scored) == 5 and len(set(scored)) == 1
    assert rows == [1]


def test_no_pairs_no_scores(model, tokenizer):
    assert loglikelihoods(model, tokenizer, []) == []


@pytest.mark.filterwarnings("ignore:shared beginnings of prompts")
def test_a_model_without_logits_to_keep_gives_the_same_scores(new_model, tokenizer):
    class Plain(type(new_model())):
        def forward(self, input_ids, attention_mask=None, use_cache=None):
            return super().forward(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache)

    model = new_model()
    plain = Plain(model.config)
    plain.load_state_dict(model.state_dict())
    expected = [s.log_likelihood for s in loglikelihoods(model, tokenizer, PAIRS)]
    assert [s.log_likelihood for s in loglikelihoods(plain, tokenizer, PAIRS)] == pytest.approx(expected, abs=1e-5)


def test_log_softmax_is_taken_in_32_bits(new_model, tokenizer):
    model = new_model().to(torch.bfloat16).eval()
    pair = ("is the soup", " red or is the violin blue?")
    scored = loglikelihoods(model, tokenizer, [pair])[0]
    ids = torch.tensor([[*scored.context_ids, *scored.continuation_ids]])
    with torch.no_grad():
        logits = model(ids[:, :-1]).logits[0, -len(scored.continuation_ids) :].float()
    rows = torch.arange(len(scored.continuation_ids))
    expected = logits.log_softmax(-1)[rows, torch.tensor(scored.continuation_ids)].sum()
    assert scored.log_likelihood == pytest.approx(float(expected), abs=1e-3)


def test_each_module_is_in_its_former_mode_afterwards(new_model, tokenizer):
    model = new_model()
    model.train()
    model.transformer.h[0].eval()
    loglikelihoods(model, tokenizer, PAIRS[:1])
    assert model.training and model.transformer.h[1].training
    assert not model.transformer.h[0].training


def test_dropout_is_off_and_nothing_can_be_differentiated(new_model, tokenizer):
    model = new_model()
    model.train()
    assert loglikelihoods(model, tokenizer, PAIRS) == loglikelihoods(model, tokenizer, PAIRS)


def test_beginning_token_comes_first_and_is_not_scored(tokenizer):
    request = encode_pairs(tokenizer, [("is the soup", " red")])[0]
    assert request.context_ids == (0, *tokenizer("is the soup")["input_ids"])
    assert request.continuation_ids == tuple(tokenizer(" red")["input_ids"])


def test_empty_context_is_the_beginning_token_alone(tokenizer):
    other_end = copy.deepcopy(tokenizer)
    other_end.eos_token = "?"
    assert encode_pairs(other_end, [("", "Answer")])[0].context_ids == (0,)


@pytest.mark.parametrize("space", [" ", "\n", "\n\n ", "\u00a0"])
def test_white_space_at_the_end_of_the_context_belongs_to_the_continuation(tokenizer, space):
    moved, expected = encode_pairs(tokenizer, [("is the soup" + space, "red"), ("is the soup", space + "red")])
    assert moved == expected


def test_context_of_white_space_alone_is_scored_with_the_continuation(tokenizer):
    request = encode_pairs(tokenizer, [("  ", "red")])[0]
    assert request.context_ids == (0,)
    assert tokenizer.decode(request.continuation_ids) == "  red"


def test_token_across_the_border_is_scored_whole(tokenizer):
    assert len(tokenizer("Answer")["input_ids"]) == 1, "the premise: one token"
    request = encode_pairs(tokenizer, [("Ans", "wer")])[0]
    assert request.context_ids == (0,)
    assert request.continuation_ids == tuple(tokenizer("Answer")["input_ids"])


def test_token_across_the_border_moves_the_cut_no_further_than_needed(tokenizer):
    request = encode_pairs(tokenizer, [("is the so", "up red")])[0]
    whole = tokenizer("is the soup red")["input_ids"]
    assert [*request.context_ids, *request.continuation_ids] == [0, *whole]
    assert tokenizer.decode(request.context_ids[1:]) == "is the"


def test_ids_the_model_sees_are_those_of_the_running_text(tokenizer):
    pairs = [("Review: a jo", "y."), ("Answer the que", "stion"), ("is", " the")]
    for (context, continuation), request in zip(pairs, encode_pairs(tokenizer, pairs), strict=True):
        assert [*request.context_ids, *request.continuation_ids] == [0, *tokenizer(context + continuation)["input_ids"]]


@pytest.mark.parametrize("context", ["is the soup", ""])
def test_continuation_without_tokens_is_refused(tokenizer, context):
    with pytest.raises(DataError, match="the continuation '' adds no token to its context"):
        encode_pairs(tokenizer, [(context, "")])


def test_without_beginning_token_only_an_empty_context_needs_one(bare_tokenizer):
    assert encode_pairs(bare_tokenizer, [("is", " the")])[0].context_ids == tuple(bare_tokenizer("is")["input_ids"])
    with pytest.raises(DataError, match="nothing precedes the continuation 'is'"):
        encode_pairs(bare_tokenizer, [("", "is")])


def test_without_beginning_token_the_end_token_stands_for_an_empty_context(bare_tokenizer):
    tokenizer = copy.deepcopy(bare_tokenizer)
    tokenizer.eos_token = "<|endoftext|>"
    assert encode_pairs(tokenizer, [("", "is")])[0].context_ids == (0,)
    assert encode_pairs(tokenizer, [("is", " the")])[0].context_ids[0] != 0


def test_request_may_use_every_position_but_not_one_more(new_model, tokenizer):
    num_ids = len(tokenizer("is the soup red")["input_ids"]) + 1
    loglikelihoods(new_model(positions=num_ids - 1), tokenizer, [("is the soup", " red")])
    with pytest.raises(DataError, match=f"context and 1 continuation tokens but the model has {num_ids - 2} positions"):
        loglikelihoods(new_model(positions=num_ids - 2), tokenizer, [("is the soup", " red")])


def test_unknown_protocol_is_named_with_the_known_ones(model, tokenizer):
    with pytest.raises(RecipeError, match="unknown protocol 'pft'; did you mean 'ptft'"):
        loglikelihoods(model, tokenizer, PAIRS, protocol="pft")


def test_a_batch_holds_at_least_one_token(model, tokenizer):
    with pytest.raises(RecipeError, match="tokens_per_batch is 0"):
        loglikelihoods(model, tokenizer, PAIRS, tokens_per_batch=0)


BERT = BertConfig(vocab_size=400, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2)


@pytest.mark.parametrize("kind", [BertForMaskedLM, BertLMHeadModel])
def test_an_encoder_is_refused_by_what_it_does(tokenizer, kind):
    with pytest.raises(
        CheckpointError, match="is an encoder: it reads what follows a token; prompting needs a decoder"
    ):
        check_decoder(kind(BERT), tokenizer)


def test_an_encoder_turned_decoder_is_accepted(tokenizer):
    config = BertConfig(**{**BERT.to_dict(), "is_decoder": True})
    check_decoder(BertLMHeadModel(config), tokenizer)


def test_a_model_without_language_modelling_head_is_refused(new_model, tokenizer):
    backbone = AutoModel.from_config(new_model().config)
    with pytest.raises(CheckpointError, match="GPT2Model has no logits over the vocabulary"):
        check_decoder(backbone, tokenizer)


@pytest.mark.parametrize("kind", [GPT2ForSequenceClassification, GPT2ForTokenClassification])
def test_a_classifier_is_refused(new_model, tokenizer, kind):
    config = new_model().config
    config.pad_token_id = 5
    with pytest.raises(CheckpointError, match="no logits over the vocabulary"):
        check_decoder(kind(config), tokenizer)


def test_an_encoder_decoder_is_refused(tokenizer):
    config = T5Config(vocab_size=400, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    with pytest.raises(CheckpointError, match="is an encoder-decoder"):
        check_decoder(T5ForConditionalGeneration(config), tokenizer)


def test_a_tokenizer_larger_than_the_embeddings_is_refused(new_model, tokenizer):
    with pytest.raises(CheckpointError, match=r"the tokenizer has .* tokens but the model has embeddings for 100"):
        check_decoder(new_model(vocab_size=100), tokenizer)


def test_weights_that_are_not_numbers_are_refused(new_model, tokenizer):
    model = new_model()
    with torch.no_grad():
        model.transformer.ln_f.weight[0] = float("nan")
    with pytest.raises(CheckpointError, match="log-likelihoods that are not numbers"):
        loglikelihoods(model, tokenizer, PAIRS)
