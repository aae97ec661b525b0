import itertools
import random

import numpy as np
import pytest
from scipy.stats import chisquare, kstest

from ptft import rng


def test_same_values_on_every_machine():
    assert rng.bits().tolist() == 0
    assert rng.bits(0).tolist() == 16294208416658607535
    assert rng.bits(1, 2, 3).tolist() == 7041752555471512236
    assert rng.uniform(7, np.arange(3)).tolist() == [0.9665256214154557, 0.01937248834995653, 0.14522744210764305]
    assert rng.integers(1000, 7, np.arange(6)).tolist() == [966, 19, 145, 516, 421, 4]
    assert rng.permuted(np.arange(10), 10, 5, 1).tolist() == [1, 7, 3, 2, 9, 0, 6, 5, 4, 8]
    assert rng.key_of("weights") == 5140061634306607032
    assert [rng.Stream(3, 4).random(), rng.Stream(3, 4).randint(1, 6)] == [0.40295324339182903, 3]


def test_first_word_is_that_of_splitmix64():
    def splitmix64(state):
        word = (state + 0x9E3779B97F4A7C15) % 2**64
        word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
        return word ^ word >> 31

    keys = [0, 1, 12345, 2**63]
    assert [int(rng.bits(key)) for key in keys] == [splitmix64(key) for key in keys]


def test_keys_broadcast_and_each_draw_stands_alone():
    rows, columns = np.arange(5)[:, None], np.arange(7)
    table = rng.uniform(11, rows, 3, columns)
    assert table.shape == (5, 7)
    for row, column in itertools.product(range(5), range(7)):
        assert float(rng.uniform(11, row, 3, column)) == table[row, column]


@pytest.mark.parametrize("draw", [rng.bits, rng.uniform, lambda *keys: rng.integers(9, *keys)])
def test_scalars_give_arrays_without_an_axis(draw):
    assert isinstance(draw(1, 2), np.ndarray)
    assert draw(1, 2).shape == ()


def test_order_and_number_of_keys_matter():
    words = {int(rng.bits(*keys)) for keys in [(1, 2), (2, 1), (1, 2, 0), (0, 1, 2), (1,), (2,)]}
    assert len(words) == 6


@pytest.mark.parametrize("keys", [(0,), (1, 0), (0, 0, 7), (2**62, 3)])
def test_uniform_is_uniform(keys):
    values = rng.uniform(*keys, np.arange(20_000))
    assert values.min() >= 0 and values.max() < 1
    assert chisquare(np.histogram(values, 100, (0, 1))[0]).pvalue > 1e-4
    assert kstest(values, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbouring_keys_give_uniform_and_unrelated_draws(axis):
    keys = np.zeros((3, 20_001), np.int64)
    keys[axis] = np.arange(20_001)
    values = rng.uniform(*keys)
    cells = np.histogram2d(values[1:], values[:-1], bins=10, range=((0, 1), (0, 1)))[0]
    assert chisquare(cells.ravel()).pvalue > 1e-4


@pytest.mark.parametrize("high", [1, 2, 7, 1000, 30_522])
def test_integers_are_uniform_below_high(high):
    values = rng.integers(high, 5, np.arange(50_000))
    assert values.dtype == np.int64
    assert values.min() >= 0 and values.max() < high
    bins = min(high, 100)
    sizes = np.bincount(np.arange(high) * bins // high)
    seen = np.bincount(values * bins // high, minlength=bins)
    assert high == 1 or chisquare(seen, sizes / high * 50_000).pvalue > 1e-4


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 255, 256, 257, 1000, 4096, 4097, 70_001])
def test_permuted_is_a_bijection(size):
    for key in range(3):
        assert np.array_equal(np.sort(rng.permuted(np.arange(size), size, key)), np.arange(size))


def test_permuted_takes_any_part_and_shape():
    whole = rng.permuted(np.arange(1000), 1000, 4, 2)
    part = np.array([[3, 999], [500, 3]])
    assert np.array_equal(rng.permuted(part, 1000, 4, 2), whole[part])
    assert int(rng.permuted(17, 1000, 4, 2)) == whole[17]
    assert rng.permuted(np.arange(0), 1000, 4).shape == (0,)


def test_permuted_leaves_no_trace_of_the_order():
    size, keys = 100, 400
    places = np.stack([rng.permuted(np.arange(size), size, key) for key in range(keys)])
    for index in (0, 1, 50, 99):  # where one index goes over many keys
        assert chisquare(np.bincount(places[:, index] // 10, minlength=10)).pvalue > 1e-4
    steps = (places[:, 1:] - places[:, :-1]) % size  # how far neighbours come apart; 0 cannot be
    assert chisquare(np.bincount(steps.ravel(), minlength=size)[1:]).pvalue > 1e-4


def test_permuted_by_other_keys_is_another_order():
    orders = {tuple(rng.permuted(np.arange(30), 30, seed, epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_key_of_is_a_key():
    keys = [rng.key_of(text) for text in ("", "a", "b", "ab", "가", "weights")]
    assert len(set(keys)) == 6
    assert all(0 <= key < 2**63 for key in keys)


def test_stream_is_the_same_again_and_independent_of_its_use():
    first, second = rng.Stream(1, 2), rng.Stream(1, 2)
    values = [first.random() for _ in range(200)]  # beyond what is drawn ahead at once
    assert values == [second.random() for _ in range(200)]
    assert values == rng.uniform(1, 2, np.arange(200)).tolist()
    assert rng.Stream(1, 3).random() != values[0]


@pytest.mark.parametrize(("low", "high"), [(0, 0), (1, 6), (-3, 3), (2, 125)])
def test_stream_integers_reach_both_ends_and_no_further(low, high):
    stream = rng.Stream(9)
    values = [stream.randint(low, high) for _ in range(40 * (high - low + 1))]
    assert set(values) == set(range(low, high + 1))


def test_stream_randint_stays_inside_at_the_largest_draw():
    class Highest(rng.Stream):
        def random(self):
            return 1 - 2.0**-53

    for size in [1, 2, 3, 5, 7, 1000, 30_522, 2**31 - 1, 2**40 + 1]:
        assert Highest(0).randint(0, size - 1) == size - 1


def test_stream_shuffles_to_every_order_equally_often():
    counts = dict.fromkeys(itertools.permutations("abc"), 0)
    for key in range(1200):
        letters = list("abc")
        rng.Stream(key).shuffle(letters)
        counts[tuple(letters)] += 1
    assert chisquare(list(counts.values())).pvalue > 1e-4


def test_global_generators_are_left_alone():
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    rng.Stream(1).shuffle([1, 2, 3])
    rng.uniform(1, np.arange(9))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002
