"""Figures of problems beside scikit-learn, scipy and the rules of CoNLL."""

import math

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, root_mean_squared_error

from ptft.tasks.chunks import chunks, tags_entities
from ptft.tasks.multi_label_metrics import multi_label_figures
from ptft.tasks.regression_metrics import correlation, fisher, ranks, regression_figures
from ptft.tasks.tagging_metrics import tagging_figures


def label_sets(share_right, seed=0, shape=(200, 5)):
    random = np.random.default_rng(seed)
    gold = (random.random(shape) < 0.3).astype(int)
    return gold, np.where(random.random(shape) < share_right, gold, random.integers(0, 2, shape))


@pytest.mark.parametrize("share_right", [0.0, 0.5, 0.9, 1.0])
def test_label_sets_score_as_in_scikit_learn(share_right):
    gold, predicted = label_sets(share_right)
    figures = multi_label_figures(gold, predicted, seed=0)
    for average in ("micro", "macro"):
        expected = f1_score(gold, predicted, average=average, zero_division=0)
        assert figures[f"{average}_f1"] == pytest.approx(expected, abs=1e-12)
    assert figures["exact_match"] == accuracy_score(gold, predicted)
    assert figures["n"] == 200


def test_label_that_no_row_has_counts_as_zero():
    gold = np.array([[1, 0, 0], [0, 1, 0]])
    figures = multi_label_figures(gold, gold, seed=0)
    assert (figures["micro_f1"], figures["macro_f1"]) == (1, pytest.approx(2 / 3))
    assert figures["macro_f1"] <= figures["macro_f1_high"]


def test_no_label_anywhere_scores_zero():
    figures = multi_label_figures(np.zeros((4, 2), int), np.zeros((4, 2), int), seed=0)
    assert (figures["micro_f1"], figures["low"], figures["high"], figures["exact_match"]) == (0, 0, 0, 1)


def test_resampling_label_sets_agrees_with_resampling_the_rows_themselves():
    gold, predicted = label_sets(0.6)
    figures = multi_label_figures(gold, predicted, seed=0)
    random = np.random.default_rng(1)
    draws = (random.integers(0, 200, 200) for _ in range(300))
    values = [f1_score(gold[rows], predicted[rows], average="micro") for rows in draws]
    assert [figures["low"], figures["high"]] == pytest.approx(np.percentile(values, (2.5, 97.5)), abs=0.02)


@pytest.mark.parametrize(("shape", "other"), [((0, 2), (0, 2)), ((3, 2), (2, 2))])
def test_label_sets_must_fit(shape, other):
    with pytest.raises(ValueError, match="rows of the same are needed"):
        multi_label_figures(np.zeros(shape, int), np.zeros(other, int), 0)


@pytest.mark.parametrize("noise", [0.0, 0.3, 5.0])
def test_numbers_score_as_in_scipy(noise):
    random = np.random.default_rng(0)
    gold = np.round(random.normal(size=80), 1)  # with ties
    predicted = 3 * gold + noise * np.round(random.normal(size=80), 1) + 2
    figures = regression_figures(gold, predicted, seed=0)
    pearson = scipy.stats.pearsonr(gold, predicted)
    assert figures["pearson"] == pytest.approx(pearson.statistic)
    assert figures["spearman"] == pytest.approx(scipy.stats.spearmanr(gold, predicted).statistic)
    assert figures["rmse"] == pytest.approx(root_mean_squared_error(gold, predicted))
    interval = pearson.confidence_interval(0.95)
    assert (figures["low"], figures["high"]) == pytest.approx((interval.low, interval.high))


def test_ranks_are_those_of_scipy():
    numbers = np.array([3.0, 1, 3, 2, 3, -1])
    assert ranks(numbers).tolist() == scipy.stats.rankdata(numbers).tolist()


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e-30])
def test_a_constant_prediction_gets_no_correlation(constant):
    gold = np.array([1.0, 2, 4, 7, 9])
    figures = regression_figures(gold, np.full(5, constant), seed=0)
    assert figures["pearson"] == figures["spearman"] == 0
    assert figures["low"] < 0 < figures["high"]
    assert regression_figures(gold, np.full(5, gold.mean()), seed=0)["rmse"] == pytest.approx(gold.std())


