"""Every problem through the same command: trained, scored, saved, opened again, predicted."""

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForTokenClassification, pipeline

from ptft.api import predict
from ptft.errors import DataError, RecipeError
from ptft.finetuning.policies import POLICIES
from ptft.models.classifier_files import open_classifier

TINY = {"length": 48, "min_steps": 0, "lr": 0.01, "log_every_steps": 1, "rows_per_step": 16, "budget": "60steps"}
WARM = ["red", "orange", "sun", "fire", "summer"]
COLD = ["blue", "ice", "snow", "winter", "frost"]


class Listener:
    def __init__(self):
        self.sentences = []

    def say(self, sentence):
        self.sentences.append(sentence)

    def progress(self, what, done, total, figures=None):
        pass


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def finetune(step, tmp_path):
    def do(**settings):
        return step("finetune", **{**TINY, "out": str(tmp_path / "run"), **settings})

    return do


@pytest.fixture
def tables(tmp_path):
    """A table of each problem whose labels the words give away."""
    draw = random.Random(0)

    def words(n=6):
        return [draw.choice(WARM + COLD + ["the", "a"]) for _ in range(n)]

    rows = {"regression": [], "multi_label": [], "multiple_choice": [], "token_classification": []}
    for _ in range(120):
        some = words()
        num_warm = sum(word in WARM for word in some)
        rows["regression"].append({"text": " ".join(some), "label": 10 + 5.5 * num_warm})
        kinds = [name for name, group in (("warm", WARM[:2]), ("cold", COLD[:2])) if set(some) & set(group)]
        rows["multi_label"].append({"text": " ".join(some), "label": kinds})
        right, number = draw.choice(WARM), draw.choice([2, 3])
        options = [right, *draw.sample(COLD, number - 1)]
        draw.shuffle(options)
        rows["multiple_choice"].append({"text": "which is warm", "choices": options, "label": options.index(right)})
        tags = ["B-WARM" if word in WARM else "B-COLD" if word in COLD else "O" for word in some]
        rows["token_classification"].append({"text": some, "label": tags})
    return {name: write(tmp_path / f"{name}.jsonl", found) for name, found in rows.items()}


METRICS = {"regression": "pearson", "multi_label": "micro_f1", "multiple_choice": "accuracy",
           "token_classification": "f1"}  # fmt: skip


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
@pytest.mark.parametrize("problem", METRICS)
def test_it_learns_and_predicts_what_it_scored(problem, kind, finetune, tables, run_of, tmp_path):
    result = finetune(model=str(run_of(kind)), data=tables[problem], problem=problem)
    metric = METRICS[problem]
    assert result[f"test.{metric}"] > 0.6
    assert result["test.low"] <= result[f"test.{metric}"] <= result["test.high"]
    assert result["n"] == 12
    assert result["records"][0]["failed"] is False
    assert f"valid.{metric}" in result
    classifier = open_classifier(tmp_path / "run")
    assert classifier.problem.name == problem
    out = tmp_path / "answers.csv"
    predict(model=str(tmp_path / "run"), data=tables[problem], out=str(out), precision="fp32")
    with out.open(newline="") as file:
        answers = list(csv.DictReader(file))
    given = [json.loads(line) for line in Path(tables[problem]).read_text().splitlines()]
    assert len(answers) == len(given) == 120
    if problem == "regression":
        found = [float(answer["label"]) for answer in answers]
        assert np.corrcoef(found, [row["label"] for row in given])[0, 1] > 0.6
        assert abs(np.mean(found) - np.mean([row["label"] for row in given])) < 3  # on the labels' own scale
    elif problem == "token_classification":
        right = [a == b for answer, row in zip(answers, given, strict=True)
                 for a, b in zip(answer["label"].split(), row["label"], strict=True)]  # fmt: skip
        assert np.mean(right) > 0.7
    elif problem == "multiple_choice":
        assert np.mean([int(a["label"]) == row["label"] for a, row in zip(answers, given, strict=True)]) > 0.6


@pytest.mark.parametrize(
    ("problem", "task", "metric", "title"),
    [
        ("regression", "text-classification", "pearsonr", "Pearson's correlation"),
        ("multi_label", "text-classification", "f1", "micro F1"),
        ("multiple_choice", "multiple-choice", "accuracy", "accuracy"),
        ("token_classification", "token-classification", "f1", "F1"),
    ],
)
def test_the_card_of_several_seeds(problem, task, metric, title, finetune, tables, bert_run, tmp_path):
    result = finetune(model=str(bert_run), data=tables[problem], problem=problem, seeds=2, budget="10steps")
    values = [record[METRICS[problem]] for record in result["records"]]
    assert result[f"test.{METRICS[problem]}"] == pytest.approx(sum(values) / 2)
    saved = json.loads((tmp_path / "run" / "manifest.json").read_text())["saved_seed"]
    card = ModelCard.load(tmp_path / "run" / "model" / "README.md")
    assert f"that of seed {saved}, the best on the validation data: test {title} {values[saved]:.3f} (" in card.text
    first = card.data.eval_results[0]
    assert (first.task_type, first.metric_type, first.metric_value) == (task, metric, round(values[saved], 4))
    assert first.metric_name.startswith(f"{title} (95 % interval ")


