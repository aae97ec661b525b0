import gzip
import json
import random
from dataclasses import replace
from math import comb
from pathlib import Path

import numpy as np
import pytest

from ptft.objectives.masking import mask_by_reference, mask_tokens
from ptft.objectives.policies import POLICIES
from ptft.objectives.policies.policy import Candidates
from ptft.objectives.policies.span import Span
from ptft.objectives.policies.token import Token
from ptft.objectives.policies.whole_word import WholeWord
from ptft.objectives.rows import Rows, Vocabulary

UNKNOWN, CLS, SEP, MASK = 1, 2, 3, 4
GOLDEN = Path(__file__).parents[2] / "golden" / "bert_reference_instances.json.gz"


def rows_of(lengths, width=None, first_key=0, epoch_keys=(7, 0)):
    """Rows [CLS] ... [SEP] of ordinary ids that tell their place, padded; two ids of three begin a word."""
    lengths = np.asarray(lengths)
    column = np.arange(width or lengths.max())
    ids = 5 + (column + 13 * (first_key + np.arange(len(lengths))[:, None])) % 990
    ids[:, 0] = CLS
    ids[column == lengths[:, None] - 1] = SEP
    ids[column >= lengths[:, None]] = 0
    keys = first_key + np.arange(len(lengths))
    return Rows(ids=ids, lengths=lengths, draw_keys=keys, epoch_keys=epoch_keys, starts=ids % 3 != 0)


@pytest.fixture
def mask(vocabulary):
    def call(rows, policy=None, vocabulary=vocabulary, mask_ratio=0.15, **settings):
        return mask_tokens(rows, vocabulary, policy or Token(), mask_ratio=mask_ratio, **settings)

    return call


@pytest.fixture(params=sorted(POLICIES))
def policy(request):
    return POLICIES[request.param]()


