"""Packed rows: best-fit placement against brute force, and what moves where."""

import numpy as np
import pytest
import torch

from ptft.errors import DataError
from ptft.models.packing import best_fit, block_mask


def rooms_by_brute_force(lengths, width):
    rooms = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms[rooms.index(min(fitting))] -= length
        else:
            rooms.append(width - length)
    return sorted(rooms)


@pytest.mark.parametrize("seed", range(20))
def test_best_fit_takes_the_row_with_the_least_room(seed):
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, 33, draw.integers(0, 120))
    layout = best_fit(lengths, 32)
    used = np.bincount(layout.row, lengths, minlength=layout.num_rows)
    assert sorted((32 - used).tolist()) == rooms_by_brute_force(lengths.tolist(), 32)


def test_examples_do_not_overlap_and_stay_inside():
    lengths = np.random.default_rng(0).integers(1, 65, 500)
    layout = best_fit(lengths, 64)
    assert (layout.offset + lengths <= 64).all()
    ones = np.ones((500, 64), np.int64)
    assert layout.placed(ones, lengths).sum() == lengths.sum()  # two in one place would leave one of them
    assert layout.row.max() == layout.num_rows - 1


def test_realistic_lengths_leave_under_one_per_cent():
    lengths = np.clip(np.random.default_rng(0).lognormal(4.5, 0.8, 20_000).astype(int), 3, 512)
    layout = best_fit(lengths, 512)
    assert 1 - lengths.sum() / (layout.num_rows * 512) < 0.01
    again = best_fit(lengths, 512)
    assert np.array_equal(layout.row, again.row) and np.array_equal(layout.offset, again.offset)


def test_an_example_that_is_too_long_is_refused():
    with pytest.raises(DataError, match="an example of 9 tokens does not fit a packed row of 8"):
        best_fit([3, 9], 8)


def test_what_lies_where():
    lengths = np.array([2, 5, 3])
    layout = best_fit(lengths, 6)  # 5 alone, then 3 and 2 together
    ids = np.array([[1, 2, 0, 0, 0], [11, 12, 13, 14, 15], [21, 22, 23, 0, 0]])
    assert layout.placed(ids, lengths, 9).tolist() == [[11, 12, 13, 14, 15, 9], [21, 22, 23, 1, 2, 9]]
    assert layout.parts(lengths).tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 2, 2, 0]]
    assert layout.positions(lengths).tolist() == [[0, 1, 2, 3, 4, 0], [0, 1, 2, 0, 1, 0]]
    assert layout.first().tolist() == [9, 0, 6]
    assert layout.moved(np.array([1, 7, 12]), 5).tolist() == [10, 2, 8]


def test_examples_that_see_each_other_are_one_part():
    lengths = np.array([2, 3])
    layout = best_fit(lengths, 6)
    together = type(layout)(layout.row, layout.offset, layout.num_rows, layout.width, together=True)
    assert together.parts(lengths).tolist() == [[1, 1, 1, 1, 1, 0]]
    assert together.positions(lengths).tolist() == [[0, 1, 2, 0, 1, 0]]


def test_no_examples_are_no_rows():
    layout = best_fit([], 8)
    assert layout.num_rows == 0
    assert layout.parts(np.zeros(0, np.int64)).shape == (0, 8)


def seen(**how):
    mask = block_mask(torch.tensor([[1, 1, 1, 2, 2, 0]]), torch.float32, **how)
    assert mask.shape == (1, 1, 6, 6)
    return (mask[0, 0] == 0).int().tolist()


def test_a_token_sees_its_own_part():
    assert seen(causal=False) == [
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]
    assert seen(causal=True)[2:5] == [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 1, 0]]
    assert seen(causal=False, window=1)[0] == [1, 1, 0, 0, 0, 0]
    assert seen(causal=True, window=1)[2] == [0, 1, 1, 0, 0, 0]
