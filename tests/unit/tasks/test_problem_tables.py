"""What tables of each problem may hold, and what is refused."""

import json
import re
import shutil
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest
import torch

from ptft.errors import DataError, RecipeError
from ptft.tasks import TASKS
from ptft.tasks.problems import PROBLEMS
from ptft.tasks.table import read_inputs, read_labelled, read_task
from ptft.tasks.task import Example, TaskData

CHOICES = "a,b,c"


def write(folder, name, content):
    path = folder / name
    path.write_text(content)
    return str(path)


def jsonl(folder, *rows, name="rows.jsonl"):
    return write(folder, name, "".join(json.dumps(row) + "\n" for row in rows))


def with_labels(folder, *labels, name="rows.jsonl"):
    return jsonl(folder, *({"text": f"t {n}", "label": label} for n, label in enumerate(labels)), name=name)


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_whole(path, problem, **given):
    """A table, all of whose rows are in the split for training."""
    again = shutil.copy(path, Path(path).with_name(f"again-{Path(path).name}"))
    return read_task(path, valid=path, test=str(again), problem=problem, **given)


def labels_of(path, problem, **given):
    """The labels of the rows of a table."""
    return [row.label for row in read_whole(path, problem, **given)[0].train]


def test_unknown_problem(tmp_path):
    with pytest.raises(RecipeError, match=r"unknown problem 'regresion'; did you mean 'regression'\? Known: class"):
        read_task(with_labels(tmp_path, 1, 2), problem="regresion")


@pytest.mark.parametrize("given", [{"problem": "regression"}, {"choices": "a,b"}])
def test_settings_without_effect_on_a_task(given):
    ((setting, value),) = given.items()
    with pytest.raises(RecipeError, match=f"{setting} is '{value}' but has no effect: task 'polarity' has rows of its"):
        read_task("polarity", **given)


def test_tasks_of_the_house_are_classification():
    data = TASKS["polarity"]().data(0)
    assert data.problem == "classification"
    # as it was before there were problems: runs that were interrupted go on
    assert data.fingerprint == "a9b8b5108267167ae8c2c47d3a8a3d974ffee94e9f59d8763ae1de9bc98a1b65"


def test_the_fingerprint_of_classification_knows_no_problem():
    data = TaskData("t", ("x",), (Example("a", "x"),), (), {})
    assert data.fingerprint == "bb11e23c3f56acab7545665c40c4c4f50425733c4eb46c16ffc4976b3fc021c3"


def test_the_fingerprint_of_other_problems_knows_all_that_is_read():
    rows = [
        ("token_classification", Example("a b", ("x", "y"), words=("a", "b"))),
        ("token_classification", Example("a b", ("x", "y"), words=("a b",))),
        ("multi_label", Example("a b", ("x", "y"))),
        ("multi_label", Example("a b", ("x",))),
        ("multiple_choice", Example("a b", "0", choices=("x", "y"))),
        ("multiple_choice", Example("a b", "0", choices=("x", "z"))),
        ("regression", Example("a b", 0.0)),
        ("regression", Example("a b", 0.5)),
    ]
    prints = {TaskData("t", (), (row,), (), {}, problem).fingerprint for problem, row in rows}
    assert len(prints) == len(rows)


# Classification


def test_a_number_that_is_no_class_may_be_learned_as_one(tmp_path):
    ways = r"turn the numbers into classes, or predict them as they are with problem=regression$"
    with pytest.raises(DataError, match=ways):
        read_task(with_labels(tmp_path, 1, 0.5))
    with pytest.raises(DataError, match=r"holds nan, which is no class; .* or turn the numbers into classes$"):
        read_task(with_labels(tmp_path, 1, float("nan")))


def test_choices_without_effect(tmp_path):
    with pytest.raises(RecipeError, match="choices is 'a,b' but has no effect: problem=regression has no choices"):
        read_task(with_labels(tmp_path, 1, 2), problem="regression", choices="a,b")


