"""``ptft eval`` of fine-tuned models: figures, confusions and mistakes on labelled rows."""

import csv
import json
import random

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss

import ptft
from ptft.actions import ACTIONS
from ptft.config import load
from ptft.display import Silent
from ptft.errors import DataError, RecipeError
from ptft.report.evaluation import confusion_table, figure_lines, mistake_table
from ptft.tasks.problem import Mistake

FAST = {"length": 32, "budget": "60steps", "lr": 0.01, "rows_per_step": 16, "min_steps": 0}
WARM, COLD = ["red", "orange", "sun", "fire", "summer"], ["blue", "ice", "snow", "winter", "frost"]


class Listener(Silent):
    def __init__(self):
        self.sentences = []

    def say(self, sentence):
        self.sentences.append(sentence)


def evaluate(display=None, **settings):
    settings = {"precision": "fp32", **settings}
    return load(ACTIONS["eval"], base=settings, base_origin="the test").settings.do(display or Silent())


@pytest.fixture(scope="module")
def run(tmp_path_factory, step, bert_run, table):
    folder = tmp_path_factory.mktemp("labelled") / "run"
    step("finetune", model=str(bert_run), data=str(table), out=str(folder), **FAST)
    return folder


@pytest.fixture(scope="module")
def noisy(tmp_path_factory, labelled_texts):
    """Rows in another order of labels, some of which are wrong."""
    other = {"warm": "cold", "cold": "warm"}
    rows = [(text, other[label] if n % 7 == 0 else label) for n, (text, label) in enumerate(reversed(labelled_texts))]
    path = tmp_path_factory.mktemp("noisy") / "noisy.csv"
    path.write_text("review,mood\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


def test_it_is_what_predictions_say(run, noisy, tmp_path):
    """Counted by scikit-learn from the file that ``ptft predict`` writes."""
    ptft.predict(model=str(run), data=str(noisy), text="review", out=str(tmp_path / "out.csv"), precision="fp32")
    with noisy.open(newline="") as file:
        gold = [row["mood"] for row in csv.DictReader(file)]
    with (tmp_path / "out.csv").open(newline="") as file:
        predicted = list(csv.DictReader(file))
    answers = [row["label"] for row in predicted]
    text = evaluate(model=str(run), data=str(noisy), text="review", label="mood", out=str(tmp_path / "found.json"))
    content = json.loads((tmp_path / "found.json").read_text())
    found = content["tests"]["test"]
    assert found["figures"]["accuracy"] == accuracy_score(gold, answers)
    assert found["figures"]["low"] < found["figures"]["accuracy"] < found["figures"]["high"]
    assert found["confusion"] == {"labels": ["cold", "warm"], "counts": confusion_matrix(gold, answers).tolist()}
    shares = [[float(row[f"probability.{label}"]) for label in ("cold", "warm")] for row in predicted]
    assert found["figures"]["nll"] == pytest.approx(log_loss(gold, np.array(shares)), rel=1e-2)
    wrong = [(row["text"], label, row["label"]) for row, label in zip(predicted, gold, strict=True)
             if row["label"] != label]  # fmt: skip
    assert sorted((m["text"], m["given"], m["predicted"]) for m in found["mistakes"]) == sorted(wrong)
    sizes = [mistake["size"] for mistake in found["mistakes"]]
    assert sizes == sorted(sizes, reverse=True)
    assert found["mistakes"][0]["where"].startswith(f"{noisy}:")
    assert f"accuracy  {found['figures']['accuracy']:.3f} (" in text
    assert f"the 10 worst of {len(wrong)} mistakes" in text
    assert "labels (rows) and answers (columns)\n      cold  warm\ncold" in text
    assert text.endswith(f"written to {tmp_path / 'found.json'}")


@pytest.mark.parametrize("verb", ["predict", "eval"])
def test_a_full_disk_leaves_nothing_that_is_in_the_way(verb, run, table, tmp_path, monkeypatch):
    def fail(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ptft.training.aside.flush", fail)
    settings = {"model": str(run), "data": str(table), "out": str(tmp_path / "out.json"), "precision": "fp32"}
    with pytest.raises(OSError, match="No space left"):
        load(ACTIONS[verb], base=settings, base_origin="the test").settings.do(Silent())
    assert list(tmp_path.iterdir()) == []


def test_how_many_mistakes_are_shown(run, noisy):
    settings = {"model": str(run), "data": str(noisy), "text": "review", "label": "mood"}
    assert "the 2 worst of" in evaluate(**settings, mistakes=2)
    assert "worst of" not in evaluate(**settings, mistakes=0)


def test_one_label_is_enough(run, tmp_path):
    (tmp_path / "warm.csv").write_text("text,label\nred sun,warm\n,warm\nsummer fire,\nhot desert sun,warm\n")
    listener = Listener()
    text = evaluate(listener, model=str(run), data=str(tmp_path / "warm.csv"))
    assert "accuracy  1.000 (0.342 to 1.000)" in text
    assert "worst" not in text
    assert [sentence.partition(": ")[2] for sentence in listener.sentences] == [
        "1 row without a text was left out (first: line 3)",
        "1 row without a label was left out (first: line 4)",
    ]


def test_the_test_rows_of_a_folder(run, table, tmp_path):
    (tmp_path / "train.csv").write_text(table.read_text())
    with pytest.raises(DataError, match="has no test rows of its own; name a table"):
        evaluate(model=str(run), data=str(tmp_path))
    (tmp_path / "test.csv").write_text("text,label\nred sun,warm\nice and snow,cold\n")
    text = evaluate(model=str(run), data=str(tmp_path))
    assert "n         2" in text


def test_the_test_sets_of_a_task(step, bert_run, tmp_path):
    step("finetune", model=str(bert_run), data="polarity", out=str(tmp_path / "run"), **{**FAST, "budget": "2steps"})
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    evaluate(model=str(tmp_path / "run"), data="polarity", out=str(tmp_path / "x.json"))
    tests = json.loads((tmp_path / "x.json").read_text())["tests"]
    assert {*tests} == {record["test"] for record in result["records"]}
    for record in result["records"]:
        assert tests[record["test"]]["figures"]["accuracy"] == record["accuracy"]


def test_names_that_stand_for_none(run, noisy, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for path in (run / "model").iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    facts = json.loads((model / "head.json").read_text())
    (model / "head.json").write_text(json.dumps({**facts, "labels": ["LABEL_0", "LABEL_1"]}))
    sentence = (
        r"noisy\.csv:\d+: the model does not know the labels 'cold', 'warm'; its labels are 'LABEL_0', 'LABEL_1', "
    )
    with pytest.raises(DataError, match=sentence + "names that stand for none: nobody told the model what"):
        evaluate(model=str(model), data=str(noisy), text="review", label="mood")


@pytest.fixture(scope="module")
def problems(tmp_path_factory, step, bert_run):
    """Tables of other problems, and a model of each."""
    folder = tmp_path_factory.mktemp("problems")
    draw = random.Random(0)
    rows = {"regression": [], "multi_label": [], "multiple_choice": [], "token_classification": []}
    for number in range(60):
        words = [draw.choice([*WARM, *COLD, "the", "a"]) for _ in range(6)]
        rows["regression"].append({"text": " ".join(words), "label": sum(word in WARM for word in words)})
        kinds = [name for name, group in (("warm", WARM[:2]), ("cold", COLD[:2])) if {*words} & {*group}]
        rows["multi_label"].append({"text": " ".join(words), "label": kinds})
        options = sorted([draw.choice(WARM), draw.choice(COLD)])
        right = int((options[0] in COLD) != (number % 5 == 0))  # a fifth is wrong
        rows["multiple_choice"].append({"text": "which is warm", "choices": options, "label": right})
        tags = ["B-WARM" if word in WARM else "B-COLD" if word in COLD else "O" for word in words]
        rows["token_classification"].append({"text": words, "label": tags})
    for problem, some in rows.items():
        path = folder / f"{problem}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in some))
        settings = {**FAST, "budget": "3steps", "problem": problem, "out": str(folder / problem)}
        step("finetune", model=str(bert_run), data=str(path), test=str(path), **settings)
    return folder


@pytest.mark.parametrize("problem", ["regression", "multi_label", "multiple_choice", "token_classification"])
def test_other_problems(problem, problems, tmp_path):
    result = json.loads((problems / problem / "result.json").read_text())
    data = problems / f"{problem}.jsonl"
    out = tmp_path / "x.json"
    text = evaluate(model=str(problems / problem), data=str(data), out=str(out))
    found = json.loads(out.read_text())["tests"]["test"]
    (record,) = result["records"]
    assert found["figures"] == {name: record[name] for name in found["figures"]}
    given = [json.loads(line) for line in data.read_text().splitlines()]
    worst = found["mistakes"][0]
    if problem == "regression":
        assert "distance" in text
        assert len(found["mistakes"]) == 60
        assert worst["size"] == pytest.approx(abs(float(worst["given"]) - float(worst["predicted"])), rel=1e-4)
    elif problem == "multi_label":
        assert len(found["mistakes"]) == round(60 * (1 - found["figures"]["exact_match"]))
        assert {m["given"] for m in found["mistakes"]} <= {";".join(sorted(row["label"])) for row in given}
        assert all(0.5 <= mistake["size"] <= 1 for mistake in found["mistakes"])
    elif problem == "multiple_choice":
        assert len(found["mistakes"]) == round(60 * (1 - found["figures"]["accuracy"]))
        choices = [{*row["choices"]} for row in given]
        assert all({m["given"], m["predicted"]} in choices for m in found["mistakes"])
    else:
        counts = np.array(found["confusion"]["counts"])
        assert counts.sum() == sum(len(row["text"]) for row in given)
        assert len(found["mistakes"]) == counts.sum() - counts.trace()
        assert "[" in worst["text"]
    assert (found["confusion"] == {}) == (problem != "token_classification")


def test_a_task_of_another_problem(problems):
    with pytest.raises(DataError, match="task 'polarity' is classification and the model is for regression"):
        evaluate(model=str(problems / "regression"), data="polarity")


def test_settings_without_effect(run, table):
    with pytest.raises(RecipeError, match="rows has no effect here: it is for measuring a pretrained model on a text"):
        evaluate(model=str(run), data=str(table), rows=8)


# As text


def test_of_many_labels_the_largest_confusions_are_shown():
    labels = [f"label number {n}" for n in range(13)]
    counts = np.diag(np.full(13, 50))
    counts[2, 5], counts[12, 0], counts[0, 1] = 7, 9, 1
    assert confusion_table(counts, labels).splitlines() == [
        "the 3 largest of 3 confusions",
        "label            answer          rows",
        "label number 12  label number 0  9",
        "label number 2   label number 5  7",
        "label number 0   label number 1  1",
    ]


def test_long_names_and_texts_are_cut():
    table = confusion_table(np.array([[10, 2], [3, 4000]]), ["a" * 30, "b"])
    assert table.splitlines()[1:] == [
        f"{'':20}  {'a' * 19}…      b",
        f"{'a' * 19}…{'10':>22}      2",
        f"b{'3':>41}  4,000",
    ]
    mistake = Mistake("x.csv:2", "word\n" * 30, "a", "b", 0.987)
    assert mistake_table([mistake] * 3, 1, "probability").splitlines() == [
        "the 1 worst of 3 mistakes",
        "probability  label  answer  text",
        f"0.987        a      b       {('word ' * 12)[:59]}…",
    ]


def test_figures_stand_with_their_intervals():
    figures = {"accuracy": 0.5, "low": 0.4, "high": 0.6, "mcc": 0.1, "mcc_low": 0.0, "mcc_high": 0.2, "n": 20}
    assert figure_lines(figures) == "accuracy  0.500 (0.400 to 0.600)\nmcc       0.100 (0.000 to 0.200)\nn         20"
