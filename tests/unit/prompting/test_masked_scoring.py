import copy

import pytest
import torch
from masked_models import bert_like_tokenizer, masked_model, roberta_like_tokenizer
from transformers import AutoModel, BertForMaskedLM, BertLMHeadModel, T5Config, T5ForConditionalGeneration

from ptft.errors import CheckpointError, DataError, RecipeError
from ptft.models import one_position as one_position_module
from ptft.models.prediction import has_sparse_head
from ptft.prompting.masked import pseudo_loglikelihoods

KINDS = ["bert", "roberta", "modernbert", "distilbert", "albert"]
METHODS = ["original", "within_word_l2r"]
PAIRS = [
    ("", "The unhappiest violinists played beautifully."),
    ("It was", " good."),
    ("It was ", "unbelievably bad, very bad"),
    ("", "영화가 재미있었다."),
    ("영화가 ", "아름다웠고 훌륭했다."),
    ("", "bad"),
    ("un", "happiest"),
]


@pytest.fixture(scope="module")
def tokenizers():
    return {"bert": bert_like_tokenizer(), "roberta": roberta_like_tokenizer()}


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tokenizers):
    tokenizer = tokenizers["roberta" if request.param == "roberta" else "bert"]
    return masked_model(request.param, tokenizer), tokenizer


@pytest.fixture
def bert(tokenizers):
    return masked_model("bert", tokenizers["bert"]), tokenizers["bert"]


def by_hand(model, tokenizer, context, continuation, method):
    """One forward pass of the full model for each token, all logits, no padding and no batch."""
    encoded = tokenizer(context + continuation, return_offsets_mapping=True)
    ids, words = encoded["input_ids"], encoded.word_ids()
    border = len(context.rstrip())
    places = [i for i, word in enumerate(words) if word is not None and encoded["offset_mapping"][i][1] > border]
    total, greedy = 0.0, True
    for place in places:
        hidden = [place] if method == "original" else [i for i in places if i >= place and words[i] == words[place]]
        masked = [tokenizer.mask_token_id if i in hidden else token for i, token in enumerate(ids)]
        with torch.no_grad():
            logits = model.eval()(torch.tensor([masked])).logits[0, place].double()
        total += float(torch.log(torch.softmax(logits, -1)[ids[place]]))
        greedy = greedy and int(logits.argmax()) == ids[place]
    return total, greedy, tuple(ids[place] for place in places)


@pytest.mark.parametrize("method", METHODS)
def test_score_is_the_sum_over_tokens_hidden_one_at_a_time(pair, method):
    model, tokenizer = pair
    scores = pseudo_loglikelihoods(model, tokenizer, PAIRS, method=method)
    for (context, continuation), scored in zip(PAIRS, scores, strict=True):
        total, greedy, targets = by_hand(model, tokenizer, context, continuation, method)
        assert scored.log_likelihood == pytest.approx(total, abs=1e-4)
        assert scored.is_greedy is greedy
        assert scored.continuation_ids == targets


def test_the_methods_differ_where_a_word_has_several_tokens_and_only_there(bert):
    model, tokenizer = bert
    assert len(tokenizer.tokenize("unhappiest")) > 1 == len(tokenizer.tokenize("bad")), "the premise"

    def both(text):
        return [pseudo_loglikelihoods(model, tokenizer, [("", text)], method=m)[0].log_likelihood for m in METHODS]

    one, other = both("The unhappiest soup")
    assert abs(one - other) > 1e-3
    one, other = both("bad")
    assert one == pytest.approx(other, abs=1e-6)


