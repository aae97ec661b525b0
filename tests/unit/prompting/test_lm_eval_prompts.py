"""Shots and texts of protocol lm_eval-0.4.13."""

import random

import pytest

from ptft.errors import DataError
from ptft.prompting import Template
from ptft.prompting.lm_eval import first_shots, prompt_item, prompt_items, random_shots
from ptft.tasks.prompt_task import PromptItem
from ptft.tasks.task import Example

LABELS = ("bad", "good")


def test_python_draws_as_it_always_did():
    """The stream that published numbers hang on: all of Python 3's versions draw so."""
    stream = random.Random(1234)
    assert [stream.sample(range(200), 8) for _ in range(2)] == [
        [199, 112, 29, 1, 23, 149, 8, 171],
        [177, 21, 25, 196, 90, 60, 4, 7],
    ]
    stream = random.Random(1234)
    assert [stream.sample(range(10), 3) for _ in range(3)] == [[7, 1, 0], [1, 0, 9], [1, 5, 3]]


def test_each_document_draws_from_one_stream():
    assert random_shots("xyz", range(10), 3) == [[7, 1, 0], [1, 0, 9], [1, 5, 3]]
    assert random_shots("xy", range(10), 3) == [[7, 1, 0], [1, 0, 9]], "the first documents draw the same"
    assert random_shots("x", range(10), 3, seed=1) != [[7, 1, 0]]
    assert random_shots("xyz", [], 0) == [[], [], []]


def test_leaving_the_document_out_draws_one_more():
    # k + 1 of ten are 7 1 0 9, then 9 0 1 8, then 5 3 0 7; the document goes if it is there, else the last.
    assert random_shots([1, 2, 0], range(10), 3, excludes=True) == [[7, 0, 9], [9, 0, 1], [5, 3, 7]]


def test_copies_of_the_document_cost_a_second_draw():
    pool = ["x", "a", "x", "b"]
    # Of four, 3 0 2 are drawn first: "b" and the document twice. Then two of the others, in the same stream.
    stream = random.Random(1234)
    assert [pool[number] for number in stream.sample(range(4), 3)] == ["b", "x", "x"]
    assert random_shots(["x"], pool, 2, excludes=True) == [stream.sample(["a", "b"], 2)]


def test_the_first_rows():
    assert first_shots("ab", ["a", "b", "c"], 2) == [["a", "b"], ["a", "b"]]
    assert first_shots("ab", ["a", "b", "c"], 2, excludes=True) == [["b", "c"], ["a", "c"]]
    assert first_shots("ab", [], 0) == [[], []]


@pytest.mark.parametrize(
    ("sampler", "pool", "excludes", "sentence"),
    [
        (random_shots, "ab", False, r"3 shots are asked for but there are only 2 rows to draw from; ask for fewer"),
        (random_shots, "abc", True, r"3 shots .*, of which lm_eval draws 4 to leave out the document itself, but .* 3"),
        (random_shots, "xxaxx", True, r"3 shots are asked for but there are only 1 rows"),
        (first_shots, "ab", False, "3 shots are asked for but there are only 2 rows"),
        (first_shots, "abx", True, "3 shots are asked for but there are only 2 rows"),
    ],
)
def test_too_few_rows_are_refused(sampler, pool, excludes, sentence):
    with pytest.raises(DataError, match=sentence):
        sampler("x", pool, 3, excludes=excludes)


def test_a_prompt_is_description_shots_and_question():
    shots = [Example("dull", "bad"), Example("a joy", "good")]
    template = Template("Review: {text}\nSentiment:", words={"bad": "poor", "good": "fine"})
    item = prompt_item(Example("odd", "good"), LABELS, template, shots, description="Judge.\n\n")
    assert item == PromptItem(
        context="Judge.\n\nReview: dull\nSentiment: poor\n\nReview: a joy\nSentiment: fine\n\nReview: odd\nSentiment:",
        choices=(" poor", " fine"),
        gold=1,
        shots=2,
    )


def test_white_space_stays_where_it_is():
    template = Template("{text} \n", words={"bad": " poor ", "good": "fine"}, separator="\n")
    item = prompt_item(Example(" odd ", "bad"), LABELS, template, [Example("dull ", "bad")], target_delimiter="")
    assert item.context == "dull  \n poor \n odd  \n"
    assert item.choices == (" poor ", "fine")


def test_a_shot_without_a_word_ends_with_its_form():
    rows = [Example("dull", ""), Example("a joy", "good")]
    item = prompt_item(Example("odd", "good"), ("", "good"), Template("{text}:"), rows)
    assert item.context == "dull:a joy: good\n\nodd:"


def test_an_unknown_label_is_refused():
    with pytest.raises(DataError, match=r"x\.csv:3: unknown label 'goo'; did you mean 'good'\?"):
        prompt_item(Example("odd", "goo", where="x.csv:3"), LABELS, Template("{text}"), [])


def test_prompts_have_the_shots_of_their_sampler():
    rows = [Example(f"text {number}", LABELS[number % 2], where=f"a:{number}") for number in range(10)]
    pool = [Example(row.text, row.label, where="b") for row in rows]
    template = Template("{text}")

    def shown(**settings):
        items = prompt_items(rows[1:3], pool, LABELS, template, 3, **settings)
        return [[shot.partition(" ")[2][0] for shot in item.context.split("\n\n")[:-1]] for item in items]

    assert shown() == [list("710"), list("109")]
    assert shown(excludes=True) == [list("709"), list("901")], "the same row, wherever it stands"
    assert shown(sampler="first_n") == [list("012")] * 2
    assert shown(sampler="first_n", excludes=True) == [list("023"), list("013")]
    assert shown(seed=2) != shown()