def test_tiny_numbers_correlate_as_others():
    assert correlation(np.array([1e-200, 2e-200, 4e-200]), np.array([1.0, 2, 4])) == pytest.approx(1)


def test_interval_of_spearman_is_wider_than_fishers():
    # Bonett and Wright 2000: z = 0.5493, its error sqrt((1 + 0.5**2 / 2) / 25)
    low, high = fisher(0.5, 28, 1 + 0.5**2 / 2)
    half = 1.959964 * math.sqrt(1.125 / 25)
    assert (math.atanh(low), math.atanh(high)) == pytest.approx((0.549306 - half, 0.549306 + half), abs=1e-5)
    assert low < fisher(0.5, 28)[0]


def test_three_pairs_say_nothing_of_a_correlation():
    assert fisher(1.0, 3) == (-1, 1)
    assert fisher(1.0, 4) == (1, 1)


def test_numbers_must_fit():
    with pytest.raises(ValueError, match="3 true numbers and 2 predicted ones"):
        regression_figures(np.zeros(3), np.zeros(2), 0)


# What conlleval and seqeval 1.2 in its default mode find, worked out by hand from the rules of start and end.
ENTITIES = [
    ("B-PER I-PER O B-LOC", {("PER", 0, 2), ("LOC", 3, 4)}),
    ("I-PER I-PER O I-LOC", {("PER", 0, 2), ("LOC", 3, 4)}),  # IOB1, and IOB2 without a beginning
    ("I-PER B-PER I-PER", {("PER", 0, 1), ("PER", 1, 3)}),  # IOB1: B- parts neighbours
    ("B-PER I-LOC I-LOC", {("PER", 0, 1), ("LOC", 1, 3)}),  # another type begins
    ("B-PER B-PER", {("PER", 0, 1), ("PER", 1, 2)}),
    ("B-PER I-PER E-PER S-LOC O", {("PER", 0, 3), ("LOC", 3, 4)}),  # BIOES
    ("B-PER E-PER E-PER", {("PER", 0, 2), ("PER", 2, 3)}),  # an end behind an end
    ("E-PER I-PER", {("PER", 0, 1), ("PER", 1, 2)}),
    ("S-PER I-PER", {("PER", 0, 1), ("PER", 1, 2)}),
    ("I-PER S-PER I-PER", {("PER", 0, 1), ("PER", 1, 2), ("PER", 2, 3)}),
    ("B-PER I-PER L-PER U-LOC", {("PER", 0, 3), ("LOC", 3, 4)}),  # BILOU
    ("B-a-b I-a-b I-a", {("a-b", 0, 2), ("a", 2, 3)}),
    ("O X B-PER X I-PER", {("PER", 2, 3), ("PER", 4, 5)}),
    ("O O", set()),
    ("", set()),
]


@pytest.mark.parametrize(("tags", "expected"), ENTITIES)
def test_entities(tags, expected):
    assert chunks(tags.split()) == expected


def ends(before, kind_before, tag, kind):
    """Whether an entity ends behind a word: endOfChunk of conlleval.pl, with its single tags of seqeval."""
    if before == "O":
        return False
    return before in "ES" or tag in "BSO" or kind != kind_before


def starts(before, kind_before, tag, kind):
    """Whether one begins at a word: startOfChunk."""
    if tag == "O":
        return False
    return tag in "BS" or before in "ESO" or kind != kind_before


def test_entities_are_those_of_the_script_that_scored_conll():
    random = np.random.default_rng(0)
    for _ in range(500):
        tags = [str(random.choice(["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y", "E-Y"])) for _ in range(8)]
        pairs = [tag.partition("-")[::2] for tag in [*tags, "O"]]
        expected, begin, before = set(), 0, ("O", "")
        for place, pair in enumerate(pairs):
            if ends(*before, *pair):
                expected.add((before[1], begin, place))
            if starts(*before, *pair):
                begin = place
            before = pair
        assert chunks(tags) == expected, tags


@pytest.mark.parametrize(
    ("labels", "expected"),
    [("O B-PER I-PER", True), ("O I-PER", True), ("A B I O", False), ("NOUN VERB", False), ("BIN IN O", False)],
)
def test_which_tags_mark_entities(labels, expected):
    assert tags_entities(labels.split()) == expected


def tagged(labels, *sentences):
    return [np.array([labels.index(tag) for tag in sentence.split()], int) for sentence in sentences]


LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]