# Multi-label


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([["b", "a"], [], ["b", "b"]], [("a", "b"), (), ("b",)]),
        (["b; a", "", "a"], [("a", "b"), (), ("a",)]),
        (["a|b", "b", "a"], [("a", "b"), ("b",), ("a",)]),
        (["a, b", "b", "a,"], [("a", "b"), ("b",), ("a",)]),
        (["a, b;c", "c", "a, b"], [("a, b", "c"), ("c",), ("a, b",)]),  # the mark of the column, not of the cell
        ([[2, 10], [10], [2.0]], [("10", "2"), ("10",), ("2",)]),
        ([3, "4;3", [4]], [("3",), ("3", "4"), ("4",)]),
    ],
)
def test_sets_of_labels(tmp_path, cells, expected):
    assert labels_of(with_labels(tmp_path, *cells), "multi_label") == expected


def test_sets_of_labels_in_csv_and_parquet(tmp_path):
    csv = write(tmp_path, "a.csv", 'text,label\none,"x,y"\ntwo,\nthree,x\n')
    table = pyarrow.table({"text": ["one", "two", "three"], "label": [["x", "y"], [], ["x"]]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    for path in (csv, str(tmp_path / "a.parquet")):
        assert labels_of(path, "multi_label") == [("x", "y"), (), ("x",)]


def test_sets_of_labels_are_ordered_and_unknown_ones_left_out(in_folder):
    with_labels(in_folder, ["10", "9"], None, ["9"], ["-1"], [])
    data, notes = read_whole("rows.jsonl", "multi_label")
    assert data.labels == ("-1", "9", "10")
    assert [row.row for row in data.train] == [1, 3, 4, 5]
    assert notes[0] == "rows.jsonl: 1 row without a label was left out (first: line 2)"


@pytest.mark.parametrize(
    ("labels", "cells", "expected"),
    [
        (["salt, pepper", "sugar"], ["salt, pepper", "sugar"], [("salt, pepper",), ("sugar",)]),
        (["salt, pepper", "sugar"], ["salt, pepper;sugar"], [("salt, pepper", "sugar")]),
        (["salt", "pepper"], ["salt,pepper", "salt"], [("pepper", "salt"), ("salt",)]),
        (["salt|pepper"], [["salt|pepper"], "salt|pepper"], [("salt|pepper",)] * 2),
        (["0", "1"], ["1.0;0.0"], [("0", "1")]),
    ],
)
def test_sets_of_labels_for_a_model_that_has_them(tmp_path, labels, cells, expected):
    """Cut as its labels want it, whatever other marks are in the column."""
    tests, _ = read_labelled(with_labels(tmp_path, *cells), labels, problem="multi_label")
    assert [row.label for row in tests["test"]] == expected


@pytest.mark.parametrize("labels", [["0", "1"], ["0.0", "1.0"]])
def test_numbers_are_found_among_a_models_labels(tmp_path, labels):
    tests, _ = read_labelled(write(tmp_path, "a.csv", "text,label\na,1.0\nb,0.0\n"), labels, problem="classification")
    assert [row.label for row in tests["test"]] == labels[::-1]


def test_targets_of_sets_of_labels():
    problem = PROBLEMS["multi_label"]()
    targets = problem.targets([Example("t", ("b",)), Example("t", ()), Example("t", ("a", "c"))], ("a", "b", "c"))
    assert targets.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 1]]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([[], "", []], r"column 'label' gives no row a label; allowed: labels in some rows; name another column"),
        ([["x"], [0.5]], r"rows\.jsonl:2: column 'label\[0\]' holds 0\.5, which is no class"),
        ([["x"], [["y"]]], r"rows\.jsonl:2: column 'label\[0\]' holds a list; allowed: text, numbers and null"),
        ([["x"], {"y": 1}], r"rows\.jsonl:2: column 'label' holds a dict; allowed: text, numbers and null"),
        (
            [[f"x{n}", f"y{n}"] for n in range(6)],
            r"has 12 different values in 12 labels given and does not look like a label; allowed: at most 1000, and at "
            r"most half as many as labels given",
        ),
    ],
)
def test_wrong_sets_of_labels(tmp_path, cells, message):
    with pytest.raises(DataError, match=message):
        read_task(with_labels(tmp_path, *cells), problem="multi_label")


def test_one_label_or_none_can_be_learned(tmp_path):
    assert labels_of(with_labels(tmp_path, ["spam"], []), "multi_label") == [("spam",), ()]


