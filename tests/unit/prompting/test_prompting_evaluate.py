import math
from functools import partial

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from ptft.errors import CheckpointError, DataError, RecipeError
from ptft.prompting import Template, choose_shots, evaluate_prompts, loglikelihoods
from ptft.prompting.statistics import accuracy_interval, split_variance
from ptft.tasks.metrics import wilson
from ptft.tasks.prompt_task import PromptItem, PromptTask
from ptft.tasks.task import Example, TaskData

evaluate = partial(evaluate_prompts, methods=["raw"])
LABELS = ("bad", "good")
WORDS = ["joy", "soup", "violin", "page", "blue", "red", "dull", "question", "answer", "last"]
TRAIN = tuple(Example(f"the {word} {i}", LABELS[(i + len(word)) % 2]) for i, word in enumerate(WORDS * 2))
TEST = tuple(Example(f"a {word} is", LABELS[i % 3 == 0]) for i, word in enumerate(WORDS))
TASK = TaskData("reviews", LABELS, TRAIN, (), {"test": TEST})
TEMPLATE = Template("Review: {text}\nSentiment:")


class Copying(PromptTask):
    """The answer stands in the context; the choices change from item to item."""

    name = "copying"
    summary = "for tests"

    def items(self, k, seed):
        shots = " ".join(f"{word} red" for word in WORDS[:k])
        return [
            PromptItem(f"{shots} {word}".strip(), (" red", " blue"), (index + seed) % 2, k)
            for index, word in enumerate(WORDS)
        ]


def test_accuracy_is_that_of_prompts_scored_one_by_one(model, tokenizer):
    result = evaluate(model, tokenizer, TASK, k=[0, 3], seeds=[1, 2], template=TEMPLATE)
    for record in result.records:
        shots = choose_shots(TRAIN, LABELS, record["k"], record["seed"])
        shown = "".join(f"Review: {s.text}\nSentiment: {s.label}\n\n" for s in shots)
        hits = 0
        for row in TEST:
            pairs = [(f"{shown}Review: {row.text}\nSentiment:", " " + label) for label in LABELS]
            scores = [scored.log_likelihood for scored in loglikelihoods(model, tokenizer, pairs)]
            hits += LABELS[scores.index(max(scores))] == row.label
        assert record["value"] == hits / len(TEST)


def test_a_record_says_what_was_measured_and_how_sure_it_is(model, tokenizer):
    result = evaluate(model, tokenizer, TASK, k=[2], seeds=[7], template=TEMPLATE)
    (record,) = result.records
    low, high = wilson(record["value"] * 10, 10)
    assert record == {
        "task": "reviews",
        "k": 2,
        "seed": 7,
        "template": TEMPLATE.text,
        "order": 0,
        "method": "raw",
        "is_figure": True,
        "protocol": "ptft",
        "value": record["value"],
        "low": low,
        "high": high,
        "n": 10,
        "majority": 0.6,
        "random": 0.5,
        "prior": pytest.approx(0.52),
        "calibration_error": record["calibration_error"],
        "ties": 0,
        "shots_dropped": 0,
    }


def test_figures_are_means_over_seeds_with_an_interval(model, tokenizer):
    seeds = [1, 2, 3, 4]
    result = evaluate(model, tokenizer, TASK, k=[0, 4], seeds=seeds, template=TEMPLATE)
    assert [(r["k"], r["seed"]) for r in result.records] == [(k, seed) for k in (0, 4) for seed in seeds]
    values = [r["value"] for r in result.records if r["k"] == 4]
    assert result.figures["reviews.k4"] == pytest.approx(sum(values) / 4)
    hits = np.zeros((10, 4, 1, 1))
    for document in result.documents:
        if document["k"] == 4:
            hits[document["index"], seeds.index(document["seed"])] = document["gold"] == document["predicted"]
    assert accuracy_interval(hits) == pytest.approx(
        [result.figures[f"reviews.k4{end}"] for end in ("", ".low", ".high")]
    )
    assert result.figures["reviews.k4.variance_documents"] == split_variance(hits).components["documents"]
    assert "reviews.k0.variance_documents" not in result.figures
    assert result.figures["reviews.majority"] == 0.6


def test_equal_values_for_all_seeds_leave_the_uncertainty_of_the_documents(model, tokenizer):
    result = evaluate(model, tokenizer, TASK, k=[0], seeds=[1, 2, 3], template=TEMPLATE)
    hits = round(result.figures["reviews.k0"] * 10)
    low, high = wilson(hits, 10)
    assert result.figures["reviews.k0.low"] == pytest.approx(low, abs=0.02)
    assert result.figures["reviews.k0.high"] == pytest.approx(high, abs=0.02)