@pytest.mark.parametrize("problem", METRICS)
@pytest.mark.parametrize("policy", sorted(set(POLICIES) - {"full"}))
def test_policies_hold_for_every_problem(problem, policy, finetune, tables, bert_run):
    result = finetune(model=str(bert_run), data=tables[problem], problem=problem, policy=policy, budget="5steps")
    assert np.isfinite(result[f"test.{METRICS[problem]}"])


@pytest.mark.parametrize("problem", METRICS)
def test_accumulation_changes_no_loss(problem, finetune, tables, bert_run, tmp_path):
    losses = []
    for accumulate in (1, 4):
        out = tmp_path / f"run-{accumulate}"
        finetune(model=str(bert_run), data=tables[problem], problem=problem, dropout=0.0, accumulate=accumulate,
                 budget="6steps", out=str(out))  # fmt: skip
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines])
        assert len({line["batch_hash"] for line in lines}) == 6
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_stock_classes_open_what_they_can(finetune, tables, bert_run, tmp_path):
    finetune(model=str(bert_run), data=tables["token_classification"], problem="token_classification")
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "run" / "model")
    assert sorted(model.config.label2id) == ["B-COLD", "B-WARM", "O"]
    tag = pipeline("token-classification", str(tmp_path / "run" / "model"))
    assert {found["entity"] for found in tag("red ice the")} >= {"B-WARM", "B-COLD"}
    for problem, kind in (("regression", "regression"), ("multi_label", "multi_label_classification")):
        out = tmp_path / problem
        finetune(model=str(bert_run), data=tables[problem], problem=problem, pooling="cls", out=str(out))
        classifier = open_classifier(out)
        assert (classifier.problem.name, classifier.head) == (problem, None)
        assert classifier.model.config.problem_type == kind


def test_words_that_are_cut_off_are_told_and_count_as_wrong(finetune, tables, bert_run, tmp_path):
    result = finetune(model=str(bert_run), data=tables["token_classification"], problem="token_classification",
                      length=6, budget="30steps")  # fmt: skip
    assert result["test.token_accuracy"] <= 5 / 6
    out = tmp_path / "answers.csv"
    predict(model=str(tmp_path / "run"), data=tables["token_classification"], out=str(out), length=6)
    assert "-" in out.read_text().splitlines()[1]


def test_words_that_a_tokenizer_leaves_out_are_told(finetune, bert_run, tmp_path):
    rows = [{"text": ["red", "\u200b", "ice"], "label": ["B-WARM", "O", "B-COLD"]} for _ in range(20)]
    display = Listener()
    finetune(model=str(bert_run), data=write(tmp_path / "words.jsonl", rows), problem="token_classification",
             budget="2steps", display=display)  # fmt: skip
    sentence = (
        "left out by the tokenizer: 16 of 48 training, 2 of 6 validation, 2 of 6 test words; they are not learned"
    )
    assert f"{sentence}, and count as wrong" in display.sentences
    assert not any(sentence.startswith("cut to") for sentence in display.sentences)


def test_a_model_that_answers_the_same_to_all_is_named(finetune, tables, bert_run, tmp_path, step, table):
    display = Listener()
    result = step("finetune", **{**TINY, "budget": "1steps", "lr": 1e-12}, data=str(table), model=str(bert_run),
                  seeds=2, out=str(tmp_path / "r"), display=display)  # fmt: skip
    failed = [record["failed"] for record in result["records"]]
    assert result["failed_seeds"] == sum(failed)
    for record in result["records"]:
        sentence = f"seed {record['seed']} failed: it gives the same answer to all rows of 'test'"
        assert (sentence in display.sentences) == record["failed"]
    assert any(failed)


def test_mistakes(finetune, tables, bert_run):
    settings = {"model": str(bert_run)}
    with pytest.raises(RecipeError, match="unknown problem 'regresion'; did you mean 'regression'"):
        finetune(**settings, data=tables["regression"], problem="regresion")
    with pytest.raises(DataError, match="problem=regression"):
        finetune(**settings, data=tables["regression"])
    with pytest.raises(RecipeError, match="pooling: token_classification has no use for mean"):
        finetune(**settings, data=tables["token_classification"], problem="token_classification", pooling="mean")


def test_targets_of_a_regression_are_narrow_while_it_learns(finetune, tables, bert_run, tmp_path):
    """Labels from 10 to 43 would begin with a loss of hundreds."""
    finetune(model=str(bert_run), data=tables["regression"], problem="regression", budget="2steps", lr=1e-9)
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(1, abs=0.5)
    classifier = open_classifier(tmp_path / "run")
    assert classifier.output_layer().bias.item() == pytest.approx(10 + 5.5 * 6 * 5 / 12, rel=0.2)
    assert torch.isfinite(classifier.output_layer().weight).all()
