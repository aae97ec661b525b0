"""How examples are packed where best fit alone leaves padding: single texts are cut, few of them and losing nothing."""

import numpy as np
import pytest

from ptft.models.packing import best_fit
from ptft.objectives.frames import Continued, Enclosed
from ptft.objectives.packed_plan import pack


def texts(lengths):
    """One after the other in a store."""
    stop = np.cumsum(lengths)
    return np.stack([stop - lengths, stop, stop, stop, np.zeros_like(stop)], 1)


def check(pairs, layout, frame, width):
    """Nothing overlaps or sticks out."""
    lengths = frame.lengths(pairs)
    assert (layout.offset + lengths <= width).all()
    ones = np.ones((len(lengths), width), np.int64)
    assert layout.placed(ones, lengths).sum() == lengths.sum()
    assert set(layout.row.tolist()) == set(range(layout.num_rows))
    return 1 - lengths.sum() / (layout.num_rows * width)


@pytest.mark.parametrize("frame", [Continued(), Enclosed(single_texts=True)])
def test_texts_that_fit_nowhere_are_cut(frame):
    draw = np.random.default_rng(0)
    given = texts(np.concatenate([draw.integers(130, 160, 300), np.full(2000, 256 - frame.num_special)]))
    assert check(given, best_fit(frame.lengths(given), 256), frame, 256) > 0.04
    pairs, layout = pack(given, frame, 256)
    assert check(pairs, layout, frame, 256) < 0.0065
    assert len(given) < len(pairs) < len(given) + 300
    order = np.argsort(pairs[:, 0])
    assert pairs[order[0], 0] == 0 and pairs[order[-1], 1] == given[-1, 1]
    assert np.array_equal(pairs[order[1:], 0], pairs[order[:-1], 1]), "every token once"
    assert (pairs[:, 1] > pairs[:, 0]).all()
    assert frame.lengths(pairs).max() == 256


def test_texts_that_fit_are_left_whole():
    given = texts(np.random.default_rng(0).integers(5, 200, 3000))
    pairs, layout = pack(given, Continued(), 256)
    assert pairs is given
    assert check(pairs, layout, Continued(), 256) < 0.005


@pytest.mark.parametrize("lengths", [[129], [129, 129], [250, 250], [256, 256], [3, 3], [129, 130, 131]])
def test_few_texts(lengths):
    for frame in (Continued(), Enclosed(single_texts=True)):
        given = texts(np.minimum(lengths, 256 - frame.num_special))
        pairs, layout = pack(given, frame, 256)
        check(pairs, layout, frame, 256)
        assert (pairs[:, 1] - pairs[:, 0]).sum() == given[-1, 1]


def test_pairs_are_never_cut():
    stop = np.arange(1, 101) * 140
    given = np.stack([stop - 140, stop - 70, stop - 70, stop, np.ones_like(stop)], 1)
    pairs, layout = pack(given, Enclosed(), 256)
    assert pairs is given and layout.num_rows == 100
