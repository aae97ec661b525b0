import pytest
import torch
from masked_models import bert_like_tokenizer, masked_model, roberta_like_tokenizer

from ptft.errors import CheckpointError, DataError, RecipeError
from ptft.prompting.cloze import ClozeTemplate, cloze_loglikelihoods
from ptft.tasks.task import Example

WORDS = ["bad", "unbelievably", "very bad", "soup", "재미있었다"]


@pytest.fixture(scope="module", params=["bert", "roberta", "modernbert"])
def pair(request):
    tokenizer = roberta_like_tokenizer() if request.param == "roberta" else bert_like_tokenizer()
    return masked_model(request.param, tokenizer), tokenizer


@pytest.fixture
def bert():
    tokenizer = bert_like_tokenizer()
    return masked_model("bert", tokenizer), tokenizer


def filled_by_hand(model, tokenizer, before, after, word):
    """As many masks as the word has tokens, filled from left to right with the word's own."""
    left = tokenizer(before.rstrip(), add_special_tokens=False)["input_ids"]
    space = before[len(before.rstrip()) :]
    middle = tokenizer(space + word, add_special_tokens=False)["input_ids"]
    right = tokenizer(after, add_special_tokens=False)["input_ids"]
    total = 0.0
    for done in range(len(middle)):
        masks = [tokenizer.mask_token_id] * (len(middle) - done)
        ids = [tokenizer.cls_token_id, *left, *middle[:done], *masks, *right, tokenizer.sep_token_id]
        with torch.no_grad():
            logits = model.eval()(torch.tensor([ids])).logits[0, 1 + len(left) + done].double()
        total += float(logits.log_softmax(-1)[middle[done]])
    return total


@pytest.mark.parametrize(
    ("before", "after"), [("The soup is red. It was ", "."), ("", " was very bad."), ("It was ", "")]
)
def test_word_is_filled_from_left_to_right(pair, before, after):
    model, tokenizer = pair
    scores = cloze_loglikelihoods(model, tokenizer, [(before, after, word) for word in WORDS])
    for word, scored in zip(WORDS, scores, strict=True):
        assert scored.log_likelihood == pytest.approx(filled_by_hand(model, tokenizer, before, after, word), abs=1e-4)


def test_words_of_one_token_are_shares_of_one_distribution(bert):
    model, tokenizer = bert
    pieces = [token for token in tokenizer.get_vocab() if token.isalpha() and not token.startswith("##")]
    words = [word for word in pieces if tokenizer.tokenize(word) == [word]]
    scores = cloze_loglikelihoods(model, tokenizer, [("It was ", ".", word) for word in words])
    total = sum(2.718281828459045**scored.log_likelihood for scored in scores)
    assert 0 < total < 1
    assert all(len(scored.continuation_ids) == 1 for scored in scores)


def test_words_of_as_many_tokens_share_the_first_pass(bert):
    model, tokenizer = bert
    words = ["bad", "was", "it", "soups", "violinist"]
    sizes = [len(tokenizer.tokenize(word)) for word in words]
    assert sizes == [1, 1, 1, 2, 2], "the premise"
    rows = []
    handle = model.bert.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    gaps = [(before, ".", word) for word in words for before in ("It was ", "It is ")]
    cloze_loglikelihoods(model, tokenizer, gaps)
    handle.remove()
    of_one_gap = 1 + (1 + 2)  # one row for the words of one token; for those of two a common one and one each
    assert sum(rows) == 2 * of_one_gap


def test_a_gap_that_cannot_be_filled_is_refused(bert):
    with pytest.raises(DataError, match="the text '' adds no token to its context"):
        cloze_loglikelihoods(*bert, [("It was ", ".", "")])


def test_a_decoder_is_refused(new_model, tokenizer):
    with pytest.raises(CheckpointError, match="is a decoder"):
        cloze_loglikelihoods(new_model(), tokenizer, [("It was ", ".", "good")])


TEMPLATE = ClozeTemplate("{text} It was {mask}.", words={"pos": "good", "neg": " bad "})


def test_question_without_shots():
    assert TEMPLATE.question(Example("A joy.", "pos")) == ("A joy. It was ", ".")
    assert [TEMPLATE.word(label) for label in ("pos", "neg")] == ["good", "bad"]


def test_solved_examples_come_before_the_question():
    template = ClozeTemplate("{mask}: {text_a} / {text_b}", words={"pos": "good", "neg": "bad"}, separator=" | ")
    shots = [Example("One.", "neg", text_b="Two."), Example("Three.", "pos", text_b="Four.")]
    assert template.question(Example("Five.", "pos", text_b="Six."), shots) == (
        "bad: One. / Two. | good: Three. / Four. | ",
        ": Five. / Six.",
    )


def test_braces_that_are_no_gap():
    template = ClozeTemplate("{{mask}} {text} {{{mask}}}")
    assert template.question(Example("{mask}", "pos")) == ("{mask} {mask} {", "}")


@pytest.mark.parametrize(("text", "count"), [("{text}", "no gap"), ("{mask} {text} {mask}", "2 gaps")])
def test_template_has_one_gap(text, count):
    with pytest.raises(RecipeError, match=rf"has {count}; write \{{mask\}} once, where the label word belongs"):
        ClozeTemplate(text)


def test_template_obeys_the_rules_of_templates(bert):
    with pytest.raises(RecipeError, match="unknown field 'txt'; did you mean 'text'"):
        ClozeTemplate("{txt} {mask}")
    with pytest.raises(RecipeError, match="the labels 'a' and 'b' have the same word"):
        ClozeTemplate("{text} {mask}", words={"a": "good", "b": "good "})
    with pytest.raises(RecipeError, match="not for other"):
        TEMPLATE.check(["pos", "neg", "other"], bert[1])
