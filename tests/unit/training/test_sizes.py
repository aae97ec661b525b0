"""What a step is known to take before it is made: its tokens, and the positions at which something is predicted."""

import numpy as np
import pytest

from ptft.objectives import OBJECTIVES
from ptft.objectives.masked_lm import MaskedLM
from ptft.objectives.packed_plan import Packing
from ptft.training.work import PretrainingBatches

LENGTH, ROWS = 32, 8


@pytest.fixture(scope="module")
def store(store_of):
    draw = np.random.default_rng(0)
    return store_of(
        [[draw.integers(5, 900, size=draw.integers(2, 13)).tolist() for _ in range(1 + n % 8)] for n in range(300)]
    )


def source_of(store, vocabulary, *objectives, rows=ROWS, packing=None):
    decides = next((o for o in objectives if o.makes_pairs), objectives[0])
    sampler = decides.sampler(store, vocabulary, LENGTH, rows, 0, packing)
    return PretrainingBatches(sampler, objectives, vocabulary, rows), sampler


@pytest.mark.parametrize("packing", [None, Packing(48)])
@pytest.mark.parametrize("names", [["masked_lm"], ["masked_lm", "next_sentence"], ["sentence_order"], ["causal_lm"]])
def test_the_size_of_a_step_is_that_of_its_micro_batches(names, packing, store, vocabulary):
    source, sampler = source_of(store, vocabulary, *(OBJECTIVES[name]() for name in names), packing=packing)
    steps = min(4096, sampler.rows_per_block) // ROWS
    made = [source.batch(step, start, start + 2) for step in range(steps) for start in range(0, ROWS, 2)]
    sizes = [(batch.num_tokens, batch.num_text_tokens, batch.num_slots) for batch in made]
    assert source.size_per_step(2) == pytest.approx(np.sum(sizes, 0) / steps)


def test_few_rows_are_drawn_however_large_the_batch(store, vocabulary, monkeypatch):
    drawn = []
    source, sampler = source_of(store, vocabulary, MaskedLM(), rows=20_000)
    monkeypatch.setattr(sampler, "rows", lambda *place, rows=sampler.rows: drawn.append(place[2:]) or rows(*place))
    size = source.size_per_step(20_000)
    assert sum(stop - start for start, stop in drawn) <= 4096
    assert 0.5 * 20_000 * LENGTH < size.text_tokens < size.tokens < size.slots <= 20_000 * LENGTH
    drawn.clear()
    source.predictions_per_slot()
    assert sum(stop - start for start, stop in drawn) <= 1024


def test_windows_are_full_without_looking(store, vocabulary, monkeypatch):
    source, sampler = source_of(store, vocabulary, OBJECTIVES["causal_lm"]())
    monkeypatch.setattr(sampler, "rows", None)
    assert source.size_per_step(4) == (ROWS * LENGTH,) * 3


def test_a_schedule_of_the_mask_ratio_counts_as_the_mean_of_its_ends(store, vocabulary):
    first, last, moving = (
        source_of(store, vocabulary, MaskedLM(mask_ratio=begin, final_mask_ratio=end))[0].predictions_per_slot()
        for begin, end in ((0.4, 0), (0.1, 0), (0.4, 0.1))
    )
    assert first > 3 * last
    assert moving == pytest.approx((first + last) / 2)