# Regression


@pytest.mark.parametrize(
    ("cell", "number"), [(3, 3.0), (-0.5, -0.5), (" 1e-3 ", 0.001), ("+.5", 0.5), ("7.", 7.0), ("-2E2", -200.0)]
)
def test_numbers(tmp_path, cell, number):
    assert labels_of(with_labels(tmp_path, cell, 99), "regression") == [number, 99.0]


def test_numbers_have_no_labels(in_folder):
    with_labels(in_folder, 1, 2, None, " ", 4)
    data, notes = read_task("rows.jsonl", problem="regression")
    assert data.labels == ()
    assert PROBLEMS["regression"]().num_outputs(data.labels) == 1
    assert notes == [
        "rows.jsonl: 2 rows without a label were left out (first: line 3)",
        "rows.jsonl: 3 rows were divided: 1 to train on, 1 for test, 1 for valid (seed 0)",
    ]


@pytest.mark.parametrize("bad", ["many", float("nan"), float("inf"), "nan", "-inf", "1,5", "1_000", True, 1e300])
def test_no_number(tmp_path, bad):
    sentence = (
        rf"rows\.jsonl:2: column 'label' holds '{re.escape(str(bad))}', which is no number to learn; allowed: finite "
        "numbers such as 3 or -0.5, or nothing .* or leave problem=regression out"
    )
    with pytest.raises(DataError, match=sentence):
        read_task(with_labels(tmp_path, 1, bad), problem="regression")


def test_single_number(tmp_path):
    with pytest.raises(DataError, match=r"column 'label' holds a single number, 2\.0; allowed: two or more; add rows"):
        read_task(with_labels(tmp_path, 2, 2.0, "2"), problem="regression")


# Multiple choice


def questions(folder, *rows):
    """Rows of choices and label."""
    return jsonl(folder, *({"text": f"q {n}", "choices": c, "label": label} for n, (c, label) in enumerate(rows)))


@pytest.mark.parametrize(
    ("choices", "label", "index"),
    [
        (["x", "y"], 1, "1"),
        (["x", "y"], 1.0, "1"),
        (["x", "y"], "1", "1"),
        (["x", "y"], " y ", "1"),
        (["x", "y", "z", None], "z", "2"),
        (["20", "30", "40"], "30", "1"),  # no index of three choices
        ([20, 30, 40], 30, "1"),
        (["0", "1"], "1", "1"),  # both ways the same
        (["2", "0", "1"], 2, "2"),  # a number beside texts is an index
        (["x", "x"], "x", "0"),
    ],
)
def test_right_choice(tmp_path, choices, label, index):
    path = questions(tmp_path, (choices, label), (["x", "y"], 0))
    assert labels_of(path, "multiple_choice")[0] == index


def test_choices_in_columns(tmp_path):
    path = write(tmp_path, "a.csv", "text,a,b,c,label\nq,x,y,z,2\nr,x,y,,y\n")
    data, _ = read_whole(path, "multiple_choice", choices="a, b,c")
    assert data.labels == ("0", "1", "2")
    assert [(row.choices, row.label) for row in data.train] == [(("x", "y", "z"), "2"), (("x", "y"), "1")]