def test_entities_score_as_in_the_example_of_seqeval():
    # https://github.com/chakki-works/seqeval, README: precision = recall = F1 = 0.5, accuracy = 0.8
    gold = tagged(LABELS, "O O O B-MISC I-MISC I-MISC O", "B-PER I-PER O")
    predicted = tagged(LABELS, "O O B-MISC I-MISC I-MISC I-MISC O", "B-PER I-PER O")
    figures = tagging_figures(gold, predicted, LABELS, seed=0)
    assert (figures["precision"], figures["recall"], figures["f1"]) == (0.5, 0.5, 0.5)
    assert figures["token_accuracy"] == pytest.approx(0.8)
    assert figures["n"] == 2


def test_entities_by_hand():
    # Given: PER 0-2, LOC 3-4; LOC 1-3. Predicted: PER 0-2, PER 3-4; LOC 1-2; PER 0-1. One of 4 is right, of 3 found.
    gold = tagged(LABELS, "B-PER I-PER O B-LOC", "O B-LOC I-LOC", "O")
    predicted = tagged(LABELS, "B-PER I-PER O I-PER", "O B-LOC O", "I-PER")
    figures = tagging_figures(gold, predicted, LABELS, seed=0)
    assert (figures["precision"], figures["recall"]) == (pytest.approx(1 / 4), pytest.approx(1 / 3))
    assert figures["f1"] == pytest.approx(2 / 7)
    assert figures["token_accuracy"] == pytest.approx(5 / 8)
    assert figures["low"] <= figures["f1"] <= figures["high"]


def test_words_that_were_cut_off_are_wrong_and_outside():
    gold = tagged(LABELS, "B-PER O O B-LOC")
    figures = tagging_figures(gold, [np.array([1, 0, -1, -1])], LABELS, seed=0)
    assert (figures["precision"], figures["recall"], figures["token_accuracy"]) == (1, 0.5, 0.5)


def test_no_entity_anywhere_scores_zero():
    gold = tagged(LABELS, "O O", "O")
    figures = tagging_figures(gold, gold, LABELS, seed=0)
    assert (figures["f1"], figures["low"], figures["high"], figures["token_accuracy"]) == (0, 0, 0, 1)


def test_sentences_without_entities_do_not_push_the_interval_down():
    gold = tagged(LABELS, "B-PER O", "O O")
    figures = tagging_figures(gold, gold, LABELS, seed=0)
    assert (figures["f1"], figures["low"], figures["high"]) == (1, 1, 1)


@pytest.mark.parametrize("share_right", [0.0, 0.7, 1.0])
def test_plain_tags_score_as_in_scikit_learn(share_right):
    random = np.random.default_rng(0)
    gold = [random.integers(0, 4, size) for size in random.integers(1, 9, 60)]
    predicted = [np.where(random.random(len(g)) < share_right, g, random.integers(0, 4, len(g))) for g in gold]
    figures = tagging_figures(gold, predicted, ["A", "B", "C", "D", "E"], seed=0)
    flat = np.concatenate(gold), np.concatenate(predicted)
    assert figures["f1"] == pytest.approx(f1_score(*flat, labels=range(5), average="macro", zero_division=0))
    assert figures["token_accuracy"] == pytest.approx(accuracy_score(*flat))
    assert "precision" not in figures


def test_one_word_entities_score_as_words_in_scikit_learn():
    random = np.random.default_rng(0)
    labels = ["O", "B-A", "B-B"]
    gold = [random.integers(0, 3, 6) for _ in range(50)]
    predicted = [np.where(random.random(6) < 0.6, g, random.integers(0, 3, 6)) for g in gold]
    figures = tagging_figures(gold, predicted, labels, seed=0)
    flat = np.concatenate(gold), np.concatenate(predicted)
    for name, score in {"precision": precision_score, "recall": recall_score, "f1": f1_score}.items():
        assert figures[name] == pytest.approx(score(*flat, labels=[1, 2], average="micro"))
        prefix = "" if name == "f1" else f"{name}_"
        assert figures[f"{prefix}low"] < figures[name] < figures[f"{prefix}high"]


def test_tags_must_fit():
    with pytest.raises(ValueError, match="1 and 1 sentences: one prediction for each word is needed"):
        tagging_figures(tagged(LABELS, "O O"), tagged(LABELS, "O"), LABELS, 0)
