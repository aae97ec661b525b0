"""``ptft.Classifier`` and ``ptft.Regressor`` among scikit-learn's tools."""

import copy
import csv
import json
import logging

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils import estimator_checks

import ptft
from ptft.errors import CheckpointError, DataError, RecipeError, UserError
from ptft.models.classifier_files import open_classifier

FAST = {"length": 32, "budget": "40steps", "lr": 0.01, "rows_per_step": 16, "threads": 1, "precision": "fp32"}


@pytest.fixture(scope="module")
def rows(labelled_texts):
    """Texts and their labels."""
    return [text for text, _ in labelled_texts], [label for _, label in labelled_texts]


@pytest.fixture(scope="module")
def fast(bert_run):
    return lambda **settings: ptft.Classifier(str(bert_run), **{**FAST, **settings})


@pytest.fixture(scope="module")
def fitted(fast, rows):
    return fast().fit(*rows)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.classifier_.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns_and_is_scored(fitted, rows):
    texts, labels = rows
    assert fitted.classes_.tolist() == ["cold", "warm"]
    assert fitted.score(texts, labels) > 0.9
    shares = fitted.predict_proba(texts)
    assert shares.shape == (len(texts), 2)
    assert shares.sum(1) == pytest.approx(1)
    assert (fitted.classes_[shares.argmax(1)] == fitted.predict(texts)).all()


def test_the_same_seed_gives_the_same_bits(fast, fitted, rows):
    torch.manual_seed(7)
    assert same(weights(fast().fit(*rows)), weights(fitted))
    assert not same(weights(fast(seed=1).fit(*rows)), weights(fitted))


def test_it_is_what_the_command_makes(fast, rows, table, step, bert_run, tmp_path):
    """Of the same rows: those that the command validates and tests with are others."""
    test = tmp_path / "test.csv"
    test.write_bytes(table.read_bytes())
    step("finetune", model=str(bert_run), data=str(table), valid=str(table), test=str(test), out=str(tmp_path / "run"),
         **{name: value for name, value in FAST.items() if name not in ("threads", "precision")})  # fmt: skip
    model = fast().fit(*rows, validation=rows)
    command = open_classifier(tmp_path / "run")
    assert same(weights(model), command.state_dict())
    assert model.classifier_.calibration == command.calibration
    assert model.classifier_.labels == command.labels


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (lambda labels: labels, np.str_),
        (np.array, np.str_),
        (pd.Series, str),
        (lambda labels: [int(label == "warm") for label in labels], np.integer),
        (lambda labels: pd.Series([10 if label == "warm" else 9 for label in labels]), np.integer),
        (lambda labels: np.array([float(label == "warm") for label in labels]), np.floating),
        (lambda labels: [label == "warm" for label in labels], np.bool_),
    ],
)
def test_predictions_are_of_the_labels_type(given, kind, fast, rows):
    labels = given(rows[1])
    model = fast().fit(pd.Series(rows[0]), labels)
    found = model.predict(np.array(rows[0]))
    assert {isinstance(value, kind) for value in found} == {True}
    assert np.mean(found == np.asarray(labels)) > 0.9
    assert model.classes_.tolist() == np.unique(np.asarray(labels)).tolist()


def test_pairs(fast, rows):
    texts, labels = rows
    pairs = [(text, f"it is {label}") for text, label in zip(texts, labels, strict=True)]
    model = fast(policy="frozen", budget="2steps").fit(pairs, labels)
    expected = model.predict_proba(pairs)
    for other in (np.array(pairs), pd.DataFrame(pairs, columns=["a", "b"]), [list(pair) for pair in pairs]):
        assert np.array_equal(model.predict_proba(other), expected)
    assert not np.array_equal(model.predict_proba([(text, "") for text in texts]), expected)
    with pytest.raises(
        DataError, match=r"^texts: the model was fine-tuned on pairs \(a, b\) of texts, and these are sing"
    ):
        model.predict(texts)


# Among scikit-learn's tools