def test_choices_in_parquet(tmp_path):
    table = pyarrow.table({"text": ["q", "r"], "options": [["x", "y"], ["u", "v", "w"]], "label": [1, 2]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    path = str(tmp_path / "a.parquet")
    assert labels_of(path, "multiple_choice", choices="options") == ["1", "2"]


def test_a_second_text_begins_each_choice(tmp_path):
    row = {"text_a": "He sat.", "text_b": "Then he", "choices": ["ate.", "slept."], "label": 0}
    path = jsonl(tmp_path, row, {**row, "label": 1})
    data, _ = read_whole(path, "multiple_choice")
    pairs = [("He sat.", "Then he ate."), ("He sat.", "Then he slept.")]
    assert PROBLEMS["multiple_choice"]().inputs(data.train[0]) == pairs


@pytest.mark.parametrize(
    ("choices", "label", "message"),
    [
        (
            ["x", "y"],
            2,
            r":1: column 'label' holds '2', which is none of the 2 choices; allowed: 0 to 1, or the text of",
        ),
        (["x", "y"], -1, r"column 'label' holds '-1', which is none of the 2 choices"),
        (["x", "y"], "A", r"column 'label' holds 'A', which is none of the 2 choices"),
        (["x", "y"], 0.5, r"column 'label' holds '0\.5', which is none of the 2 choices"),
        (["x"], 0, r":1: the number of choices is 1; allowed: 2 or more; add choices, or leave the row out"),
        ([], 0, r"the number of choices is 0"),
        (
            ["x", "", "z"],
            0,
            r":1: choice 1 is empty and a later one is not; allowed: choices with text, counted from 0",
        ),
        (
            ["2", "0", "1"],
            "1",
            r"label '1' is the text of choice 2 and may mean choice 1 as well; allowed: indices that",
        ),
        ([2, 0, 1], 1, r"label '1' is the text of choice 2 and may mean choice 1 as well"),
        ("x,y", 0, r"column 'choices' holds 'x,y' where a list is wanted; allowed: .* name them with choices=A,B,C"),
        ([["x"], "y"], 0, r"column 'choices\[0\]' holds a list; allowed: text, numbers and null"),
    ],
)
def test_wrong_choices(tmp_path, choices, label, message):
    with pytest.raises(DataError, match=message):
        read_task(questions(tmp_path, (choices, label), (["x", "y"], 0)), problem="multiple_choice")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, DataError, r"no column 'choices'; .* name the column of choices with choices=COLUMN, or a column"),
        (
            {"choices": "a,d"},
            DataError,
            r"no column 'd'; known: a, b, label, text; .* or a column for each with choices=A,B,C",
        ),
        ({"choices": "a,b", "label": "b"}, RecipeError, "label is 'b', which is a column of choices too; allowed: ano"),
    ],
)
def test_wrong_columns_of_choices(tmp_path, given, error, message):
    with pytest.raises(error, match=message):
        read_task(write(tmp_path, "a.csv", "text,a,b,label\nq,x,y,0\n"), problem="multiple_choice", **given)


def test_rows_of_nothing_are_left_out_of_training_and_refused_in_prediction(in_folder):
    jsonl(
        in_folder,
        {"text": "q", "choices": ["x", "y"], "label": 0},
        {},
        {"text": "r", "choices": ["x", "y"], "label": 1},
    )
    assert labels_of("rows.jsonl", "multiple_choice") == ["0", "1"]
    with pytest.raises(DataError, match=r"rows\.jsonl:2: the row has neither text nor choices; fill it in, or leave"):
        read_inputs("rows.jsonl", problem="multiple_choice")


# Token classification


def sentences(folder, *rows):
    """Rows of words and tags."""
    return jsonl(folder, *({"text": words, "label": tags} for words, tags in rows))


@pytest.mark.parametrize(
    ("words", "tags"), [(["Ann", "left"], ["B-PER", "O"]), ("Ann left", "B-PER O"), ([" Ann ", "left"], "B-PER  O")]
)
def test_words_and_tags(tmp_path, words, tags):
    path = sentences(tmp_path, (words, tags), (["He", "left"], ["O", "O"]))
    data, _ = read_whole(path, "token_classification")
    assert data.labels == ("B-PER", "O")
    assert data.train[0] == Example("Ann left", ("B-PER", "O"), "", f"{path}:1", words=("Ann", "left"))


def test_tags_that_are_numbers_with_names_in_a_data_set(tmp_path):
    datasets.disable_progress_bars()
    tags = datasets.List(datasets.ClassLabel(names=["O", "B-PER"]))
    features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "ner_tags": tags})
    rows = {"tokens": [["Ann", "left"], ["No"], []], "ner_tags": [[1, 0], [0], []]}
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features)}).save_to_disk(tmp_path / "saved")
    data, notes = read_task(str(tmp_path / "saved"), text="tokens", label="ner_tags", problem="token_classification")
    assert {row.words: row.label for row in (*data.train, *data.tests["test"])} == {
        ("Ann", "left"): ("B-PER", "O"),
        ("No",): ("O",),
    }
    assert "1 row without a text was left out (first: row 3)" in notes[0]


