from dataclasses import replace

import numpy as np
import pytest

from ptft.objectives.masking import mask_tokens
from ptft.objectives.rows import Rows

UNKNOWN, CLS, SEP, MASK = 1, 2, 3, 4


def rows_of(lengths, width=None, first_key=0, epoch_keys=(7, 0)):
    """Rows [CLS] ... [SEP] of ordinary ids that tell their place, padded to ``width``."""
    lengths = np.asarray(lengths)
    column = np.arange(width or lengths.max())
    ids = 5 + (column + 13 * (first_key + np.arange(len(lengths))[:, None])) % 990
    ids[:, 0] = CLS
    ids[column == lengths[:, None] - 1] = SEP
    ids[column >= lengths[:, None]] = 0
    return Rows(ids=ids, lengths=lengths, draw_keys=first_key + np.arange(len(lengths)), epoch_keys=epoch_keys)


@pytest.fixture
def mask(vocabulary):
    def call(rows, mask_ratio=0.15, max_predictions=0, replace_ratio=0.8, random_ratio=0.1, vocabulary=vocabulary):
        return mask_tokens(
            rows,
            vocabulary,
            mask_ratio=mask_ratio,
            max_predictions=max_predictions,
            replace_ratio=replace_ratio,
            random_ratio=random_ratio,
        )

    return call


def predictions(masked):
    """Each row's (position, label, id seen instead)."""
    found = []
    for ids, positions, labels in zip(*masked, strict=True):
        used = positions >= 0
        assert (labels[~used] == -100).all()
        columns = positions[used].tolist()
        found.append(list(zip(columns, labels[used].tolist(), ids[columns].tolist(), strict=True)))
    return found


def counts_of(masked):
    return (masked.positions >= 0).sum(1).tolist()


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


def test_rows_without_an_ordinary_token_have_no_prediction(mask):
    rows = rows_of([2, 2])
    masked = mask(rows)
    assert masked.positions.shape == (2, 0)
    assert np.array_equal(masked.ids, rows.ids)


def test_positions_are_distinct_and_in_order(mask):
    masked = mask(rows_of([64] * 50))
    for row in predictions(masked):
        columns = [column for column, _, _ in row]
        assert columns == sorted(set(columns))


def test_labels_are_the_original_ids_and_nothing_else_changes(mask):
    rows = rows_of([40, 64, 3, 17])
    before = rows.ids.copy()
    masked = mask(rows)
    assert np.array_equal(rows.ids, before)
    restored = masked.ids.copy()
    for index, row in enumerate(predictions(masked)):
        for column, label, _ in row:
            assert label == before[index, column]
            restored[index, column] = label
    assert np.array_equal(restored, before)
    assert (masked.ids != before).any()


def test_special_tokens_are_never_predicted_but_the_unknown_one_is(mask):
    rows = rows_of([64] * 200)
    rows.ids[:, 10] = SEP
    rows.ids[:, 20] = MASK
    rows.ids[:, 30] = UNKNOWN
    rows.ids[:, 40] = 0  # a padding id inside the text
    columns = {column for row in predictions(mask(rows, mask_ratio=0.5)) for column, _, _ in row}
    assert columns == set(range(1, 63)) - {10, 20, 40}


def test_every_place_is_chosen_equally_often(mask):
    masked = mask(rows_of([42] * 4000))
    counts = np.bincount(masked.positions.ravel(), minlength=42)[1:41]
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


def test_a_row_alone_is_masked_as_in_any_batch(mask):
    lengths = [64, 12, 3, 33, 64, 50, 9, 20]
    together = predictions(mask(rows_of(lengths)))
    for index, length in enumerate(lengths):
        assert predictions(mask(rows_of([length], first_key=index))) == [together[index]]
    assert predictions(mask(rows_of(lengths[2:5], first_key=2))) == together[2:5]


def test_masking_does_not_depend_on_padding(mask):
    narrow, wide = (mask(rows_of([20, 31, 5], width=width)) for width in (31, 64))
    assert predictions(wide) == predictions(narrow)
    assert np.array_equal(wide.ids[:, :31], narrow.ids)
    assert (wide.ids[:, 31:] == 0).all()


def test_seeds_epochs_and_rows_have_draws_of_their_own(mask):
    def places(**changes):
        return predictions(mask(rows_of([200], **changes)))

    found = [places(), places(epoch_keys=(8, 0)), places(epoch_keys=(7, 1)), places(first_key=990)]
    found = [[column for column, _, _ in row[0]] for row in found]
    assert all(found[a] != found[b] for a in range(4) for b in range(a))
    assert places() == places()
