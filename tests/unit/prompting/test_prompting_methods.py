import math

import numpy as np
import pytest

from ptft.errors import DataError, RecipeError
from ptft.prompting import Template, evaluate_prompts, loglikelihoods
from ptft.prompting.method import Answers
from ptft.prompting.methods import METHODS
from ptft.prompting.records import ChoiceRecord, read_records
from ptft.prompting.results import summarise
from ptft.tasks.prompt_task import PromptItem, PromptTask
from ptft.tasks.task import Example, TaskData

LABELS = ("bad", "good")
WORDS = ["joy", "soup", "violin", "page", "blue", "red", "dull", "question"]
ROWS = tuple(Example(f"the {word} {i}", LABELS[(i + len(word)) % 2]) for i, word in enumerate(WORDS))
TASK = TaskData("reviews", LABELS, ROWS, (), {"test": ROWS[:5]})
TEMPLATE = Template("Review: {text}\nSentiment:", words={"bad": "dull, dull", "good": "joy"})
LL = np.array([[-4.0, -9.0], [-6.0, -3.0]])


def scores(name, references=None, **lengths):
    full = {unit: np.array(lengths.get(unit, [[1, 1], [1, 1]])) for unit in ("characters", "bytes", "tokens")}
    return METHODS[name]().scores(Answers(LL, full, references or {}))


@pytest.mark.parametrize("unit", ["character", "byte", "token"])
def test_scores_by_length(unit):
    found = scores(f"per_{unit}", **{"characters": [[9, 9]] * 2, "bytes": [[9, 9]] * 2, "tokens": [[9, 9]] * 2})
    np.testing.assert_allclose(found, LL / 9)
    name = {"character": "characters", "byte": "bytes", "token": "tokens"}[unit]
    np.testing.assert_allclose(scores(f"per_{unit}", **{name: [[2, 3], [4, 1]]}), LL / [[2, 3], [4, 1]])


@pytest.mark.parametrize("name", ["pmi", "domain_pmi"])
def test_what_the_question_adds(name):
    alone = np.array([[[-1.0], [-8.0]], [[-1.0], [-8.0]]])
    np.testing.assert_allclose(scores(name, {name: alone}), [[-3, -1], [-5, 5]])


def test_contextual_calibration_divides_by_the_mean_probability_without_content():
    free = np.log(np.array([[[0.2, 0.4], [0.1, 0.1]]] * 2))
    expected = np.exp(LL) / np.array([0.3, 0.1])
    np.testing.assert_allclose(np.exp(scores("contextual_calibration", {"contextual_calibration": free})), expected)


def test_batch_calibration_divides_by_the_mean_probability_over_questions():
    probability = np.exp(LL) / np.exp(LL).sum(1, keepdims=True)
    np.testing.assert_allclose(np.exp(scores("batch_calibration")), probability / probability.mean(0))


@pytest.fixture(scope="module")
def result(model, tokenizer):
    return evaluate_prompts(
        model, tokenizer, TASK, k=[0, 2], seeds=[3, 4], template=TEMPLATE, methods=list(METHODS), orders=2
    )


def first_prompt(result):
    """The choices of the first question after two shots, and the shots in the order shown."""
    records = [r for r in result.choices if (r.k, r.seed, r.order, r.index) == (2, 3, 0, 0)]
    shots = [next(row for row in ROWS if _hash(row) == shot) for shot in records[0].shots]
    return records, shots


def _hash(row):
    from ptft.prompting.records import short_hash

    return short_hash(row.text, row.text_b, row.label)