def test_cross_validation(fast, rows):
    scores = cross_val_score(fast(), *rows, cv=3)
    assert len(scores) == 3
    assert scores.mean() > 0.8


def test_search_over_learning_rates(fast, rows):
    search = GridSearchCV(fast(budget="20steps"), {"lr": np.array([1e-6, 1e-2])}, cv=2).fit(*rows)
    assert search.best_params_ == {"lr": 0.01}
    assert search.predict(["red sun summer fire"]).tolist() == ["warm"]


def test_clones_are_not_fitted(fitted):
    twin = clone(fitted)
    assert twin.get_params() == fitted.get_params()
    assert twin.lr == 0.01
    with pytest.raises(NotFittedError):
        twin.predict(["a"])
    assert twin.set_params(lr=0.5, policy="last_k").get_params()["lr"] == 0.5
    assert repr(ptft.Classifier("x", lr=0.1)) == "Classifier(lr=0.1, model='x')"


@pytest.mark.parametrize(
    "name",
    ["estimator_cloneable", "estimator_repr", "estimator_tags_renamed", "valid_tag_types", "no_attributes_set_in_init",
     "do_not_raise_errors_in_init_or_set_params", "get_params_invariance", "set_params", "mixin_order",
     "parameters_default_constructible"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["Classifier", "Regressor"])
def test_checks_of_scikit_learn(name, kind):
    getattr(estimator_checks, f"check_{name}")(kind, getattr(ptft, kind)())


def test_only_errors_of_transformers_are_shown(fast, rows, tmp_path, monkeypatch, capsys):
    """And what the caller has it say elsewhere stays as it is."""
    said = []
    handler = logging.Handler()
    handler.emit = said.append
    logger = transformers.logging.get_logger()
    monkeypatch.setattr(transformers.utils.logging, "_tqdm_active", True)
    monkeypatch.setattr(logger, "handlers", [handler])
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_warning()
    try:
        fast(budget="1steps").fit(*rows).save(tmp_path / "model")
        ptft.Classifier.load(tmp_path / "model")
        assert (said, *capsys.readouterr()) == ([], "", "")
        assert transformers.logging.get_verbosity() == logging.WARNING
        assert transformers.logging.is_progress_bar_enabled()
    finally:
        transformers.logging.set_verbosity(verbosity)


def test_fitting_leaves_settings_and_folders_alone(fast, rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = fast(budget="1steps")
    before = model.get_params()
    assert model.fit(*rows) is model
    assert model.get_params() == before
    assert [*tmp_path.iterdir()] == []


def test_a_fitted_model_can_be_copied(fitted, rows):
    assert np.array_equal(copy.deepcopy(fitted).predict_proba(rows[0]), fitted.predict_proba(rows[0]))


# Files


def test_what_is_saved_is_opened_and_predicts_the_same(fast, rows, tmp_path):
    texts, labels = rows
    noisy = [*labels[:35], *("warm" for _ in labels[35:])]
    model = fast().fit(texts, labels, validation=(texts, noisy))
    assert model.classifier_.calibration.temperature > 1
    model.save(tmp_path / "model")
    opened = ptft.Classifier.load(tmp_path / "model", precision="fp32")
    assert np.array_equal(opened.predict_proba(texts), model.predict_proba(texts))
    assert opened.classes_.tolist() == model.classes_.tolist()
    assert (opened.length_, ptft.Classifier.load(tmp_path / "model", length=16).length_) == (32, 16)
    (tmp_path / "new.csv").write_text("text\n" + "\n".join(texts))
    ptft.predict(model=str(tmp_path / "model"), data=str(tmp_path / "new.csv"), out=str(tmp_path / "out.csv"))
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == model.predict(texts).tolist()
    with pytest.raises(RecipeError, match="model' exists already; name another folder"):
        model.save(tmp_path / "model")


def test_numbers_as_labels_come_back_as_numbers_in_their_order(fast, rows, tmp_path):
    labels = [[10, 9, -2][n % 3] for n in range(len(rows[0]))]
    model = fast(budget="2steps").fit(rows[0], labels)
    model.save(tmp_path / "model")
    names = json.loads((tmp_path / "model" / "head.json").read_text())["labels"]
    assert names == ["-2", "9", "10"]
    opened = ptft.Classifier.load(tmp_path / "model", precision="fp32")
    assert opened.classes_.tolist() == [-2, 9, 10]
    assert np.array_equal(opened.predict_proba(rows[0]), model.predict_proba(rows[0]))


def test_columns_are_sorted_whatever_the_model_has(fitted, rows, tmp_path):
    fitted.save(tmp_path / "model")
    facts = json.loads((tmp_path / "model" / "head.json").read_text())
    (tmp_path / "model" / "head.json").write_text(json.dumps({**facts, "labels": ["zeta", "alpha"]}))
    opened = ptft.Classifier.load(tmp_path / "model", precision="fp32")
    assert opened.classes_.tolist() == ["alpha", "zeta"]
    assert np.array_equal(opened.predict_proba(rows[0]), fitted.predict_proba(rows[0])[:, ::-1])


def test_numbers_are_learned(bert_run, rows, tmp_path):
    texts, labels = rows
    numbers = [70.0 if label == "warm" else 20.0 for label in labels]
    model = ptft.Regressor(str(bert_run), **FAST).fit(texts, numbers)
    assert model.score(texts, numbers) > 0.5
    model.save(tmp_path / "model")
    opened = ptft.Regressor.load(tmp_path / "model", precision="fp32", length=32)
    assert np.array_equal(opened.predict(texts), model.predict(texts))
    with pytest.raises(CheckpointError, match="was fine-tuned for regression, and Classifier is for classification"):
        ptft.Classifier.load(tmp_path / "model")
    with pytest.raises(DataError, match=r"labels\[0\] is 'a', which is no number to learn"):
        model.fit(["x", "y"], ["a", "b"])
    with pytest.raises(DataError, match=r"labels: all are 1\.0; allowed: two different numbers"):
        model.fit(["x", "y"], [1, 1])


# Mistakes


@pytest.mark.parametrize(
    ("texts", "labels", "sentence"),
    [
        ([], [], "texts: there is none; give one text or more"),
        ("a text", ["a"], "texts: str is no list of texts"),
        (iter("ab"), ["a", "b"], "texts: .* is no list of texts"),
        (["a", "b"], ["x"], "2 texts and 1 labels; allowed: one label for each text"),
        (["a", "b"], ["x", "x"], "labels: all are 'x'; allowed: two different ones or more"),
        (["a", None], ["x", "y"], r"texts\[1\] is None; allowed: texts, as the first one is"),
        ([float("nan"), "a"], ["x", "y"], r"texts\[0\] is nan; allowed: texts, or pairs \(a, b\) of texts"),
        ([("a", "b"), "c"], ["x", "y"], r"texts\[1\] is 'c'; allowed: pairs of texts, as the first one is"),
        ([("a", "b", "c"), "c"], ["x", "y"], r"texts\[0\] is \('a', 'b', 'c'\); allowed: texts, or pairs"),
        (["a", "b"], ["x", None], r"labels\[1\] is None, which is no class"),
        (["a", "b", "c"], ["x", "y", np.nan], r"labels\[2\] is nan, which is no class"),
        (["a", "b", "c"], ["x", "y", 3], r"labels\[2\] is 3 and labels\[0\] is 'x': some are text and some are not"),
        (["a", "b"], [1, None], r"labels\[1\] is None, which is no class; allowed: text or whole numbers"),
        (["a", "b"], [0.5, 1.0], r"labels\[0\] is 0\.5, which is no class"),
        (["a", "b"], ["x", " "], r"labels\[1\] is ' ', which is no class"),
        (["a", "b", "c"], ["x", "x ", "y"], r"labels: some differ by spaces only; allowed: 'x', 'y'"),
        (["a", "b"], "xy", r"labels: 'xy' is no list of labels"),
    ],
)
def test_mistakes_in_data(texts, labels, sentence, fast):
    with pytest.raises(DataError, match=sentence):
        fast().fit(texts, labels)


@pytest.mark.parametrize(
    ("validation", "sentence"),
    [
        ((["a"], ["luke"]), r"validation labels\[0\] is 'luke', which no text to train on has.*cold, warm"),
        ((["a"], []), r"1 validation texts and 0 validation labels"),
        (["a", "b"], r"validation is no pair; give \(texts, labels\)"),
    ],
)
def test_mistakes_in_validation(validation, sentence, fast, rows):
    with pytest.raises(DataError, match=sentence):
        fast().fit(*rows, validation=validation)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"lr": -1.0}, r"lr: must be greater than 0, got -1"),
        ({"lr": "fast"}, r"lr: must be a number, got 'fast'"),
        ({"policy": "ful"}, r"policy.*did you mean 'full'\?"),
        ({"budget": "3m"}, r"budget: fine-tuning counts steps or epochs"),
        ({"model": ""}, r"model: name the checkpoint to fine-tune"),
        ({"model": "no/where/at/all"}, r"no/where"),
        ({"length": 1000}, r"length: 1000 tokens are more than the model's 64 positions"),
        ({"lr": object()}, r"lr: a setting must be text, a number"),
    ],
)
def test_mistakes_in_settings_are_told_by_fit(settings, sentence, fast, rows):
    model = fast().set_params(**settings)
    with pytest.raises(UserError, match=sentence):
        model.fit(*rows)


