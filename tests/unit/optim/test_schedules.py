import math

import pytest

from ptft.config import load
from ptft.errors import RecipeError
from ptft.optim.schedules import SCHEDULES
from ptft.optim.schedules.decays import Constant, Cosine, Linear, WarmupStableDecay

STEPS = 100


def factor(schedule, step, steps=STEPS):
    return schedule.factor(step / steps, 1 / steps)


def test_members():
    assert list(SCHEDULES) == ["constant", "cosine", "linear", "slanted_triangular", "wsd"]


@pytest.mark.parametrize("name", sorted(set(SCHEDULES) - {"slanted_triangular"}))
def test_warmup_rises_linearly_and_counts_its_own_step(name):
    schedule = SCHEDULES[name](warmup_ratio=0.1)
    assert [factor(schedule, step) for step in range(10)] == pytest.approx([n / 10 for n in range(1, 11)])
    assert factor(schedule, 10) == pytest.approx(1.0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_without_warmup_the_first_step_has_the_peak(name):
    assert factor(SCHEDULES[name](warmup_ratio=0.0), 0) == 1.0


@pytest.mark.parametrize("name", SCHEDULES)
def test_factor_stays_between_0_and_1(name):
    for warmup_ratio in (0.0, 0.05, 0.95):
        schedule = SCHEDULES[name](warmup_ratio=warmup_ratio)
        for steps in (1, 3, 1000):
            assert all(0 <= factor(schedule, step, steps) <= 1 for step in range(steps))


@pytest.mark.parametrize("name", SCHEDULES)
def test_factor_is_a_pure_function(name):
    schedule = SCHEDULES[name]()
    forward = [factor(schedule, step) for step in range(STEPS)]
    assert [factor(schedule, step) for step in reversed(range(STEPS))] == forward[::-1]


@pytest.mark.parametrize(
    ("schedule", "share", "expected"),
    [
        (Linear(), 0.25, 0.75),
        (Linear(floor=0.2), 0.5, 0.6),
        (Cosine(), 0.5, 0.55),
        (Cosine(floor=0.0), 1 / 3, 0.75),
        (Cosine(floor=0.0), 0.25, (1 + math.sqrt(0.5)) / 2),
        (Constant(), 0.9, 1.0),
        (WarmupStableDecay(warmup_ratio=0.2, decay_ratio=0.4), 0.5, 1.0),
        (WarmupStableDecay(warmup_ratio=0.2, decay_ratio=0.4), 0.75, 0.5),
        (WarmupStableDecay(warmup_ratio=0.2, decay_ratio=0.4, floor=0.5), 0.75, 0.75),
        (WarmupStableDecay(warmup_ratio=0.2, decay_ratio=0.4, shape="sqrt"), 0.5 + 0.5 / 4, 0.5),
        (WarmupStableDecay(warmup_ratio=0.5, decay_ratio=1.0), 0.5, 0.5),
    ],
)
def test_formula_after_the_warmup(schedule, share, expected):
    progress = schedule.warmup_ratio + share * (1 - schedule.warmup_ratio)
    assert schedule.factor(progress, 0.01) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("schedule", "end"),
    [
        (Linear(), 0.0),
        (Linear(floor=0.3), 0.3),
        (Cosine(), 0.1),
        (Constant(), 1.0),
        (WarmupStableDecay(floor=0.02), 0.02),
        (WarmupStableDecay(floor=0.02, shape="sqrt"), 0.02),
    ],
)
def test_factor_at_the_end_of_the_budget(schedule, end):
    assert schedule.factor(1.0, 0.01) == pytest.approx(end)


@pytest.mark.parametrize(
    ("name", "override"),
    [("linear", "floor=1.5"), ("cosine", "warmup_ratio=1.0"), ("wsd", "decay_ratio=0"), ("wsd", "shape=square")],
)
def test_settings_out_of_range(name, override):
    with pytest.raises(RecipeError, match=override.split("=")[0]):
        load(SCHEDULES[name], overrides=[override])