@pytest.mark.parametrize(
    ("words", "tags", "message"),
    [
        (
            ["a", "b"],
            ["O"],
            r"rows\.jsonl:1: 2 words in the text and 1 tags in column 'label'; allowed: as many tags as",
        ),
        (["a", " "], ["O", "O"], r"rows\.jsonl:1: word 2 of 2 is empty; allowed: words with a character; leave it and"),
        (["a", None], ["O", "O"], r"word 2 of 2 is empty"),
        (
            ["a", "b"],
            ["O", None],
            r"rows\.jsonl:1: tag 2 of 2 is empty; allowed: text or whole numbers; fill it in \(O",
        ),
        (["a", "b"], ["O", 0.5], r"column 'label' holds 0\.5, which is no class"),
        (["a", "b"], ["O", float("nan")], r"column 'label' holds nan, which is no class"),
    ],
)
def test_wrong_words_and_tags(tmp_path, words, tags, message):
    with pytest.raises(DataError, match=message):
        read_task(sentences(tmp_path, (words, tags), (["x"], ["B"])), problem="token_classification")


def test_pairs_have_no_tags(tmp_path):
    path = write(tmp_path, "a.csv", "text_a,text_b,label\na,b,O\n")
    with pytest.raises(RecipeError, match="text_b is 'text_b' but problem=token_classification reads one text; leave"):
        read_task(path, problem="token_classification")


def test_words_that_were_cut_off_are_answered_with_nothing():
    problem = PROBLEMS["token_classification"]()
    examples = [Example("a b", "", words=("a", "b"))]
    scores = problem.probabilities(torch.tensor([[0.0, 9], [torch.nan, torch.nan]]).numpy(), examples)
    assert problem.answers(examples, scores, ("O", "B-PER")) == [{"label": "B-PER -", "probability": "0.999877 -"}]


# What they have in common

ONE_LABEL = {
    "classification": {"text": "t", "label": "x"},
    "token_classification": {"text": ["t", "u"], "label": ["x", "x"]},
}
OTHER_LABEL = {
    "classification": "Xx",
    "multi_label": ["xx", "Xx"],
    "token_classification": ["xx", "Xx"],
}


@pytest.mark.parametrize("problem", ONE_LABEL)
def test_single_label(tmp_path, problem):
    with pytest.raises(DataError, match=r"column 'label' holds a single label, 'x'; allowed: two or more; add rows of"):
        read_task(jsonl(tmp_path, *[ONE_LABEL[problem]] * 4), problem=problem)


@pytest.mark.parametrize("problem", OTHER_LABEL)
def test_label_that_training_rows_lack(in_folder, problem):
    label = OTHER_LABEL[problem]
    several = isinstance(label, list)
    known = [{"text": ["t"] if several else "t", "label": [one] if several else one} for one in ("xx", "yy")]
    if problem == "multi_label":
        known = [{**row, "text": "t"} for row in known]
    jsonl(in_folder, *known, name="train.jsonl")
    jsonl(in_folder, {"text": "t u" if problem == "token_classification" else "t", "label": label}, name="test.jsonl")
    message = r"test\.jsonl:1: label 'Xx' does not occur in the training rows; did you mean 'xx'\? Known: xx, yy"
    with pytest.raises(DataError, match=message):
        read_task("train.jsonl", test="test.jsonl", problem=problem)


@pytest.mark.parametrize("problem", sorted(PROBLEMS))
def test_empty_column_of_texts(tmp_path, problem):
    path = jsonl(tmp_path, *[{"text": "", "choices": ["a", "b"], "label": "0"}] * 3)
    with pytest.raises(DataError, match=r"rows\.jsonl: no row has both a text and a label; fill some in"):
        read_task(path, problem=problem)
    with pytest.raises(DataError, match=r"rows\.jsonl: holds no text; allowed: at least one row with text"):
        read_inputs(path, problem=problem)


