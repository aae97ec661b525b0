"""TF-IDF with logistic regression, and the most frequent label."""

import numpy as np
import pytest

from ptft.finetuning.baselines import INVERSE_PENALTIES, MostFrequent, TfidfRegression
from ptft.tasks.task import Example

LABELS = ("cold", "warm")


def rows(*texts):
    """Rows from texts such as ``cold: ice and snow``; a bar stands between the texts of a pair."""
    found = []
    for text in texts:
        label, _, rest = text.partition(": ")
        first, _, second = rest.partition(" | ")
        found.append(Example(first, label, second))
    return found


def share(predicted, examples):
    return np.mean(predicted == [LABELS.index(row.label) for row in examples])


def test_words_that_tell_labels_apart_are_learned(labelled_texts):
    examples = [Example(text, label) for text, label in labelled_texts]
    fitted = TfidfRegression(examples[:40], examples[40:60], LABELS)
    assert share(fitted.predict(examples[60:]), examples[60:]) > 0.9
    assert fitted.valid_accuracy == share(fitted.predict(examples[40:60]), examples[40:60])
    assert fitted.inverse_penalty in INVERSE_PENALTIES


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (("cold: 겨울에는 눈이", "warm: 여름에는 해가"), ("cold: 겨울이", "warm: 여름을")),  # an unseen ending
        (("cold: 冬天下雪", "warm: 夏天很热"), ("cold: 大雪", "warm: 热水")),  # no spaces
        (("cold: :(", "warm: :)"), ("cold: :(", "warm: :)")),  # no letters
        (("cold: a b", "warm: b a"), ("cold: x a b", "warm: x b a")),  # order alone
    ],
)
def test_scripts(train, test):
    examples = rows(*train)
    predicted = TfidfRegression(examples, examples, LABELS).predict(rows(*test))
    assert predicted.tolist() == [0, 1]


def test_the_texts_of_a_pair_are_told_apart():
    train = rows("cold: ice | fire", "warm: fire | ice", "cold: snow | sun", "warm: sun | snow")
    fitted = TfidfRegression(train, train, LABELS)
    assert fitted.predict(rows("cold: ice | sun", "warm: sun | ice")).tolist() == [0, 1]


def test_the_smallest_of_equally_good_penalties_and_no_chance():
    train = rows("cold: ice", "warm: fire") * 3
    first, second = (TfidfRegression(train, train, LABELS) for _ in range(2))
    assert first.inverse_penalty == INVERSE_PENALTIES[0]
    assert first.predict(train).tolist() == second.predict(train).tolist()


def test_rows_of_one_label_have_one_answer():
    fitted = TfidfRegression(rows("warm: fire"), rows("warm: sun", "cold: ice"), LABELS)
    assert fitted.predict(rows("cold: ice", "warm: fire")).tolist() == [1, 1]
    assert (fitted.valid_accuracy, fitted.inverse_penalty) == (0.5, 0)


@pytest.mark.parametrize(
    ("train", "answer"),
    [(("warm: a", "cold: b", "warm: c"), 1), (("warm: a", "cold: b"), 0)],  # equally often: the first label
)
def test_most_frequent_label(train, answer):
    assert MostFrequent(rows(*train), LABELS).predict(rows("cold: x", "warm: y")).tolist() == [answer, answer]