def predictions(masked):
    """Each row's (position, label, id seen instead)."""
    found = [[] for _ in masked.ids]
    width = masked.ids.shape[1]
    for place, label in zip(masked.positions.tolist(), masked.labels.tolist(), strict=True):
        found[place // width].append((place % width, label, int(masked.ids.flat[place])))
    return found


def counts_of(masked):
    return [len(row) for row in predictions(masked)]


@pytest.mark.parametrize("mask_ratio", [0.15, 0.25, 0.3, 0.5])
def test_exactly_the_rounded_share_is_predicted(mask, mask_ratio):
    lengths = range(3, 129)
    expected = [min(length - 2, max(1, round(length * mask_ratio))) for length in lengths]
    assert counts_of(mask(rows_of(list(lengths)), mask_ratio=mask_ratio)) == expected


@pytest.mark.parametrize(
    ("length", "number"), [(3, 1), (10, 2), (30, 4), (50, 8), (70, 10), (90, 14), (128, 19), (512, 77)]
)
def test_halves_are_rounded_as_python_does(mask, length, number):
    assert counts_of(mask(rows_of([length]))) == [number] == [max(1, round(length * 0.15))]


def test_max_predictions_limits_a_row(mask):
    assert counts_of(mask(rows_of([10, 100, 300]), max_predictions=12)) == [2, 12, 12]


def test_never_more_than_there_is(mask):
    assert counts_of(mask(rows_of([3, 6]), mask_ratio=0.99)) == [1, 4]


def test_rows_without_an_ordinary_token_have_no_prediction(mask, policy):
    rows = rows_of([2, 2])
    masked = mask(rows, policy)
    assert len(masked.positions) == len(masked.labels) == 0
    assert np.array_equal(masked.ids, rows.ids)


def test_positions_are_distinct_and_in_order(mask, policy):
    masked = mask(rows_of([64] * 50), policy)
    for row in predictions(masked):
        columns = [column for column, _, _ in row]
        assert columns == sorted(set(columns))


def test_labels_are_the_original_ids_and_nothing_else_changes(mask, policy):
    rows = rows_of([40, 64, 3, 17])
    before = rows.ids.copy()
    masked = mask(rows, policy)
    assert np.array_equal(rows.ids, before)
    restored = masked.ids.copy()
    for index, row in enumerate(predictions(masked)):
        for column, label, _ in row:
            assert label == before[index, column]
            restored[index, column] = label
    assert np.array_equal(restored, before)
    assert (masked.ids != before).any()


def test_special_tokens_are_never_predicted_but_the_unknown_one_is(mask, policy):
    rows = rows_of([64] * 200)
    rows.ids[:, 10] = SEP
    rows.ids[:, 20] = MASK
    rows.ids[:, 30] = UNKNOWN
    rows.ids[:, 40] = 0  # a padding id inside the text
    columns = {column for row in predictions(mask(rows, policy, mask_ratio=0.5)) for column, _, _ in row}
    assert columns == set(range(1, 63)) - {10, 20, 40}


def test_every_place_is_chosen_equally_often(mask):
    masked = mask(rows_of([42] * 4000))
    counts = np.bincount(masked.positions % 42, minlength=42)[1:41]
    share = 6 / 40
    assert abs(counts - 4000 * share).max() < 4.5 * np.sqrt(4000 * share * (1 - share))


@pytest.mark.parametrize(
    ("replace_ratio", "random_ratio"), [(0.8, 0.1), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (0.5, 0.3)]
)
def test_shares_of_what_is_seen_instead(mask, replace_ratio, random_ratio):
    masked = mask(rows_of([66] * 2000), replace_ratio=replace_ratio, random_ratio=random_ratio)
    flat = [entry for row in predictions(masked) for entry in row]
    number = len(flat)
    assert number == 2000 * 10
    replaced = sum(seen == MASK for _, _, seen in flat)
    kept = sum(seen == label for _, label, seen in flat)
    chance = 1 / 995  # of drawing the token itself
    for found, share in [
        (replaced, replace_ratio),
        (kept, 1 - replace_ratio - random_ratio + random_ratio * chance),
        (number - replaced - kept, random_ratio * (1 - chance)),
    ]:
        assert abs(found - number * share) <= 3 * np.sqrt(number * share * (1 - share)) + 1e-6


@pytest.mark.parametrize(("replace_ratio", "random_ratio"), [(0.0, 1.0), (0.5, 0.5)])
def test_random_tokens_are_uniform_and_never_special(mask, vocabulary, replace_ratio, random_ratio):
    narrow = replace(vocabulary, size=25, special=vocabulary.special[:25])
    rows = rows_of([66] * 1000)
    rows.ids[rows.ids >= 5] = 24
    masked = mask(rows, replace_ratio=replace_ratio, random_ratio=random_ratio, vocabulary=narrow)
    drawn = [seen for row in predictions(masked) for _, _, seen in row if seen != MASK]
    counts = np.bincount(drawn, minlength=25)
    assert (counts[:5] == 0).all()
    expected = 10_000 * random_ratio / 20
    assert abs(counts[5:] - expected).max() < 4 * np.sqrt(expected)


def test_a_row_alone_is_masked_as_in_any_batch(mask, policy):
    lengths = [64, 12, 3, 33, 64, 50, 9, 20]
    together = predictions(mask(rows_of(lengths), policy))
    for index, length in enumerate(lengths):
        assert predictions(mask(rows_of([length], first_key=index), policy)) == [together[index]]
    assert predictions(mask(rows_of(lengths[2:5], first_key=2), policy)) == together[2:5]


def test_masking_does_not_depend_on_padding(mask, policy):
    narrow, wide = (mask(rows_of([20, 31, 5], width=width), policy) for width in (31, 64))
    assert predictions(wide) == predictions(narrow)
    assert np.array_equal(wide.ids[:, :31], narrow.ids)
    assert (wide.ids[:, 31:] == 0).all()


def test_seeds_epochs_and_rows_have_draws_of_their_own(mask, policy):
    def places(**changes):
        return predictions(mask(rows_of([200], **changes), policy))

    found = [places(), places(epoch_keys=(8, 0)), places(epoch_keys=(7, 1)), places(first_key=990)]
    found = [[column for column, _, _ in row[0]] for row in found]
    assert all(found[a] != found[b] for a in range(4) for b in range(a))
    assert places() == places()


# words


def words_chosen(rows, masked):
    """For each row, the words as column ranges and whether all, some or none of their tokens are predicted."""
    found = []
    for index, row in enumerate(predictions(masked)):
        chosen = {column for column, _, _ in row}
        begins = [c for c in range(1, rows.lengths[index] - 1) if rows.starts[index, c] or c == 1]
        words = [range(a, b) for a, b in zip(begins, [*begins[1:], rows.lengths[index] - 1], strict=True)]
        found.append([(word, len(chosen.intersection(word))) for word in words])
    return found


def test_whole_words_are_predicted_whole_and_as_many_as_fit(mask):
    rows = rows_of([64] * 300)
    for row in words_chosen(rows, mask(rows, WholeWord())):
        assert all(number in (0, len(word)) for word, number in row)
        total = sum(number for _, number in row)
        left_out = [len(word) for word, number in row if not number]
        assert total <= 10 < total + min(left_out)


def test_every_word_of_a_size_is_chosen_equally_often(mask):
    rows = rows_of([42] * 4000)
    rows.ids[:] = rows.ids[:1]
    rows.starts[:] = rows.starts[:1]
    counts = {1: {}, 2: {}}  # a long word is rarer, since it has to fit at the end
    for row in words_chosen(rows, mask(rows, WholeWord())):
        for word, number in row:
            of_size = counts[len(word)]
            of_size[word.start] = of_size.get(word.start, 0) + (number > 0)
    for of_size in counts.values():
        found = np.array(list(of_size.values()))
        share = found.mean() / 4000
        assert len(found) > 10
        assert abs(found - found.mean()).max() < 4.5 * np.sqrt(4000 * share * (1 - share))


def test_a_token_after_a_special_one_joins_the_word_before_it_as_in_the_reference(mask, vocabulary):
    ids = np.array([[CLS, 10, 11, SEP, 12, 13, SEP]])
    starts = np.array([[False, True, True, False, False, True, False]])
    rows = Rows(ids=ids, lengths=np.array([7]), draw_keys=np.array([0]), epoch_keys=(0, 0), starts=starts)
    chosen = set()
    for key in range(200):
        rows.draw_keys = np.array([key])
        chosen.add(tuple(column for column, _, _ in predictions(mask(rows, WholeWord(), mask_ratio=0.3))[0]))
    assert chosen == {(1, 5), (2, 4)}


@pytest.mark.parametrize("policy", [WholeWord(), Span()])
def test_policies_of_words_refuse_rows_without_them(mask, policy):
    with pytest.raises(RuntimeError, match="do not say where words begin"):
        mask(replace(rows_of([20]), starts=None), policy)


def spans_of(columns):
    """Lengths of runs of neighbouring columns."""
    breaks = np.flatnonzero(np.diff(columns) != 1)
    return np.diff([-1, *breaks, len(columns) - 1]).tolist()


def test_spans_of_single_token_words_have_the_lengths_of_the_paper(mask):
    rows = rows_of([512] * 300)
    rows.starts[:] = True
    masked = mask(rows, Span(), mask_ratio=0.02)  # so few that spans seldom touch; about 3 a row, of which one is cut
    lengths = [length for row in predictions(masked) for length in spans_of([column for column, _, _ in row])]
    assert counts_of(masked) == [10] * 300
    assert max(lengths) <= 10
    uncut = mask(rows, Span(max_words=3, p=1e-9), mask_ratio=0.02)
    lengths = [length for row in predictions(uncut) for length in spans_of([column for column, _, _ in row])]
    shares = np.bincount(lengths, minlength=4)[1:4] / len(lengths)
    assert shares == pytest.approx([1 / 3] * 3, abs=0.12)


def test_span_lengths_are_geometric_and_cut_at_ten():
    rows = np.ones((200, 100), bool)
    keys = np.arange(200)
    lengths = Span()._lengths(Candidates(rows, rows, keys, keys, (0, 0)))
    expected = 0.2 * 0.8 ** np.arange(10)
    expected /= expected.sum()
    found = np.bincount(lengths.ravel(), minlength=11)[1:]
    number = lengths.size
    assert (abs(found - number * expected) <= 3.5 * np.sqrt(number * expected * (1 - expected))).all()
    assert lengths.mean() == pytest.approx(3.8, abs=0.05)  # section 3.1 of the paper


def test_spans_begin_at_words_and_all_but_the_last_end_at_them(mask):
    rows = rows_of([64] * 300)
    for index, row in enumerate(predictions(mask(rows, Span()))):
        columns = [column for column, _, _ in row]
        assert len(columns) == 10
        inside = [c for c in columns if not rows.starts[index, c] and c - 1 not in columns and c > 1]
        assert inside == []
        ends = [c for c in columns if c + 1 not in columns and c + 1 < 63 and not rows.starts[index, c + 1]]
        assert len(ends) <= 1


def test_what_is_seen_is_drawn_once_for_a_span(mask):
    rows = rows_of([512] * 300)
    rows.starts[:] = True
    fates = {"mask": 0, "kept": 0, "random": 0, "mixed": 0}
    for row in predictions(mask(rows, Span(), mask_ratio=0.01)):
        by_column = {
            column: "mask" if seen == MASK else "kept" if seen == label else "random" for column, label, seen in row
        }
        runs = np.split(sorted(by_column), np.flatnonzero(np.diff(sorted(by_column)) != 1) + 1)
        for run in runs:
            seen = {by_column[column] for column in run.tolist()}
            fates[seen.pop() if len(seen) == 1 else "mixed"] += 1
    total = sum(fates.values())
    assert fates["mixed"] < 0.04 * total  # two spans that touch
    assert fates["mask"] / total == pytest.approx(0.8, abs=0.05)
    assert fates["kept"] / total == pytest.approx(0.1, abs=0.04)


# how many


@pytest.mark.parametrize("ratio", [0.15, 0.4])
def test_bernoulli_draws_each_token_and_may_choose_none(mask, policy, ratio):
    rows = rows_of([7] * 3000)
    rows.starts[:] = True
    counts = np.array(counts_of(mask(rows, policy, mask_ratio=ratio, selection="bernoulli")))
    for k in range(6):
        share = comb(5, k) * ratio**k * (1 - ratio) ** (5 - k)
        assert abs((counts == k).sum() - 3000 * share) <= 3.5 * np.sqrt(3000 * share * (1 - share)) + 1


# the published rules


@pytest.fixture(scope="module")
def golden():
    with gzip.open(GOLDEN, "rt") as file:
        return json.load(file)


@pytest.mark.parametrize("whole_word", [False, True])
def test_every_masking_of_the_reference(golden, whole_word):
    ids = {token: number for number, token in enumerate(golden["vocab"])}
    special = np.array([token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") for token in golden["vocab"]])
    specials = {name: ids[f"[{name.upper()}]"] for name in ("cls", "sep", "pad", "mask")}
    vocabulary = Vocabulary(len(ids), eos=-1, unknown=ids["[UNK]"], special=special, **specials)
    cases = [case for case in golden["masks"] if case["whole_word"] == whole_word]
    assert len(cases) == 120
    for case in cases:
        row = [ids[token] for token in case["input"]]
        masked = mask_by_reference(
            row,
            [not token.startswith("##") for token in case["input"]],
            vocabulary,
            random.Random(case["seed"]),
            whole_word=whole_word,
            mask_ratio=case["masked_lm_prob"],
            max_predictions=case["max_predictions_per_seq"],
        )
        assert [golden["vocab"][number] for number in masked.ids[0]] == case["output"]
        assert masked.positions.tolist() == case["positions"]
        assert [golden["vocab"][number] for number in masked.labels] == case["labels"]
