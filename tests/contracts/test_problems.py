"""What every problem promises; a new file in ``ptft/tasks/problems`` needs rows here, and is covered."""

import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from ptft.errors import DataError
from ptft.tasks.problems import PROBLEMS
from ptft.tasks.table import read_inputs, read_task, subset

TAGS = ["B-PER O O", "O B-LOC I-LOC O", "O O B-LOC", "B-PER I-PER O B-LOC"]
ROWS = {
    "classification": [{"text": f"text {n}", "label": "abc"[n % 3]} for n in range(30)],
    "multi_label": [{"text": f"text {n}", "label": ["x"] * (n % 2) + ["y"] * (n % 3 > 0)} for n in range(30)],
    "regression": [{"text": f"text {n}", "label": n * n / 7 - 20} for n in range(30)],
    "multiple_choice": [
        {"text": f"question {n}", "choices": list("abcde")[: 2 + n % 4], "label": n % 2} for n in range(30)
    ],
    "token_classification": [
        {"text": [f"w{n}{at}" for at in range(len(TAGS[n % 4].split()))], "label": TAGS[n % 4].split()}
        for n in range(30)
    ],
}
UNITS = {"text": lambda example: 1, "choice": lambda e: len(e.choices), "word": lambda e: len(e.words)}


def one_hot(index, size):
    return np.where(np.arange(size) == np.asarray(index)[..., None], 40.0, -40.0)


SURE = {  # logits that leave no doubt, made from targets and the number of outputs
    "classification": one_hot,
    "multi_label": lambda targets, size: 80 * targets - 40,
    "regression": lambda targets, size: targets[:, None],
    "multiple_choice": lambda targets, size: np.concatenate([one_hot(i, n)[:, None] for i, n in targets]),
    "token_classification": lambda targets, size: np.concatenate([one_hot(tags, size) for tags in targets]),
}


class Case:
    """A problem with the examples of a table."""

    def __init__(self, name, path):
        assert name in ROWS, f"give problem {name!r} rows, and logits that leave no doubt"
        self.path = path
        self.problem = PROBLEMS[name]()
        self.data, _ = read_task(path, problem=name)
        self.labels = self.data.labels
        self.examples = self.data.train
        self.targets = self.problem.targets(self.examples, self.labels)
        self.num_outputs = self.problem.num_outputs(self.labels)
        self.sure = SURE[name](self.targets, self.num_outputs)

    def ends(self):
        return np.cumsum([UNITS[self.problem.unit](example) for example in self.examples])

    def noise(self, seed=0):
        return np.random.default_rng(seed).normal(size=(self.ends()[-1], self.num_outputs))

    def loss(self, logits, start=0, stop=None):
        """The loss and the count of examples start to stop."""
        first, last = (0, *self.ends())[start], self.ends()[stop - 1 if stop else -1]
        targets = self.problem.targets(self.examples[start:stop], self.labels)
        targets = np.concatenate(targets) if isinstance(targets, list) else targets
        logits = torch.tensor(logits[first:last], dtype=torch.float32, requires_grad=True)
        return self.problem.loss_sum(logits, torch.from_numpy(targets)), self.problem.count(targets), logits

    def figures(self, logits, seed=0):
        scores = self.problem.probabilities(logits, self.examples)
        return self.problem.figures(self.targets, scores, self.labels, seed)

    def answers(self, logits):
        scores = self.problem.probabilities(logits, self.examples)
        return self.problem.answers(self.examples, scores, self.labels)


@pytest.fixture(params=sorted(PROBLEMS))
def case(request, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS.get(request.param, [])))
    return Case(request.param, str(path))


def test_it_says_what_it_is(case):
    assert case.problem.summary and case.problem.unit in UNITS
    assert len(case.sure) == case.ends()[-1] and case.sure.shape[1] == case.num_outputs
    assert case.data.problem == case.problem.name


def test_the_loss_is_a_finite_sum_in_fp32_with_gradients(case):
    loss, count, logits = case.loss(case.noise())
    loss.backward()
    assert loss.shape == () and loss.dtype == torch.float32
    assert 0 < loss < math.inf and count > 0
    assert torch.isfinite(logits.grad).all() and logits.grad.abs().sum(1).all()
    half = case.problem.loss_sum(
        logits.detach().bfloat16(), torch.from_numpy(np.concatenate(case.targets)) if isinstance(case.targets, list)
        else torch.from_numpy(case.targets)
    )  # fmt: skip
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(loss.item(), rel=0.02)


@pytest.mark.parametrize("size", [1, 5])
def test_batching_does_not_change_the_loss(case, size):
    logits = case.noise()
    loss, count, _ = case.loss(logits)
    starts = range(0, len(case.examples), size)
    parts = [case.loss(logits, start, min(start + size, len(case.examples))) for start in starts]
    assert sum(part[1] for part in parts) == count
    torch.testing.assert_close(sum(part[0] for part in parts), loss, rtol=1e-5, atol=1e-4)


