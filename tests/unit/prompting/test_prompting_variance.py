import numpy as np
import pytest

from ptft.errors import DataError
from ptft.prompting.statistics import accuracy_interval, split_variance
from ptft.tasks.metrics import wilson


def hits_of(right):
    """Hits shaped (documents, sets, 1, 1)."""
    return np.asarray(right, float)[:, :, None, None]


def effects(random, shape, *sizes):
    """The sum of one normal effect for each axis and of one of each cell; ``sizes`` are their standard deviations."""
    total = sizes[-1] * random.normal(size=shape)
    for axis, size in enumerate(sizes[:-1]):
        total += size * random.normal(size=[n if place == axis else 1 for place, n in enumerate(shape)])
    return total


def test_two_way_split_is_that_of_the_analysis_of_variance():
    values = effects(np.random.default_rng(0), (30, 4, 1, 1), 1, 0.5, 0, 0, 1)
    found = split_variance(values).components
    table = values[:, :, 0, 0]
    documents = 4 * table.mean(1).var(ddof=1)
    examples = 30 * table.mean(0).var(ddof=1)
    chance = np.square(table - table.mean(0) - table.mean(1)[:, None] + table.mean()).sum() / (29 * 3)
    assert found == pytest.approx({
        "documents": (documents - chance) / 4, "examples": (examples - chance) / 30, "rest": chance
    })  # fmt: skip


def test_four_way_split_has_no_bias():
    random = np.random.default_rng(0)
    sizes = {"documents": 1.0, "examples": 0.7, "order": 0.5, "template": 0.6, "rest": 0.8}
    found = {name: [] for name in sizes}
    for _ in range(600):
        split = split_variance(effects(random, (6, 4, 3, 3), *sizes.values()))
        for name, value in split.components.items():
            found[name].append(0.0 if name in split.negative else value)
    for name, size in sizes.items():
        error = np.std(found[name]) / np.sqrt(600)
        # Cutting at 0 adds a little where the estimate is uncertain.
        assert np.mean(found[name]) == pytest.approx(size**2, abs=4 * error + 0.02)


def test_order_within_each_set_of_shots_counts_as_order():
    random = np.random.default_rng(0)
    values = np.broadcast_to(random.normal(size=(1, 300, 4, 1)), (3, 300, 4, 2)) + 0.0
    found = split_variance(values)
    assert found.components["order"] == pytest.approx(1, abs=0.15)
    assert found.components["rest"] == pytest.approx(0, abs=1e-9)
    assert found.components["examples"] < 0.15


def test_negative_estimates_are_cut_and_named():
    # Both sets are right equally often, less different than chance would have it.
    found = split_variance(hits_of([[1, 0], [0, 1], [1, 0], [0, 1]]))
    assert found.components == {"documents": 0.0, "examples": 0.0, "rest": pytest.approx(2 / 3)}
    assert found.negative == ("documents", "examples")


def test_what_has_one_level_is_left_out():
    values = effects(np.random.default_rng(0), (20, 1, 3, 1), 1, 0, 1, 0, 1)
    assert set(split_variance(values).components) == {"documents", "order", "rest"}
    alone = values[:, :, :1]
    assert split_variance(alone).components == {"documents": pytest.approx(alone.var(ddof=1))}


def test_one_set_of_shots_has_wilsons_interval():
    right = np.arange(80) < 61
    assert accuracy_interval(hits_of(right[:, None])) == pytest.approx((61 / 80, *wilson(61, 80)), abs=1e-12)


@pytest.mark.parametrize("right", [0, 1])
def test_answers_that_are_all_alike_are_worth_their_documents(right):
    mean, low, high = accuracy_interval(hits_of(np.full((50, 4), right)))
    assert mean == right
    assert (low, high) == pytest.approx(wilson(50 * right, 50), abs=1e-9)


def test_sets_that_agree_add_nothing():
    right = (np.arange(100) < 80)[:, None].repeat(5, axis=1)
    assert accuracy_interval(hits_of(right))[1:] == pytest.approx(wilson(80, 100), abs=1e-3)


def test_independent_answers_are_worth_more_than_their_documents():
    right = np.random.default_rng(0).random((500, 8)) < 0.7
    _, low, high = accuracy_interval(hits_of(right))
    few, many = wilson(350, 500), wilson(2800, 4000)
    assert many[1] - many[0] < (high - low) * 1.5 < few[1] - few[0]


def test_sets_of_shots_that_differ_make_it_wide():
    random = np.random.default_rng(0)
    right = random.random((2000, 3)) < [0.5, 0.7, 0.9]
    mean, low, high = accuracy_interval(hits_of(right))
    # Student's t over three sets: 0.7 with 0.2 / sqrt(3) times 4.3.
    assert mean == pytest.approx(0.7, abs=0.02)
    assert low < 0.35
    assert high > 0.9


def test_orders_and_templates_are_averaged():
    random = np.random.default_rng(0)
    hits = (random.random((60, 3, 2, 2)) < 0.7).astype(float)
    averaged = hits.mean((2, 3), keepdims=True)
    assert accuracy_interval(hits) == pytest.approx(accuracy_interval(averaged))


@pytest.mark.parametrize("by_shots", [0.0, 0.06])
@pytest.mark.parametrize("num_sets", [2, 3, 5])
def test_interval_covers_the_truth(num_sets, by_shots):
    random = np.random.default_rng(num_sets)
    inside = 0
    for _ in range(500):
        share = 0.7 + by_shots * random.normal(size=num_sets)
        easy = random.random((150, 1)) < 0.6  # where all sets answer alike
        draws = np.where(easy, random.random((150, 1)), random.random((150, num_sets)))
        _, low, high = accuracy_interval(hits_of(draws < share))
        inside += low <= 0.7 <= high
    assert 0.92 <= inside / 500 <= 0.99


@pytest.mark.parametrize("function", [split_variance, accuracy_interval])
def test_one_document_is_refused(function):
    with pytest.raises(DataError, match="1 document says nothing of how documents vary; ask about at least two"):
        function(np.ones((1, 3, 1, 1)))