def test_methods_are_asked_what_they_want(result, model, tokenizer):
    records, shots = first_prompt(result)
    shown = "".join(f"Review: {s.text}\nSentiment: {TEMPLATE.words[s.label]}\n\n" for s in shots)
    turned = "".join(f"Sentiment: {TEMPLATE.words[s.label]}\nReview: {s.text}\n\n" for s in shots)
    for record in records:
        word = TEMPLATE.words[record.choice]
        free = [(f"{shown}Review: {text}\nSentiment:", f" {word}") for text in ("N/A", "[MASK]", "")]
        pairs = [
            (f"{shown}Review: the joy 0\nSentiment:", f" {word}"),
            ("", f" {word}"),
            ("Sentiment:", f" {word}"),
            *free,
            (f"{turned}Sentiment: {word}\n", "Review: the joy 0"),
        ]
        main, alone, cue, *free, channel = [s.log_likelihood for s in loglikelihoods(model, tokenizer, pairs)]
        assert record.log_likelihood == pytest.approx(main, abs=1e-4)
        assert record.references["pmi"] == pytest.approx([alone], abs=1e-4)
        assert record.references["domain_pmi"] == pytest.approx([cue], abs=1e-4)
        assert record.references["contextual_calibration"] == pytest.approx(free, abs=1e-4)
        assert record.references["channel"] == pytest.approx([channel], abs=1e-4)


def test_lengths_are_of_the_word(result):
    records, _ = first_prompt(result)
    assert [(r.choice, r.characters, r.bytes) for r in records] == [("bad", 10, 10), ("good", 3, 3)]
    assert [len(r.continuation_ids) > 0 for r in records] == [True, True]


def test_one_record_for_each_evaluation_and_method(result):
    places = {(r["k"], r["seed"], r["order"], r["method"]) for r in result.records}
    assert len(result.records) == len(places) == 2 * 2 * 2 * len(METHODS)
    assert result.records[0]["method"] == "raw"


def test_orders_show_the_same_shots(result):
    shots = {(r.seed, r.order): tuple(r.shots) for r in result.choices if r.k == 2 and r.index == 4}
    for seed in (3, 4):
        assert sorted(shots[seed, 0]) == sorted(shots[seed, 1])
    assert any(shots[seed, 0] != shots[seed, 1] for seed in (3, 4))


def test_figures_say_what_orders_change(result):
    for k in (0, 2):
        assert (f"reviews.k{k}.order_sd" in result.figures) == (k == 2)
    values = {(r["seed"], r["order"]): r["value"] for r in result.records if r["method"] == "raw" and r["k"] == 2}
    spread = np.mean([np.std([values[seed, 0], values[seed, 1]], ddof=1) for seed in (3, 4)])
    assert result.figures["reviews.k2.order_sd"] == pytest.approx(spread)
    assert {"reviews.k2.variance_order", "reviews.k2.global_entropy"} <= set(result.figures)


def test_figures_can_be_worked_out_again_from_the_records(result, tmp_path):
    path = tmp_path / "choices.jsonl"
    path.write_text("".join(record.line for record in result.choices), encoding="utf-8")
    records = read_records(path)
    assert records == result.choices
    assert summarise(records, methods=list(METHODS)) == (result.figures, result.records)
    figures, _ = summarise(records, "channel")
    values = [r["value"] for r in result.records if r["method"] == "channel" and r["k"] == 2]
    assert figures["reviews.k2"] == pytest.approx(np.mean(values))


def test_the_method_of_the_figures_can_be_chosen(model, tokenizer):
    settings = {"k": [1], "seeds": [0], "template": TEMPLATE}
    result = evaluate_prompts(model, tokenizer, TASK, **settings, method="per_token", methods=["raw"])
    assert {r["method"] for r in result.records} == {"per_token", "raw"}
    assert result.figures["reviews.k1"] == result.records[0]["value"]
    with pytest.raises(RecipeError, match=r"'channel' cannot be worked out from these records.*methods=channel"):
        summarise(result.choices, "channel")


