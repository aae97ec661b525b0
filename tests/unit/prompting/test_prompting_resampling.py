import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from ptft import rng
from ptft.prompting.statistics import bootstrap
from ptft.tasks.metrics import classification_figures

SCORES = {
    "accuracy": accuracy_score,
    "mcc": matthews_corrcoef,
    "f1": f1_score,
    "macro_f1": lambda *labels: f1_score(*labels, average="macro"),
}


def answers(num_labels, num_documents=80, seed=0):
    random = np.random.default_rng(seed)
    gold = random.integers(0, num_labels, num_documents)
    guess = random.integers(0, num_labels, num_documents)
    return gold, np.where(random.random(num_documents) < 0.6, gold, guess)


@pytest.mark.parametrize("name", SCORES)
def test_figures_are_those_of_scikit_learn_on_the_same_draws(name):
    gold, predicted = answers(2)
    found = bootstrap(gold, predicted, 2, seed=3, num_resamples=150)[name]
    drawn = rng.integers(80, rng.key_of("bootstrap"), 3, np.arange(150)[:, None], np.arange(80))
    values = [SCORES[name](gold[rows], predicted[rows]) for rows in drawn]
    assert found.value == pytest.approx(SCORES[name](gold, predicted), abs=1e-12)
    assert [found.low, found.high] == pytest.approx(np.percentile(values, (2.5, 97.5)), abs=1e-12)
    assert found.stderr == pytest.approx(np.std(values, ddof=1), abs=1e-12)


def test_the_short_bootstrap_of_a_task_is_the_beginning_of_this_one():
    gold, predicted = answers(4)
    found = bootstrap(gold, predicted, 4, seed=1, num_resamples=1000)
    figures = classification_figures(gold, predicted, 4, seed=1)
    for name in ("macro_f1", "mcc"):
        short = [figures[name], figures[f"{name}_low"], figures[f"{name}_high"]]
        assert [found[name].value, found[name].low, found[name].high] == short


def test_the_error_of_an_accuracy_is_that_of_a_share():
    gold, predicted = answers(3, 200)
    found = bootstrap(gold, predicted, 3, seed=0)["accuracy"]
    assert found.stderr == pytest.approx((found.value * (1 - found.value) / 200) ** 0.5, rel=0.01)


def test_f1_is_told_of_two_labels_alone():
    assert set(bootstrap(*answers(2), 2, seed=0, num_resamples=10)) == {"accuracy", "mcc", "macro_f1", "f1"}
    assert set(bootstrap(*answers(3), 3, seed=0, num_resamples=10)) == {"accuracy", "mcc", "macro_f1"}


def test_f1_without_its_label_is_nothing():
    nothing = np.zeros(5, int)
    assert bootstrap(nothing, nothing, 2, seed=0, num_resamples=10)["f1"].value == 0


@pytest.mark.parametrize(("documents", "predictions", "resamples"), [(0, 0, 10), (3, 2, 10), (3, 3, 1)])
def test_what_cannot_be_resampled_is_refused(documents, predictions, resamples):
    message = f"{resamples} resamples of {documents} true labels and {predictions} predicted ones"
    with pytest.raises(ValueError, match=message):
        bootstrap(np.zeros(documents, int), np.zeros(predictions, int), 2, seed=0, num_resamples=resamples)