def test_prompts_without_shots_are_scored_once_for_all_seeds(new_model, tokenizer):
    model = new_model()
    forwards = []
    model.register_forward_pre_hook(lambda *_: forwards.append(1))
    evaluate(model, tokenizer, TASK, k=[0], seeds=[1], template=TEMPLATE)  # tries out what the model can do
    forwards.clear()
    one = evaluate(model, tokenizer, TASK, k=[0], seeds=[1], template=TEMPLATE)
    for_one = len(forwards)
    three = evaluate(model, tokenizer, TASK, k=[0], seeds=[1, 2, 3], template=TEMPLATE)
    assert len(forwards) == 2 * for_one
    assert [r["value"] for r in three.records] == [one.records[0]["value"]] * 3


def test_documents_tell_each_answer(model, tokenizer):
    result = evaluate(model, tokenizer, TASK, k=[1], seeds=[0, 5], template=TEMPLATE)
    assert [(d["seed"], d["index"]) for d in result.documents] == [(s, i) for s in (0, 5) for i in range(10)]
    for document in result.documents:
        assert document["gold"] == TEST[document["index"]].label
        scores = document["log_likelihoods"]
        assert document["predicted"] == LABELS[scores.index(max(scores))]
    hits = sum(d["gold"] == d["predicted"] for d in result.documents if d["seed"] == 5)
    assert result.records[1]["value"] == hits / 10


@pytest.mark.filterwarnings("ignore:shared beginnings of prompts")
def test_a_model_that_tells_nothing_apart_is_at_chance(constant_model, bare_tokenizer):
    words = {"bad": "x", "good": "y"}  # one token each
    template = Template("Review: {text}\nSentiment:\n", words=words)
    result = evaluate(constant_model, bare_tokenizer, TASK, k=[0, 2], seeds=[0], template=template)
    assert [r["value"] for r in result.records] == [0.5, 0.5]
    assert [r["ties"] for r in result.records] == [10, 10]


@pytest.mark.filterwarnings("ignore:shared beginnings of prompts")
def test_a_longer_word_is_less_probable_where_all_tokens_are_equally_probable(constant_model, bare_tokenizer):
    template = Template("{text}\n", words={"bad": "xyzxyz", "good": "y"})
    result = evaluate(constant_model, bare_tokenizer, TASK, k=[0], seeds=[0], template=template)
    assert {d["predicted"] for d in result.documents} == {"good"}
    assert result.documents[0]["log_likelihoods"] == pytest.approx([-7 * math.log(400), -2 * math.log(400)])


def test_prompts_too_long_lose_whole_shots_and_are_counted(new_model, tokenizer):
    roomy, tight = new_model(positions=128), new_model(positions=128)
    tight.config.max_position_embeddings = 60
    fits_4 = [d for d in _documents(tight, tokenizer, k=4) if d["shots"] == 4]
    assert fits_4 == []
    documents = _documents(tight, tokenizer, k=4)
    used = {d["index"]: d["shots"] for d in documents}
    assert set(used.values()) <= {1, 2, 3}
    for shots in set(used.values()):
        same = {d["index"]: d["log_likelihoods"] for d in _documents(roomy, tokenizer, k=shots)}
        for document in documents:
            if document["shots"] == shots:
                assert document["log_likelihoods"] == pytest.approx(same[document["index"]], abs=1e-4)
    result = evaluate(tight, tokenizer, TASK, k=[0, 4], seeds=[0], template=TEMPLATE)
    assert [r["shots_dropped"] for r in result.records] == [0, 10]


def _documents(model, tokenizer, k):
    return evaluate(model, tokenizer, TASK, k=[k], seeds=[0], template=TEMPLATE).documents