@pytest.mark.parametrize("problem", sorted(PROBLEMS))
def test_missing_columns(tmp_path, problem):
    path = jsonl(tmp_path, {"text": "t", "choices": ["a", "b"], "label": 0})
    with pytest.raises(DataError, match=r"there is no column 'other'"):
        read_task(path, text_a="text", text_b="other", problem=problem)
    with pytest.raises(DataError, match=r"no column 'score'; .*name the column of labels with label=COLUMN"):
        read_task(path, label="score", problem=problem)


@pytest.mark.parametrize("problem", sorted(PROBLEMS))
def test_single_row(tmp_path, problem):
    path = jsonl(tmp_path, {"text": "t", "choices": ["a", "b"], "label": 0})
    with pytest.raises(DataError, match="holds 1 row with text and label; allowed: 2 or more; add rows"):
        read_task(path, problem=problem)


# To predict from


def test_words_of_lines(tmp_path):
    examples = read_inputs(write(tmp_path, "a.txt", "Ann  left\n\n"), problem="token_classification")
    assert [(row.words, row.text, row.label) for row in examples] == [(("Ann", "left"), "Ann left", ""), ((), "", "")]


def test_lines_have_no_choices(tmp_path):
    with pytest.raises(
        DataError, match=r"a\.txt: lines of text have no choices, which problem=multiple_choice chooses"
    ):
        read_inputs(write(tmp_path, "a.txt", "one\n"), problem="multiple_choice")


def test_choices_to_predict_from(tmp_path):
    path = write(tmp_path, "a.csv", "question,a,b,c\nq,x,y,\n,u,v,w\n")
    examples = read_inputs(path, problem="multiple_choice", text="question", choices=CHOICES)
    assert [(row.text, row.choices) for row in examples] == [("q", ("x", "y")), ("", ("u", "v", "w"))]
    with pytest.raises(
        RecipeError, match="choices is 'a,b,c' but has no effect: problem=classification has no choices"
    ):
        read_inputs(path, text="question", choices=CHOICES)


# Losses


def test_means_are_those_of_stock_models():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=random)
    index = torch.tensor([0, 3, 2, 1, 1, 0])
    chosen = torch.rand(6, 4, generator=random).round()
    tags = torch.tensor([[0, -100, 3], [2, 1, -100]])
    expected = {
        "classification": (logits, index, torch.nn.CrossEntropyLoss()(logits, index)),
        "multi_label": (logits, chosen, torch.nn.BCEWithLogitsLoss()(logits, chosen)),
        "regression": (logits[:, :1], index.float(), torch.nn.MSELoss()(logits[:, 0], index.float())),
        "multiple_choice": (
            logits.reshape(-1, 1),
            torch.stack([index, torch.full_like(index, 4)], 1),
            torch.nn.CrossEntropyLoss()(logits, index),
        ),
        "token_classification": (logits.reshape(2, 3, 4), tags, torch.nn.CrossEntropyLoss()(logits, tags.flatten())),
    }
    for name, (given, targets, mean) in expected.items():
        problem = PROBLEMS[name]()
        found = problem.loss_sum(given, targets) / problem.count(targets.numpy())
        assert found.item() == pytest.approx(mean.item(), rel=1e-6), name


def test_choices_of_other_examples_do_not_matter():
    problem = PROBLEMS["multiple_choice"]()
    logits = torch.tensor([1.0, 2, 3, 5, 7])
    expected = -(logits[:2].log_softmax(0)[1] + logits[2:].log_softmax(0)[0])
    assert problem.loss_sum(logits[:, None], torch.tensor([[1, 2], [0, 3]])).item() == pytest.approx(expected.item())


def test_figures_of_choices():
    problem = PROBLEMS["multiple_choice"]()
    examples = [Example("q", label, choices=tuple("abc"[:size])) for label, size in (("0", 2), ("2", 3), ("2", 3))]
    scores = problem.probabilities(torch.tensor([[3.0], [1], [0], [5], [1], [0], [0], [4]]).numpy(), examples)
    figures = problem.figures(problem.targets(examples, ()), scores, (), 0)
    assert (figures["accuracy"], figures["majority"], figures["n"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3), 3)
    answers = problem.answers(examples, scores, ())
    assert answers[0] == {
        "label": "0", "choice": "a",
        "probability.0": "0.880797", "probability.1": "0.119203", "probability.2": "",
    }  # fmt: skip
