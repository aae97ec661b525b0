"""Records averaged over seeds, and the tables made of them."""

import pytest

from ptft.report.curves import label_rows, ordered_methods, points, shot_rows


def record(**changes):
    return {
        "task": "topic", "test": "test", "method": "pretrained", "labels": 16, "seed": 0,
        "value": 0.7, "low": 0.65, "high": 0.75, **changes,
    }  # fmt: skip


def test_five_seeds_give_their_mean_and_students_interval():
    rows = [
        record(seed=seed, value=value, low=value, high=value) for seed, value in enumerate([0.5, 0.6, 0.7, 0.8, 0.9])
    ]
    [point] = points(rows, "labels")
    assert (point.x, point.num_seeds) == (16, 5)
    assert point.mean == pytest.approx(0.7)
    assert (point.low, point.high) == pytest.approx((0.7 - 0.19633, 0.7 + 0.19633), abs=1e-3)


def test_the_interval_is_never_narrower_than_that_of_a_single_result():
    [point] = points([record(seed=seed, value=1.0, low=0.96, high=1.0) for seed in range(5)], "labels")
    assert (point.low, point.high) == pytest.approx((0.96, 1.0))


def test_templates_are_averaged_within_a_seed():
    rows = [record(seed=0, value=0.2), record(seed=0, value=0.4), record(seed=1, value=0.5)]
    [point] = points(rows, "labels")
    assert point.num_seeds == 2
    assert point.mean == pytest.approx(0.4)


def test_records_without_numbers_are_left_out():
    rows = [record(value=None), record(value=float("nan")), record(labels="all"), record(value=True)]
    assert points(rows, "labels") == []


def test_a_record_without_interval_has_none():
    [point] = points([{"labels": 4, "value": 0.5}], "labels")
    assert (point.low, point.high) == (0.5, 0.5)


def test_pretrained_and_scratch_come_first():
    names = ["lora", "scratch", "pretrained", "frozen"]
    assert ordered_methods([{"method": name} for name in names]) == ["pretrained", "scratch", "lora", "frozen"]


def test_the_label_table_says_what_pretraining_bought():
    table = label_rows([record(), record(method="scratch", value=0.4, low=0.35, high=0.45), record(labels=1024)])
    assert table == [
        ["task", "test set", "labels", "pretrained", "scratch", "pretrained - scratch"],
        ["topic", "test", "16", "0.700 (0.650 to 0.750)", "0.400 (0.350 to 0.450)", "+0.300"],
        ["topic", "test", "1,024", "0.700 (0.650 to 0.750)", "", ""],
    ]


def test_the_label_table_says_how_many_runs_failed():
    rows = [record(seed=seed, failed=seed > 0) for seed in range(3)] + [record(method="scratch", failed=False)]
    assert label_rows(rows)[1][3] == "0.700 (0.650 to 0.750), 2 of 3 failed"
    assert label_rows(rows)[1][4] == "0.700 (0.650 to 0.750)"


def test_the_label_table_has_no_gain_without_scratch():
    assert label_rows([record()])[0] == ["task", "test set", "labels", "pretrained"]


def test_the_shot_table_has_a_column_for_each_k():
    rows = [{"task": "a", "method": "m", "k": k, "seed": 0, "value": 0.5, "low": 0.4, "high": 0.6} for k in (16, 0)]
    assert shot_rows(rows) == [
        ["task", "method", "k = 0", "k = 16"],
        ["a", "m", "0.500 (0.400 to 0.600)", "0.500 (0.400 to 0.600)"],
    ]