def test_each_row_that_lost_shots_is_counted_once(new_model, tokenizer):
    rows = [Example("x" * 2 + " joy" * extra, "good") for extra in (0, 15, 30, 45)]
    task = TaskData("reviews", LABELS, tuple(Example("y " * 8 + name, "good") for name in "abc"), (), {"test": rows})
    model = new_model()
    lengths = [len(tokenizer(row.text)["input_ids"]) for row in rows]
    shot = len(tokenizer("y y y y y y y y a good\n\n")["input_ids"])
    label = max(len(tokenizer(" " + label)["input_ids"]) for label in LABELS)
    # The beginning token is one more, the label's last token, never fed, one less.
    model.config.max_position_embeddings = lengths[3] + label
    room = [(lengths[3] - length) // shot for length in lengths]
    result = evaluate(model, tokenizer, task, k=[2], seeds=[0], template=Template("{text}"))
    assert [d["shots"] for d in result.documents] == [min(2, fitting) for fitting in room]
    assert len({d["shots"] for d in result.documents}) == 3, "the premise: rows differ in what they lose"
    assert result.records[0]["shots_dropped"] == sum(fitting < 2 for fitting in room)


def test_rows_too_long_even_without_shots_are_refused(new_model, tokenizer):
    with pytest.raises(DataError, match=r"\d+ of 10 documents of 'reviews' do not fit into the model's 6 positions"):
        evaluate(new_model(positions=6), tokenizer, TASK, k=[2], seeds=[0], template=TEMPLATE)


def test_a_document_is_never_its_own_shot(model, tokenizer):
    task = TaskData("self", LABELS, TEST, (), {"test": TEST})
    evaluate(model, tokenizer, task, k=[9], seeds=[0], template=Template("{text}"))
    with pytest.raises(DataError, match="10 shots are asked for but there are only 9"):
        evaluate(model, tokenizer, task, k=[10], seeds=[0], template=Template("{text}"))


def test_majority_is_the_share_of_the_most_frequent_label_whichever_it_is(model, tokenizer):
    task = TaskData("reviews", LABELS[::-1], TRAIN, (), {"test": TEST})
    assert evaluate(model, tokenizer, task, k=[0], seeds=[0]).figures["reviews.majority"] == 0.6


def test_limit_asks_about_the_same_documents_each_time(model, tokenizer):
    result = evaluate(model, tokenizer, TASK, k=[0, 1], seeds=[1, 2], template=TEMPLATE, limit=4)
    asked = [tuple(d["index"] for d in result.documents[i : i + 4]) for i in range(0, 16, 4)]
    assert len(set(asked)) == 1 and len(set(asked[0])) == 4
    assert asked[0] != (0, 1, 2, 3), "drawn over the file, which may be sorted by label"
    assert {r["n"] for r in result.records} == {4}


def test_several_test_sets_have_names_of_their_own(model, tokenizer):
    task = TaskData("topic", LABELS, TRAIN, (), {"L": TEST[:4], "H": TEST[4:]})
    result = evaluate(model, tokenizer, task, k=[0], seeds=[0], template=TEMPLATE)
    assert [(r["task"], r["n"]) for r in result.records] == [("topic.L", 4), ("topic.H", 6)]
    assert {"topic.L.k0", "topic.H.k0", "topic.L.majority"} <= set(result.figures)


def test_an_in_context_task_brings_its_own_prompts(model, tokenizer):
    result = evaluate(model, tokenizer, Copying(), k=[0, 3], seeds=[0, 1])
    assert [(r["task"], r["k"], r["seed"], r["n"]) for r in result.records] == [
        ("copying", k, seed, 10) for k in (0, 3) for seed in (0, 1)
    ]
    items = Copying().items(3, 1)
    for document in result.documents[-10:]:
        item = items[document["index"]]
        scores = [s.log_likelihood for s in loglikelihoods(model, tokenizer, [(item.context, c) for c in item.choices])]
        assert document["log_likelihoods"] == pytest.approx(scores, abs=1e-4)
        assert document["gold"] == ("red", "blue")[item.gold]


def test_prompts_of_an_in_context_task_lose_whole_shots_too(new_model, tokenizer):
    model = new_model()
    model.config.max_position_embeddings = 20
    documents = evaluate(model, tokenizer, Copying(), k=[9], seeds=[0]).documents
    assert all(0 < document["shots"] < 9 for document in documents)


def test_an_in_context_task_takes_no_template(model, tokenizer):
    with pytest.raises(RecipeError, match="'copying' makes its own prompts; leave out the template"):
        evaluate(model, tokenizer, Copying(), k=[0], seeds=[0], template=TEMPLATE)


def test_a_task_without_prompts_is_refused(model, tokenizer):
    class Empty(Copying):
        def items(self, k, seed):
            return []

    with pytest.raises(DataError, match="makes no prompts"):
        evaluate(model, tokenizer, Empty(), k=[0], seeds=[0])


def test_a_default_template_is_used_and_recorded(model, tokenizer):
    result = evaluate(model, tokenizer, TASK, k=[0], seeds=[0])
    assert result.records[0]["template"] == "{text}\nLabel:"


def test_progress_counts_questions(model, tokenizer, monkeypatch):
    seen = []
    monkeypatch.setattr("ptft.prompting.asking._QUESTIONS_AT_ONCE", 4)
    monkeypatch.setattr("ptft.prompting.asking._TOKENS_AT_ONCE", 0)
    evaluate(
        model, tokenizer, TASK, k=[0, 1], seeds=[1, 2], template=TEMPLATE, progress=lambda *counts: seen.append(counts)
    )
    assert seen == [(16, 40), (32, 40), (40, 40)]


def test_too_few_shots_are_found_before_anything_is_scored(new_model, tokenizer):
    model = new_model()
    seen = []
    with pytest.raises(DataError, match="21 shots are asked for but there are only 20"):
        evaluate(model, tokenizer, TASK, k=[0, 21], seeds=[0], template=TEMPLATE, progress=lambda *_: seen.append(1))
    assert seen == []


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"k": []}, r"k is \[\]; give one or more different integers"),
        ({"k": [-1]}, r"k is \[-1\]"),
        ({"k": [1, 1]}, r"k is \[1, 1\]"),
        ({"seeds": []}, r"seeds is \[\]"),
        ({"seeds": [-3]}, r"seeds is \[-3\]"),
        ({"limit": -1}, "limit is -1"),
    ],
)
def test_settings_out_of_range_are_refused(model, tokenizer, settings, match):
    with pytest.raises(RecipeError, match=match):
        evaluate(model, tokenizer, TASK, **({"k": [0], "seeds": [0]} | settings))


