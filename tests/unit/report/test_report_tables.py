"""The terminal's table: values, intervals and meanings."""

import math

import pytest

from ptft.finetuning.policies import POLICIES
from ptft.report import final_table, format_interval
from ptft.report.tables import MEANINGS, format_value, meaning


def test_an_interval_belongs_to_the_first_figure_between_its_ends():
    rows = final_table({"test.mcc": 0.2, "test.accuracy": 0.84, "test.low": 0.81, "test.high": 0.87, "test.n": 500})
    assert rows == [
        ("test.mcc", "0.200", "Matthews correlation on the test rows: 1 is perfect, 0 is chance"),
        (
            "test.accuracy",
            "0.840 (0.810 to 0.870)",
            "share of rows answered right on the test rows; with its 95 % interval",
        ),
        ("test.n", "500", "number of rows scored on the test rows"),
    ]


def test_a_majority_between_the_ends_does_not_take_the_interval():
    rows = final_table({"test.majority": 0.82, "test.accuracy": 0.84, "test.low": 0.81, "test.high": 0.87})
    assert [value for _, value, _ in rows] == ["0.820", "0.840 (0.810 to 0.870)"]


def test_ends_that_belong_to_no_figure_are_shown_themselves():
    rows = final_table({"test.mcc": 0.2, "test.low": 0.81, "test.high": 0.87})
    assert [name for name, _, _ in rows] == ["test.mcc", "test.low", "test.high"]
    assert rows[1][2] == "lower end of the 95 % interval on the test rows"


def test_the_ends_may_stand_below_the_figure_itself():
    rows = final_table({"words_topic_H.k8": 0.93, "words_topic_H.k8.low": 0.9, "words_topic_H.k8.high": 0.96})
    assert rows == [
        (
            "words_topic_H.k8",
            "0.930 (0.900 to 0.960)",
            "share answered right on words_topic_H, with this many examples in the prompt; with its 95 % interval",
        )
    ]


def test_a_standard_deviation_is_left_out_beside_an_interval():
    rows = final_table(
        {"t.8.lora": 0.5, "t.8.lora.low": 0.4, "t.8.lora.high": 0.6, "t.8.lora.sd": 0.1, "other.sd": 0.2}
    )
    assert [name for name, _, _ in rows] == ["t.8.lora", "other.sd"]


def test_only_numbers_are_figures():
    rows = final_table({"records": [], "verb": "finetune", "done": True, "steps": 900.0})
    assert rows == [("steps", "900", "optimizer updates made")]


def test_an_unknown_figure_has_no_meaning_but_keeps_its_interval():
    rows = final_table({"zeal": 0.5, "zeal.low": 0.4, "zeal.high": 0.6})
    assert rows == [("zeal", "0.500 (0.400 to 0.600)", "with its 95 % interval")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1048576, "1,048,576"),
        (1048576.0, "1,048,576"),
        (1.0, "1.000"),
        (0.0, "0.000"),
        (0.84, "0.840"),
        (-0.25, "-0.250"),
        (2e-5, "2e-05"),
        (45.678, "45.68"),
        (26000.5, "26,000"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_values_are_written_for_reading(value, text):
    assert format_value(value) == text


def test_ratios_stay_ratios_in_an_interval():
    assert format_interval(0.842, 0.81, 0.871) == "0.842 (0.810 to 0.871)"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mlm.accuracy", "masked tokens guessed right"),
        ("encoder.mlm.baseline", "most frequent token"),
        ("nsp.accuracy", "told apart"),
        ("clm.perplexity", "next token of held-out text; lower is better"),
        ("topic.H.accuracy", "test set H, whose words occur in no labelled training row of topic"),
        ("valid.masked_lm.loss", "masked_lm of the validation data"),
        ("tokens_per_second", "per second"),
        ("tokens", "tokens seen"),
        ("lr", "learning rate"),
        ("test.8.difference", "the first method's main figure minus the second's"),
        ("valid.nll_calibrated", "which was fitted on these rows, or is 1"),
    ],
)
def test_a_figure_is_explained(name, words):
    assert words in meaning(name)


@pytest.mark.parametrize("method", POLICIES)
def test_a_method_is_not_taken_for_a_figure(method):
    assert meaning(f"test.8.{method}") == ""


def test_every_meaning_is_one_line_and_leaves_nothing_to_fill_in():
    for pattern in MEANINGS:
        text = meaning(pattern.replace("[0-9]*", "8").replace("*", "test"))
        assert text and "\n" not in text and "{" not in text