def test_unknown_settings(fast):
    with pytest.raises(RecipeError, match=r"Classifier: unknown setting 'polcy'; did you mean 'policy'\?"):
        ptft.Classifier(polcy="full")
    with pytest.raises(ValueError, match="Invalid parameter 'polcy'"):
        fast().set_params(polcy="full")


def test_nothing_is_predicted_or_saved_before_fit(fast, tmp_path):
    for attempt in (lambda m: m.predict(["a"]), lambda m: m.predict_proba(["a"]), lambda m: m.save(tmp_path / "x")):
        with pytest.raises(NotFittedError):
            attempt(fast())


def test_a_pretrained_model_is_no_classifier(bert_run):
    with pytest.raises(CheckpointError, match="is no classifier; fine-tune it first"):
        ptft.Classifier.load(bert_run)


def test_a_head_is_gone_on_with_by_the_names_of_its_labels(bert_run, labelled_texts, tmp_path):
    texts, labels = map(list, zip(*labelled_texts, strict=True))
    first = ptft.Classifier(str(bert_run), budget="60steps", lr=1e-2, length=32).fit(texts, labels)
    first.save(tmp_path / "first")
    head = tmp_path / "first" / "head.json"
    head.write_text(head.read_text().replace('"cold"', '"x"').replace('"warm"', '"cold"').replace('"x"', '"warm"'))
    again = ptft.Classifier(str(tmp_path / "first"), budget="1steps", lr=1e-9, length=32).fit(texts, labels)
    assert again.classifier_.labels == ("warm", "cold")
    assert again.score(texts, labels) == pytest.approx(1 - first.score(texts, labels))
    with pytest.raises(DataError, match="head=new"):
        ptft.Classifier(str(tmp_path / "first"), length=32).fit(texts, [f"{label}er" for label in labels])


def test_epochs_are_measured_on_rows_that_are_not_trained_on(bert_run, labelled_texts):
    texts, labels = map(list, zip(*labelled_texts, strict=True))
    settings = {"budget": "2epochs", "min_steps": 0, "length": 32, "keep_best": True}
    with pytest.raises(RecipeError, match=r"give validation=\(texts, labels\)"):
        ptft.Classifier(str(bert_run), **settings).fit(texts, labels)
    fitted = ptft.Classifier(str(bert_run), **settings).fit(
        texts[:60], labels[:60], validation=(texts[60:], labels[60:])
    )
    assert len(fitted.predict(texts)) == 80
