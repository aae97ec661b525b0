from collections import Counter

import pytest

from ptft.errors import DataError
from ptft.prompting import choose_shots
from ptft.prompting.shots import shot_order
from ptft.tasks.task import Example

LABELS = ("x", "y", "z")
POOL = [Example(f"text {i}", LABELS[i % 3]) for i in range(60)]


@pytest.mark.parametrize("k", range(12))
def test_fewer_shots_begin_more_shots(k):
    assert choose_shots(POOL, LABELS, 12, seed=3)[:k] == choose_shots(POOL, LABELS, k, seed=3)


def test_shots_are_pinned():
    assert [shot.text for shot in choose_shots(POOL, LABELS, 4, seed=1)] == ["text 50", "text 22", "text 3", "text 39"]


def test_seeds_give_different_shots():
    chosen = {tuple(shot.text for shot in choose_shots(POOL, LABELS, 4, seed)) for seed in range(20)}
    assert len(chosen) == 20


@pytest.mark.parametrize("seed", range(5))
def test_every_label_has_its_share(seed):
    for k in (3, 6, 30):
        assert set(Counter(shot.label for shot in choose_shots(POOL, LABELS, k, seed)).values()) == {k // 3}


def test_the_order_of_labels_is_drawn_anew_in_each_round():
    ordered = shot_order(POOL, LABELS, seed=0)
    assert len({tuple(e.label for e in ordered[i : i + 3]) for i in range(0, 60, 3)}) > 2


def test_every_example_has_the_same_chance_to_be_first():
    first = Counter(choose_shots(POOL, LABELS, 1, seed)[0].text for seed in range(1200))
    assert len(first) == 60
    assert max(first.values()) < 42 and min(first.values()) > 2  # 20 expected, standard deviation 4.5


def test_a_label_that_has_run_out_is_passed_over():
    pool = [Example("a", "x"), *(Example(f"b{i}", "y") for i in range(5))]
    assert Counter(shot.label for shot in choose_shots(pool, LABELS, 6, seed=0)) == {"x": 1, "y": 5}


def test_the_order_of_the_pool_does_not_matter():
    assert choose_shots(POOL[::-1], LABELS, 9, seed=2) == choose_shots(POOL, LABELS, 9, seed=2)


def test_copies_count_once():
    assert choose_shots(POOL * 3, LABELS, 20, seed=2) == choose_shots(POOL, LABELS, 20, seed=2)


@pytest.mark.parametrize("place", [0, 1, 3])
def test_the_evaluated_document_is_replaced_by_the_next_in_order(place):
    ordered = shot_order(POOL, LABELS, seed=5)
    copy = Example(ordered[place].text, "another label", where="test.csv:9")
    shots = choose_shots(POOL, LABELS, 4, seed=5, evaluated=copy)
    assert shots == [*ordered[:place], *ordered[place + 1 : 5]]


def test_a_pair_is_the_same_document_only_if_both_texts_are():
    pool = [Example("a", "x", text_b="1"), Example("a", "y", text_b="2")]
    assert [s.text_b for s in choose_shots(pool, LABELS, 1, 0, evaluated=pool[0])] == ["2"]


def test_too_few_examples_are_counted():
    with pytest.raises(DataError, match="61 shots are asked for but there are only 60 distinct examples"):
        choose_shots(POOL, LABELS, 61, seed=0)
    with pytest.raises(DataError, match="60 shots are asked for but there are only 59 distinct examples"):
        choose_shots(POOL, LABELS, 60, seed=0, evaluated=POOL[7])


def test_an_unknown_label_is_named_with_its_place():
    pool = [*POOL, Example("more", "xx", where="shots.csv:4")]
    with pytest.raises(DataError, match=r"shots.csv:4: unknown label 'xx'; did you mean 'x'"):
        choose_shots(pool, LABELS, 2, seed=0)
