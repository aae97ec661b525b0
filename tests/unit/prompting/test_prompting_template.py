from copy import deepcopy

import pytest
from tokenizers import normalizers

from ptft.errors import DataError, RecipeError
from ptft.prompting import Template, default_template
from ptft.tasks.task import Example

GOOD = Example("A joy.", "pos")
DULL = Example("Dull, dull.", "neg")
LABELS = ("neg", "pos")


def test_shot_is_the_filled_form_a_space_and_the_label_word():
    template = Template("Review: {text}\nSentiment:", words={"pos": "good", "neg": "bad"})
    item = template.item(GOOD, LABELS, [DULL])
    assert item.context == "Review: Dull, dull.\nSentiment: bad\n\nReview: A joy.\nSentiment:"
    assert item.choices == (" bad", " good")
    assert (item.gold, item.shots) == (1, 1)


def test_labels_stand_for_themselves_without_label_words():
    assert Template("{text}").item(GOOD, LABELS, []).choices == (" neg", " pos")


def test_separator_is_a_setting():
    assert Template("{text}", separator=" ; ").item(GOOD, LABELS, [DULL]).context == "Dull, dull. neg ; A joy."


def test_pairs_fill_two_fields_and_text_is_the_first():
    template = Template("{text_a} / {text_b} / {text}")
    assert template.query(Example("one", "pos", text_b="two")) == "one / two / one"


def test_double_braces_are_literal_and_texts_are_not_read_as_forms():
    assert Template("{{{text}}}").query(Example("{text_b} {0} {{", "pos")) == "{{text_b} {0} {{}"


@pytest.mark.parametrize("end", [" ", "\n", "\t"])
def test_white_space_at_the_end_of_the_form_moves_to_the_choices(end):
    template = Template("{text}" + end)
    assert template.query(GOOD) == "A joy."
    assert template.choice("pos") == end + "pos"


def test_white_space_at_the_end_of_a_text_does_not_end_the_query():
    assert Template("{text}").query(Example("A joy. \n", "pos")) == "A joy."


def test_white_space_around_a_label_word_is_not_part_of_it():
    assert Template("{text}", words={"pos": " good ", "neg": "bad"}).choice("pos") == " good"


@pytest.mark.parametrize("text", ["{txet}", "{text.label}", "{text!r}", "{text:>9}", "{0}", "{}", "{ text }"])
def test_only_plain_field_names_are_allowed(text):
    with pytest.raises(RecipeError, match=r"has an unknown field '.*'.*nown: text, text_a, text_b"):
        Template(text)


def test_the_nearest_field_is_proposed():
    with pytest.raises(RecipeError, match=r"unknown field 'text_c'; did you mean 'text_[ab]'"):
        Template("{text_c}")


@pytest.mark.parametrize(("text", "at"), [("{text} {", 8), ("{text} }", 8), ("{text", 1)])
def test_a_lonely_brace_is_refused(text, at):
    with pytest.raises(RecipeError, match=f"belongs to no field at character {at}"):
        Template(text)


def test_a_form_without_field_is_refused():
    with pytest.raises(RecipeError, match="has no field, so every prompt would be the same"):
        Template("Sentiment:")


def test_the_same_word_for_two_labels_is_refused():
    with pytest.raises(RecipeError, match="the labels 'pos' and 'neg' have the same word"):
        Template("{text}", words={"pos": "good", "neg": "good "})


def test_an_empty_word_is_refused():
    with pytest.raises(RecipeError, match="the label word of 'pos' is empty"):
        Template("{text}", words={"pos": " ", "neg": "bad"})


def test_every_label_needs_a_word_if_one_is_given(tokenizer):
    with pytest.raises(RecipeError, match="label words are given for pos but not for neg"):
        Template("{text}", words={"pos": "good"}).check(LABELS, tokenizer)


def test_a_word_for_no_label_is_refused(tokenizer):
    with pytest.raises(RecipeError, match=r"given for 'positive', which is no label.*pos"):
        Template("{text}", words={"positive": "good"}).check(LABELS, tokenizer)


def test_words_that_are_equal_as_tokens_are_refused(tokenizer):
    lowering = deepcopy(tokenizer)
    lowering.backend_tokenizer.normalizer = normalizers.Lowercase()
    template = Template("{text}", words={"pos": "Good", "neg": "good"})
    template.check(LABELS, tokenizer)
    with pytest.raises(RecipeError, match="have words with the same tokens"):
        template.check(LABELS, lowering)


def test_default_form_shows_one_text_or_both():
    assert default_template([GOOD]).query(GOOD) == "A joy.\nLabel:"
    assert default_template([Example("one", "pos", text_b="two")]).fields == {"text_a", "text_b"}


def test_default_form_needs_an_example():
    with pytest.raises(DataError, match="no example to make a prompt from"):
        default_template([])