def test_all_ids_are_told_apart_into_scored_ones_and_others(bert):
    model, tokenizer = bert
    scored = pseudo_loglikelihoods(model, tokenizer, [("It was", " good.")])[0]
    assert scored.context_ids == tuple(tokenizer("It was")["input_ids"])
    assert scored.continuation_ids == tuple(tokenizer("good.", add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_white_space_at_the_end_of_the_context_belongs_to_the_continuation(kind, tokenizers):
    tokenizer = tokenizers[kind]
    model = masked_model(kind, tokenizer)
    moved, expected = pseudo_loglikelihoods(model, tokenizer, [("It was ", "good"), ("It was", " good")])
    assert moved == expected


def test_token_across_the_border_is_scored_whole(tokenizers):
    tokenizer = tokenizers["roberta"]
    model = masked_model("roberta", tokenizer)
    assert len(tokenizer.tokenize(" good")) == 1, "the premise"
    scored = pseudo_loglikelihoods(model, tokenizer, [("It was go", "od")])[0]
    assert tokenizer.convert_ids_to_tokens(scored.continuation_ids) == ["Ġgood"]


def test_part_of_a_word_in_the_context_stays_visible(bert):
    model, tokenizer = bert
    pieces = tokenizer.tokenize("unhappiest")
    context = pieces[0]
    scored = pseudo_loglikelihoods(model, tokenizer, [(context, "unhappiest"[len(context) :])])[0]
    assert tokenizer.convert_ids_to_tokens(scored.continuation_ids) == pieces[1:]


def test_special_tokens_are_never_scored_but_the_unknown_one_is(bert):
    model, tokenizer = bert
    scored = pseudo_loglikelihoods(model, tokenizer, [("", "was [SEP] Ω [MASK] bad")])[0]
    assert tokenizer.convert_ids_to_tokens(scored.continuation_ids) == ["was", "[UNK]", "bad"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tokens_per_batch", [1, 40, 100_000])
def test_scores_do_not_depend_on_the_batching(pair, method, tokens_per_batch):
    model, tokenizer = pair
    alone = [pseudo_loglikelihoods(model, tokenizer, [one], method=method)[0] for one in PAIRS]
    together = pseudo_loglikelihoods(model, tokenizer, PAIRS, method=method, tokens_per_batch=tokens_per_batch)
    assert [s.continuation_ids for s in together] == [s.continuation_ids for s in alone]
    assert [s.log_likelihood for s in together] == pytest.approx([s.log_likelihood for s in alone], abs=1e-5)


def test_little_padding_changes_nothing(pair):
    model, tokenizer = pair
    pairs = [("", "bad " * count) for count in (16, 15)]
    alone = [pseudo_loglikelihoods(model, tokenizer, [one])[0].log_likelihood for one in pairs]
    shapes = rows_of(model, lambda: pseudo_loglikelihoods(model, tokenizer, pairs))
    assert len(shapes) == 1, "the premise: both are in one batch"
    together = pseudo_loglikelihoods(model, tokenizer, pairs)
    assert [scored.log_likelihood for scored in together] == pytest.approx(alone, abs=1e-4)


def rows_of(model, call):
    """The shapes of the inputs of each forward pass of the body (a hook has it run as it stands)."""
    shapes = []
    handle = model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    call()
    handle.remove()
    return shapes


def test_equal_pairs_are_computed_once_and_a_pass_stays_within_its_tokens(bert):
    model, tokenizer = bert
    text = "The soup is red. It was good."
    length = len(tokenizer(text)["input_ids"])
    shapes = rows_of(model, lambda: pseudo_loglikelihoods(model, tokenizer, [("", text)] * 3, method="original"))
    assert shapes == [(length - 2, length)]
    shapes = rows_of(
        model,
        lambda: pseudo_loglikelihoods(model, tokenizer, [("", text)], method="original", tokens_per_batch=3 * length),
    )
    assert sum(rows for rows, _ in shapes) == length - 2
    assert max(rows for rows, _ in shapes) == 3


def test_short_texts_are_not_padded_to_long_ones(bert):
    model, tokenizer = bert
    shapes = rows_of(model, lambda: pseudo_loglikelihoods(model, tokenizer, PAIRS, method="original"))
    lengths = {len(tokenizer(context + continuation)["input_ids"]) for context, continuation in PAIRS}
    assert {width for _, width in shapes} == lengths


def test_head_sees_the_hidden_tokens_alone(bert):
    model, tokenizer = bert
    seen = []
    handle = model.cls.predictions.decoder.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
    scored = pseudo_loglikelihoods(model, tokenizer, PAIRS[:1], method="original")[0]
    handle.remove()
    assert seen == [(len(scored.continuation_ids), 32)]


def test_last_layer_is_known_only_of_architectures_with_a_sparse_head(bert):
    model, _ = bert
    model.config = copy.copy(model.config)
    for kind in one_position_module._LAYERS:
        model.config.model_type = kind
        assert has_sparse_head(model)


def test_each_module_is_as_before_afterwards(bert):
    model, tokenizer = bert
    model.train()
    model.bert.encoder.layer[0].eval()
    pseudo_loglikelihoods(model, tokenizer, PAIRS[:1])
    assert model.training and model.bert.encoder.layer[1].training
    assert not model.bert.encoder.layer[0].training
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_log_softmax_is_taken_in_32_bits(bert):
    model, tokenizer = bert
    model = model.to(torch.bfloat16).eval()
    scored = pseudo_loglikelihoods(model, tokenizer, [("It was", " bad")])[0]
    ids = [*scored.context_ids[:-1], tokenizer.mask_token_id, scored.context_ids[-1]]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -2].float()
    assert scored.log_likelihood == pytest.approx(float(logits.log_softmax(-1)[scored.continuation_ids[0]]), abs=1e-3)


def test_no_pairs_no_scores(bert):
    assert pseudo_loglikelihoods(*bert, []) == []


@pytest.mark.parametrize("pair_", [("It was", ""), ("", ""), ("", "  ")])
def test_continuation_without_tokens_is_refused(bert, pair_):
    with pytest.raises(DataError, match=r"the text '\s*' adds no token to its context"):
        pseudo_loglikelihoods(*bert, [pair_])


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_text_may_use_every_position_but_not_one_more(kind, tokenizers):
    tokenizer = tokenizers[kind]
    num_ids = len(tokenizer("It was good.")["input_ids"])
    pseudo_loglikelihoods(masked_model(kind, tokenizer, positions=num_ids), tokenizer, [("It was", " good.")])
    sentence = f"a text has {num_ids} tokens, special ones included, but the model has {num_ids - 1} positions"
    with pytest.raises(DataError, match=sentence):
        pseudo_loglikelihoods(masked_model(kind, tokenizer, positions=num_ids - 1), tokenizer, [("It was", " good.")])


def test_unknown_method_is_named_with_the_known_ones(bert):
    with pytest.raises(RecipeError, match="unknown method 'orginal'; did you mean 'original'"):
        pseudo_loglikelihoods(*bert, PAIRS, method="orginal")


def test_a_batch_holds_at_least_one_token(bert):
    with pytest.raises(RecipeError, match="tokens_per_batch is 0; it must be at least 1"):
        pseudo_loglikelihoods(*bert, PAIRS, tokens_per_batch=0)


def test_a_decoder_is_refused(new_model, tokenizer):
    with pytest.raises(
        CheckpointError, match=r"GPT2LMHeadModel is a decoder: .* a decoder is scored by loglikelihoods"
    ):
        pseudo_loglikelihoods(new_model(), tokenizer, PAIRS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "is_decoder"), [(BertForMaskedLM, True), (BertLMHeadModel, False)])
def test_an_encoder_turned_decoder_is_refused(bert, kind, is_decoder):
    model, tokenizer = bert
    config = copy.deepcopy(model.config)
    config.is_decoder = is_decoder
    with pytest.raises(CheckpointError, match="is a decoder: it sees a token's left side only"):
        pseudo_loglikelihoods(kind(config), tokenizer, PAIRS)


def test_an_encoder_decoder_is_refused(bert):
    config = T5Config(vocab_size=400, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    with pytest.raises(CheckpointError, match="is an encoder-decoder; this scoring needs an encoder"):
        pseudo_loglikelihoods(T5ForConditionalGeneration(config), bert[1], PAIRS)


def test_a_model_without_head_is_refused(bert):
    model, tokenizer = bert
    with pytest.raises(CheckpointError, match="BertModel has no logits over the vocabulary"):
        pseudo_loglikelihoods(AutoModel.from_config(model.config), tokenizer, PAIRS)


def test_a_tokenizer_without_mask_token_is_refused(bert, tokenizer):
    model, _ = bert
    model.resize_token_embeddings(len(tokenizer))
    with pytest.raises(CheckpointError, match="the tokenizer has no mask token, so no token can be hidden"):
        pseudo_loglikelihoods(model, tokenizer, PAIRS)


def test_a_tokenizer_that_does_not_know_its_places_is_refused(bert, monkeypatch):
    model, tokenizer = bert
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    with pytest.raises(CheckpointError, match="does not tell where its tokens stand in the text; open it as a fast"):
        pseudo_loglikelihoods(model, tokenizer, PAIRS)


def test_a_tokenizer_larger_than_the_embeddings_is_refused(bert, tokenizers):
    with pytest.raises(CheckpointError, match=r"the tokenizer has .* tokens but the model has embeddings for"):
        pseudo_loglikelihoods(bert[0], tokenizers["roberta"], PAIRS)


def test_weights_that_are_not_numbers_are_refused(bert):
    model, tokenizer = bert
    with torch.no_grad():
        model.bert.embeddings.LayerNorm.weight[0] = float("nan")
    with pytest.raises(CheckpointError, match="log-likelihoods that are not numbers"):
        pseudo_loglikelihoods(model, tokenizer, PAIRS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", METHODS)
def test_scores_are_those_of_minicons(bert, method):
    scorer = pytest.importorskip("minicons.scorer", reason="minicons is a library of the benchmarks")
    model, tokenizer = bert
    theirs = scorer.MaskedLMScorer(model, tokenizer=tokenizer, PLL_metric=method)
    texts = [context + continuation for context, continuation in PAIRS]
    encoded = tokenizer(texts, padding=True)  # what it asks of a list of texts, which transformers 5 no longer has
    expected = theirs.sequence_score(encoded, reduction=lambda x: x.sum(0).item(), PLL_metric=method)
    scored = pseudo_loglikelihoods(model, tokenizer, [("", text) for text in texts], method=method)
    assert [s.log_likelihood for s in scored] == pytest.approx(expected, abs=1e-4)
