"""The meters of a log and of a result: what they count, and when time has passed."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from ptft.models.flops import Flops
from ptft.training.loop import StepReport
from ptft.training.meters import TIMES, UNKNOWN, Cost, Meter, speed
from ptft.training.position import Stopwatch
from ptft.training.totals import Totals

REPORT = StepReport(
    step=1, sums={}, counts={}, grad_norm=torch.tensor(1.0), lr=0.1, num_tokens=60, num_slots=80, num_text_tokens=50,
    num_predictions=12, batch_hash=0, most_rows=0, wait_seconds=0.25,
)  # fmt: skip
COST = Cost(Flops(slot=10.0, prediction=100.0), peak=1000.0)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Device:
    """Finishes its work only when it is waited for."""

    def __init__(self, clock, seconds):
        self.device, self._clock, self._seconds = torch.device("cpu"), clock, seconds

    def finish(self):
        self._clock.now += self._seconds


@pytest.fixture
def metered():
    """A meter with its totals, its clock and its watch."""

    def make(cost=COST, device_seconds=0.0, totals=None):
        clock = Clock()
        totals = totals or Totals()
        watch = Stopwatch(totals.seconds, clock)
        meter = Meter(cost, Device(clock, device_seconds), watch, totals)
        return SimpleNamespace(meter=meter, totals=totals, clock=clock, watch=watch)

    return make


def test_what_a_line_has(metered):
    it = metered()
    for step in (1, 2):
        it.clock.now += 2.0
        it.meter.add(replace(REPORT, step=step))
    assert it.meter.read() == {
        "tokens_per_second": 120 / 4,
        "padding_ratio": 0.25,
        "data_wait_ratio": 0.5 / 4,
        "head_share": 1200 / 2000,
        "mfu": (2 * 80 * 10 + 2 * 12 * 100) / (4 * 1000),
    }


def test_a_line_is_of_the_steps_since_the_one_before(metered):
    it = metered()
    it.clock.now += 2.0
    it.meter.add(REPORT)
    it.meter.read()
    it.clock.now += 1.0
    it.meter.add(replace(REPORT, step=2, num_tokens=80))
    line = it.meter.read()
    assert (line["tokens_per_second"], line["padding_ratio"]) == (80, 0)
    assert speed([it.totals])["tokens_per_second"] == (60 + 80) / 3


def test_time_has_passed_when_the_device_has_finished(metered):
    """A GPU is told in no time what takes it seconds."""
    it = metered(device_seconds=3.0)
    it.clock.now += 1.0
    it.meter.add(REPORT)
    assert it.meter.read()["tokens_per_second"] == 60 / 4
    assert it.totals.seconds == 4
    assert speed([it.totals])["mfu"] == pytest.approx((800 + 1200) / 4000)


def test_pauses_do_not_count(metered):
    it = metered()
    it.clock.now += 2.0
    it.meter.add(REPORT)
    with it.watch.paused():
        it.clock.now += 50.0
    assert it.meter.read()["tokens_per_second"] == 30


def test_without_a_rate_there_is_no_mfu(metered):
    it = metered(cost=UNKNOWN)
    it.clock.now += 2.0
    it.meter.add(REPORT)
    line = it.meter.read()
    assert "mfu" not in line
    assert "head_share" not in line
    assert line["padding_ratio"] == 0.25


def test_a_continued_run_counts_what_lies_before_it(metered):
    """On two devices in place of one: what they could have done is the sum of both stretches."""
    whole = metered()
    whole.clock.now += 2.0
    whole.meter.add(REPORT)
    kept = json.loads(json.dumps(whole.totals.state()))
    assert kept["step"] == 1
    assert "loss" not in kept
    again = metered(totals=Totals.of(kept | {"identity": {}}), cost=replace(COST, peak=2000.0))
    again.clock.now += 1.0
    again.meter.add(replace(REPORT, step=2))
    figures = speed([again.totals])
    assert figures["tokens_per_second"] == 120 / 3
    assert figures["mfu"] == pytest.approx(4000 / (2 * 1000 + 1 * 2000))
    assert figures["data_wait_ratio"] == pytest.approx(0.5 / 3)


def test_a_checkpoint_without_the_meters_can_be_gone_on_with():
    kept = {
        "step": 7,
        "num_tokens": 5,
        "num_slots": 6,
        "num_text_tokens": 4,
        "seconds": 1.0,
        "most_rows": 0,
        "guard": {},
    }
    assert Totals.of(kept).num_slots == 6
    assert Totals.of(kept).flops == 0


def test_several_trainings_together():
    first = Totals(num_tokens=10, num_slots=10, seconds=1.0, flops=10.0, head_flops=5.0, peak_flops=100.0)
    second = Totals(num_tokens=10, num_slots=30, seconds=4.0, flops=30.0, wait_seconds=1.0, peak_flops=100.0)
    expected = {"tokens_per_second": 4, "padding_ratio": 0.5, "data_wait_ratio": 0.2, "head_share": 0.125, "mfu": 0.2}
    assert speed([first, second]) == pytest.approx(expected)
    assert speed([]) == speed([Totals()]) == {}


def test_what_a_verified_run_does_not_compare_are_meters():
    known = {"tokens_per_second", "mfu", "padding_ratio", "data_wait_ratio", "head_share", "memory_gb"}
    assert known - {*TIMES} == {"padding_ratio", "head_share"}