@pytest.mark.parametrize("content", ['{"task": "a"}', "not JSON", "[]"])
def test_a_line_that_is_no_record(tmp_path, content):
    path = tmp_path / "choices.jsonl"
    path.write_text(f"{content}\n")
    with pytest.raises(DataError, match=r"choices\.jsonl:1: no record of a choice"):
        read_records(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_records(tmp_path / "missing.jsonl")


class Ragged(PromptTask):
    """Questions with two and with three choices."""

    name = "ragged"
    summary = "for tests"

    def items(self, k, seed):
        return [PromptItem("the soup is", (" red", " blue", " dull")[: 2 + n % 2], n % 2, k) for n in range(4)]


def test_questions_may_differ_in_their_number_of_choices(model, tokenizer):
    result = evaluate_prompts(model, tokenizer, Ragged(), k=[0], seeds=[0])
    methods = {r["method"] for r in result.records}
    assert {"raw", "per_token", "pmi"} <= methods
    assert not {"channel", "batch_calibration", "domain_pmi"} & methods
    assert result.records[0]["random"] == pytest.approx((0.5 + 1 / 3) / 2)
    two, three = (d["log_likelihoods"] for d in result.documents[:2])
    assert two == pytest.approx(three[:2], abs=1e-4) and len(three) == 3


@pytest.mark.parametrize("method", ["domain_pmi", "channel", "contextual_calibration"])
def test_a_method_that_needs_a_template(model, tokenizer, method):
    with pytest.raises(RecipeError, match=f"'{method}' does not apply to 'ragged'"):
        evaluate_prompts(model, tokenizer, Ragged(), k=[0], seeds=[0], method=method)


def test_a_template_without_words_after_its_last_field(model, tokenizer):
    with pytest.raises(RecipeError, match="'domain_pmi' does not apply"):
        evaluate_prompts(model, tokenizer, TASK, k=[0], seeds=[0], template=Template("{text}"), methods=["domain_pmi"])


def test_unknown_methods_and_orders(model, tokenizer):
    with pytest.raises(RecipeError, match="unknown scoring method 'pmii'; did you mean 'pmi'"):
        evaluate_prompts(model, tokenizer, TASK, k=[0], seeds=[0], methods=["pmii"])
    with pytest.raises(RecipeError, match="orders is 0; allowed: at least 1"):
        evaluate_prompts(model, tokenizer, TASK, k=[0], seeds=[0], orders=0)
    with pytest.raises(RecipeError, match="orders is 2; allowed: 1, since the task shows its shots"):
        evaluate_prompts(model, tokenizer, Ragged(), k=[0], seeds=[0], orders=2)


def test_several_templates_are_told_apart(model, tokenizer):
    forms = [Template("Review: {text}\nSentiment:"), Template("{text}\nAnswer:")]
    result = evaluate_prompts(model, tokenizer, TASK, k=[1], seeds=[0], template=forms, methods=["raw"])
    assert [r["template"] for r in result.records] == [form.text for form in forms]
    assert result.figures["reviews.k1"] == pytest.approx(np.mean([r["value"] for r in result.records]))


@pytest.mark.filterwarnings("ignore:shared beginnings of prompts")
def test_a_model_that_tells_nothing_apart_by_any_method(constant_model, tokenizer):
    words = {"bad": "x", "good": "y"}
    template = Template("Review: {text}\nSentiment:", words=words)
    result = evaluate_prompts(constant_model, tokenizer, TASK, k=[0, 1], seeds=[0], template=template)
    assert {r["value"] for r in result.records} == {0.5}
    assert all(r["ties"] == 5 for r in result.records)
    assert result.documents[0]["log_likelihoods"] == pytest.approx([-2 * math.log(400)] * 2)


def test_a_record_is_one_line():
    record = ChoiceRecord(
        "t",
        "{text}",
        "ptft",
        0,
        0,
        0,
        0,
        "ä\n",
        True,
        -1.0,
        False,
        1,
        2,
        [3],
        4,
        [],
        "a",
        "b",
        references={"pmi": [-2.0]},
    )
    assert record.line.count("\n") == 1 and "ä" in record.line
