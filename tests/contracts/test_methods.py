"""What every scoring method keeps to."""

import numpy as np
import pytest

from ptft.prompting.method import Answers, Asked
from ptft.prompting.methods import METHODS
from ptft.prompting.template import Template
from ptft.tasks.task import Example

LABELS = ("bad", "good", "so-so")
TEMPLATE = Template("Review: {text}\nSentiment:")
EXAMPLE = Example("a joy", "good")
SHOTS = (Example("dull", "bad"),)
ASKED = Asked(TEMPLATE.item(EXAMPLE, LABELS, SHOTS), TEMPLATE, EXAMPLE, SHOTS, LABELS)


def answers(name, shift=0.0):
    draws = np.random.default_rng(0)
    wanted = METHODS[name]().wants(ASKED)
    references = {name: draws.uniform(-9, -1, (5, 3, len(wanted[0])))} if wanted else {}
    lengths = {unit: draws.integers(1, 9, (5, 3)) for unit in ("characters", "bytes", "tokens")}
    return Answers(draws.uniform(-9, -1, (5, 3)) + shift, lengths, references)


@pytest.mark.parametrize("name", METHODS)
def test_a_score_for_each_choice(name):
    method = METHODS[name]()
    assert method.applies(ASKED) and method.summary
    scores = method.scores(answers(name))
    assert scores.shape == (5, 3) and np.isfinite(scores).all()


@pytest.mark.parametrize("name", METHODS)
def test_it_wants_as_much_for_each_choice(name):
    wanted = METHODS[name]().wants(ASKED)
    assert not wanted or (len(wanted) == 3 and len({len(pairs) for pairs in wanted}) == 1)
    assert all(continuation.strip() for pairs in wanted for _, continuation in pairs)


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"channel"}))
def test_a_more_probable_choice_scores_higher(name):
    before, after = answers(name), answers(name, shift=np.eye(5, 3))
    gains = METHODS[name]().scores(after) - METHODS[name]().scores(before)
    assert (gains[np.arange(3), np.arange(3)] > 0).all()


@pytest.mark.parametrize("name", METHODS)
def test_without_a_template_it_says_whether_it_applies(name):
    method = METHODS[name]()
    assert method.applies(Asked(ASKED.item)) is not (method.needs_template or method.needs_labels)