@pytest.mark.parametrize("tests", [{}, {"test": ()}, {"L": TEST, "H": ()}])
def test_a_task_without_test_rows_is_refused(model, tokenizer, tests):
    with pytest.raises(DataError, match="'reviews' has no test rows"):
        evaluate(model, tokenizer, TaskData("reviews", LABELS, TRAIN, (), tests), k=[0], seeds=[0])


def test_a_test_row_with_an_unknown_label_is_named(model, tokenizer):
    task = TaskData("reviews", LABELS, TRAIN, (), {"test": (Example("a", "goood", where="test.csv:2"),)})
    with pytest.raises(DataError, match=r"test.csv:2: unknown label 'goood'; did you mean 'good'"):
        evaluate(model, tokenizer, task, k=[0], seeds=[0])


def test_a_second_text_that_no_row_has_is_refused(model, tokenizer):
    with pytest.raises(RecipeError, match="no row of 'reviews' has a second text"):
        evaluate(model, tokenizer, TASK, k=[0], seeds=[0], template=Template("{text_a} {text_b}"))


def test_an_encoder_is_refused(tokenizer):
    config = BertConfig(
        vocab_size=400, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1
    )
    with pytest.raises(CheckpointError, match=r"BertForMaskedLM is an encoder.*prompting needs a decoder"):
        evaluate(BertForMaskedLM(config), tokenizer, TASK, k=[0], seeds=[0])


def test_the_global_generators_are_left_alone(model, tokenizer):
    state = torch.get_rng_state()
    evaluate(model, tokenizer, TASK, k=[2], seeds=[0], template=TEMPLATE, limit=5)
    assert torch.equal(torch.get_rng_state(), state)


def test_ten_lines_are_enough(new_model, tokenizer, tmp_path):
    """The script of the package's docstring, on a model and a tokenizer from a folder."""
    from ptft import prompting

    new_model(positions=512).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    script = prompting.__doc__.split("::\n", 1)[1].replace("runs/gpt/model", str(tmp_path))
    script = "\n".join(line[4:] for line in script.splitlines()).replace(
        "k=[0, 1, 4], seeds=[1, 2, 3]", "k=[0, 1], seeds=[1], limit=20"
    )
    names = {}
    exec(script, names)
    assert {"polarity.L.k0", "polarity.H.k1", "polarity.H.majority"} <= set(names["result"].figures)
    assert len([line for line in script.splitlines() if line.strip()]) <= 12


def test_rows_may_bring_choices_of_their_own(model, tokenizer):
    rows = [
        Example(f"the {word} is", str(i % 2), choices=("red", "blue", "dull")[: 2 + i % 2])
        for i, word in enumerate(WORDS)
    ]
    task = TaskData("colours", ("0", "1", "2"), tuple(rows[4:]), (), {"test": tuple(rows[:4])}, "multiple_choice")
    result = evaluate_prompts(model, tokenizer, task, k=[2], seeds=[0])
    assert {"raw", "per_character", "pmi", "domain_pmi"} <= {r["method"] for r in result.records}
    assert not {"contextual_calibration", "batch_calibration", "channel"} & {r["method"] for r in result.records}
    assert result.records[0]["template"] == "{text}\nAnswer:"
    shots = choose_shots(task.train, task.labels, 2, 0)
    shown = "".join(f"{s.text}\nAnswer: {s.choices[int(s.label)]}\n\n" for s in shots)
    for document, row in zip(result.documents, rows, strict=False):
        pairs = [(f"{shown}{row.text}\nAnswer:", f" {choice}") for choice in row.choices]
        scores = [s.log_likelihood for s in loglikelihoods(model, tokenizer, pairs)]
        assert document["log_likelihoods"] == pytest.approx(scores, abs=1e-4)
        assert document["gold"] == row.choices[int(row.label)]
    with pytest.raises(RecipeError, match="each row of 'colours' brings choices of its own"):
        evaluate_prompts(model, tokenizer, task, k=[0], seeds=[0], template=Template("{text}", words={"0": "a"}))