def test_no_doubt_about_the_right_answer_costs_nothing(case):
    assert case.loss(case.sure)[0].item() == pytest.approx(0, abs=1e-6)


def test_a_perfect_prediction_scores_one(case):
    figures = case.figures(case.sure)
    assert figures[case.problem.metric] == pytest.approx(1, abs=1e-12)
    assert figures["n"] == len(case.examples)


def test_intervals_hold_their_values(case):
    for logits in (case.noise(), case.sure, case.sure + 60 * case.noise()):
        figures = case.figures(logits)
        assert {type(value) for value in figures.values()} <= {int, float}
        assert all(math.isfinite(value) for value in figures.values())
        assert figures["low"] <= figures[case.problem.metric] <= figures["high"]
        for name in [name.removesuffix("_low") for name in figures if name.endswith("_low")]:
            assert figures[f"{name}_low"] <= figures[name] <= figures[f"{name}_high"]


def test_the_same_seed_gives_the_same_figures(case):
    assert case.figures(case.noise(), 3) == case.figures(case.noise(), 3)


def test_answers_to_no_doubt_are_the_labels(case):
    def told(label):
        return ";".join(label) if case.problem.name == "multi_label" else " ".join(label)

    labels = [told(e.label) if isinstance(e.label, tuple) else e.label for e in case.examples]
    answers = [row["label"] for row in case.answers(case.sure)]
    if case.problem.name == "regression":
        assert list(map(float, answers)) == pytest.approx(labels, rel=1e-5)
    else:
        assert answers == labels


def test_sure_answers_are_no_mistakes(case):
    scores = case.problem.probabilities(case.sure, case.examples)
    found = case.problem.mistakes(case.examples, scores, case.labels)
    assert [mistake for mistake in found if mistake.size > 1e-4] == []
    pairs = case.problem.confused(case.targets, scores)
    assert pairs.shape == (len(pairs), 2)
    assert (pairs[:, 0] == pairs[:, 1]).all()


def test_mistakes_are_answers_that_are_not_the_label(case):
    scores = case.problem.probabilities(case.noise(), case.examples)
    found = case.problem.mistakes(case.examples, scores, case.labels)
    places = [example.where for example in case.examples]
    assert found
    assert all(mistake.given != mistake.predicted and mistake.size > 0 for mistake in found)
    assert [places.index(mistake.where) for mistake in found] == sorted(places.index(m.where) for m in found)
    pairs = case.problem.confused(case.targets, scores)
    if len(pairs):
        assert (pairs[:, 0] != pairs[:, 1]).sum() == len(found)
        assert pairs.min() >= 0 and pairs.max() < len(case.labels)


def test_answers_have_the_same_columns(case):
    rows = case.answers(case.noise())
    assert len(rows) == len(case.examples)
    assert len({tuple(row) for row in rows}) == 1
    assert next(iter(rows[0])) == "label"
    assert {type(cell) for row in rows for cell in row.values()} == {str}


def test_a_model_reads_each_unit_once(case):
    inputs = [pair for example in case.examples for pair in case.problem.inputs(example)]
    expected = case.ends()[-1] if case.problem.unit == "choice" else len(case.examples)
    assert len(set(inputs)) == expected
    assert all(text for text, _ in inputs)


def test_what_is_predicted_from_is_what_was_learned_from(case):
    examples = read_inputs(case.path, problem=case.problem.name)
    by_place = {example.where: example for example in examples}
    assert len(by_place) == 30
    assert all(by_place[example.where] == replace(example, label="") for example in case.examples)


def test_each_row_is_in_one_part(case):
    sizes = len(case.data.train), len(case.data.valid), len(case.data.tests["test"])
    assert sizes == (24, 3, 3)
    everything = [*case.data.train, *case.data.valid, *case.data.tests["test"]]
    assert len({example.where for example in everything}) == 30


def test_subsets_are_nested(case):
    small, large = subset(case.data, 6, seed=1), subset(case.data, 18, seed=1)
    assert small.train == large.train[:6]
    assert len({example.where for example in large.train}) == 18
    assert subset(case.data, 18, seed=2).train != large.train
    if case.problem.name == "classification":
        assert set(Counter(example.label for example in small.train).values()) == {2}


def test_more_labelled_rows_than_there_are(case):
    with pytest.raises(DataError, match="25 labelled rows are wanted of rows; allowed: 1 to 24, the number of its"):
        subset(case.data, 25, 0)


def test_the_fingerprint_is_that_of_the_rows(case):
    again, _ = read_task(case.path, problem=case.problem.name)
    assert again.fingerprint == case.data.fingerprint
    other = replace(case.data, train=(*case.data.train[:-1], replace(case.data.train[0], row=0)))
    assert other.fingerprint != case.data.fingerprint
