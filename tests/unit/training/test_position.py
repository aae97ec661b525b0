"""A training by the clock: schedules reach their end, and each step's place in it is kept."""

import itertools
import json
import shutil

import pytest
from safetensors.torch import load_file

from ptft.compute import Compute
from ptft.optim.schedules.decays import Linear, WarmupStableDecay
from ptft.training.position import CountedPositions, Stopwatch, TimedPositions


class Clock:
    """A clock that goes on by what each step takes."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def compute():
    return Compute("fp32")


@pytest.fixture
def timed(compute, tmp_path):
    """Make steps of given seconds until the last; returns their positions and the seconds they took."""

    def do(seconds, durations, *, path=tmp_path / "positions.jsonl", start=0, spent=0.0, most=10_000):
        clock = Clock()
        positions = TimedPositions(seconds, Stopwatch(spent, clock), compute, path)
        found = []
        for step in range(start, min(positions.stop(start), most)):
            found.append(positions.at(step))
            clock.now += durations(step)
            if found[-1].is_last:
                break
        return found, clock.now - 100.0 + spent

    return do


def test_what_is_paused_does_not_count():
    clock = Clock()
    watch = Stopwatch(7.0, clock)
    clock.now += 1
    with watch.paused():
        clock.now += 50
    clock.now += 2
    assert watch.seconds == 10.0


def test_steps_of_a_counted_training():
    positions = CountedPositions(4)
    assert [positions.at(step) for step in (0, 3)] == [(0.0, 0.25, False), (0.75, 0.25, True)]
    assert (positions.stop(0), positions.done(3), positions.words(3)) == (4, (3, 4), "step 3 of 4")


def noisy(step):
    return 0.1 * (1 + 0.3 * ((step * 7919) % 11 / 5 - 1))


@pytest.mark.parametrize(
    "durations",
    [lambda step: 0.1, lambda step: 0.07, lambda step: 2.0 if step == 0 else 0.1, noisy],
    ids=["even", "uneven", "slow first step", "noisy"],
)
def test_time_ends_within_a_step_and_schedules_with_it(timed, durations):
    found, seconds = timed(10, durations)
    assert seconds == pytest.approx(10, abs=0.15)
    assert [position.is_last for position in found] == [False] * (len(found) - 1) + [True]
    begins = [position.begin for position in found]
    assert begins == sorted(begins)
    assert begins[0] == 0
    assert begins[-1] + found[-1].share == 1
    for schedule in (Linear(), WarmupStableDecay()):
        factors = [schedule.factor(*position[:2]) for position in found]
        assert factors[0] > 0
        assert max(factors) > 0.8  # a first step that takes a fifth of the time takes the warm-up with it
        # the last steps go down as evenly as those before them
        ends = factors[-10:]
        falls = [a - b for a, b in itertools.pairwise(ends)]
        assert factors[-1] < 0.05
        assert max(falls) < 3 * (factors[-10] / 9)


@pytest.mark.parametrize("late", [60, 98, 99])
def test_a_step_that_takes_the_rest_of_the_time_is_followed_by_one_at_the_end(timed, late):
    found, _ = timed(10, lambda step: 30.0 if step == late else 0.1)
    assert len(found) == (late + 2 if late < 99 else 100)
    assert found[-1].is_last
    assert found[-1].begin >= 0.98


@pytest.mark.parametrize("first", [4.1, 6.0, 9.0])
def test_a_slow_first_step_does_not_end_the_training(timed, first):
    found, seconds = timed(10, lambda step: first if step == 0 else 0.1)
    assert len(found) > 0.9 * (10 - first) / 0.1
    assert seconds == pytest.approx(10, abs=0.15)


def test_shorter_than_a_step(timed):
    found, _ = timed(1, lambda step: 5.0)
    assert len(found) == 2
    assert found[-1].is_last


def test_steps_that_are_made_again_lie_where_they_lay(timed, tmp_path):
    whole, _ = timed(10, lambda step: 0.1)
    lines = (tmp_path / "positions.jsonl").read_text().splitlines(keepends=True)
    assert json.loads(lines[2]) == {"step": 3, **whole[2]._asdict()}
    # all are known: whatever the clock says, the same steps are made
    again, _ = timed(10, lambda step: 0.7, start=40, spent=4.0)
    assert again == whole[40:]
    assert timed(10, lambda step: 0.7, start=len(whole), spent=10.0) == ([], 10.0)
    # only the first ones, and half a line, are known: the clock goes on behind them
    (tmp_path / "positions.jsonl").write_text("".join(lines[:60]) + lines[60][:9])
    some, seconds = timed(10, lambda step: 0.1, start=50, spent=5.0)
    assert some[:10] == whole[50:60]
    assert seconds == pytest.approx(10, abs=0.11)
    assert [json.loads(line)["step"] for line in (tmp_path / "positions.jsonl").read_text().splitlines()] == [
        *range(1, 51 + len(some))
    ]


def test_nothing_is_kept_without_a_folder(timed, tmp_path):
    assert timed(1, lambda step: 0.1, path=None)[0][-1].is_last
    assert not (tmp_path / "positions.jsonl").exists()


def test_progress_for_people(compute):
    clock = Clock()
    positions = TimedPositions(20.5, Stopwatch(0.0, clock), compute, None)
    positions.at(0)
    clock.now += 8.2
    assert positions.done(1) == (8, 21)
    assert positions.words(1) == "step 1, 8 of 21 seconds"
    clock.now += 30
    assert positions.done(2) == (20, 21)
    positions.at(2)
    assert positions.done(3) == (21, 21)


def test_a_run_by_the_clock_ends_and_is_replayed_bit_for_bit(step, pretrain_settings, tmp_path):
    settings = pretrain_settings("gpt2", dropout=0.1, budget="2s", checkpoint_every_steps=3, keep_checkpoints=10**6)
    whole = step("pretrain", **settings, out=str(tmp_path / "whole"))
    positions = [json.loads(line) for line in (tmp_path / "whole" / "positions.jsonl").read_text().splitlines()]
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in positions] == [line["step"] for line in lines] == [*range(1, len(lines) + 1)]
    assert [line["begin"] for line in positions] == [line["progress"] for line in lines]
    assert whole["steps"] == len(lines) >= 4
    assert positions[-1]["is_last"]
    assert lines[-1]["lr"] == pytest.approx(settings.get("lr", 1e-4) * positions[-1]["share"] / 0.95, rel=1e-6)
    # as if it had been killed after the last step, with the checkpoint of step 3 alone
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    for path in (tmp_path / "killed" / "checkpoints").iterdir():
        if path.name != "step-00000003":
            shutil.rmtree(path)
    (tmp_path / "killed" / "result.json").unlink()
    shutil.rmtree(tmp_path / "killed" / "model")
    again = step("pretrain", **settings, out=str(tmp_path / "killed"))
    assert again["steps"] == whole["steps"]
    ours, theirs = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "killed"))
    assert all(ours[name].equal(theirs[name]) for name in theirs)


@pytest.mark.parametrize("form", ["flops", "tokens"])
def test_flops_and_tokens_become_steps(form, step, pretrain_settings, tmp_path):
    """FLOPs of a step as the log's mfu counts them."""
    first = step("pretrain", **pretrain_settings("gpt2"), out=str(tmp_path / "first"))
    # rows of 32 tokens: one layer of width 16 (12 * 16^2 in matrices), attention 12 * 16 * 32, a head of all tokens
    words = int(first["parameters"]) - 64 * 16 - 12 * 16**2 - 13 * 16 - 2 * 16
    flops = 8 * 32 * (6 * 12 * 16**2 + 12 * 16 * 32 + 6 * words)
    budget = {"flops": f"{3 * flops}flops", "tokens": f"{3 * 8 * 32}tokens"}[form]
    assert step("pretrain", **pretrain_settings("gpt2", budget=budget), out=str(tmp_path / "run"))["steps"] == 3
