"""A batch that grows reads the same rows in the same order, in smaller steps at first."""

import numpy as np
import pytest
import torch

from ptft.objectives import OBJECTIVES
from ptft.training.ramp import BatchRamp
from ptft.training.work import Feed, PretrainingBatches

ROWS, STEPS = 12, 40
CPU = torch.device("cpu")


@pytest.mark.parametrize(("start_ratio", "share", "steps"), [(0.25, 0.6, 1000), (0.5, 1.0, 77), (1.0, 0.5, 10)])
def test_rows_grow_on_a_line_and_fill_says_how_many_there_are(start_ratio, share, steps):
    ramp = BatchRamp(start_ratio=start_ratio, share=share)
    before = [ramp.rows_before(step, steps, 4096) for step in range(steps + 1)]
    sizes = np.diff(before)
    assert before[0] == 0
    assert before[-1] == pytest.approx(4096 * steps * ramp.fill, abs=1)
    assert abs(sizes[0] - 4096 * start_ratio) < 4096 / steps
    assert np.diff(sizes).min() >= -1  # rounding
    full = int(np.ceil(share * steps))
    assert set(sizes[full:].tolist()) <= {4095, 4096, 4097}
    middle = sizes[full // 2] if full > 1 else 4096
    assert abs(middle - 4096 * (1 + start_ratio) / 2) < 2 + 4096 / full


def make_source(store, vocabulary, names, ramp):
    objectives = [OBJECTIVES[name]() for name in names]
    decides = next((objective for objective in objectives if objective.makes_pairs), objectives[0])
    source = PretrainingBatches(
        decides.sampler(store, vocabulary, 24, ROWS, 0), objectives, vocabulary, ROWS, ramp=ramp
    )
    source.total_steps = STEPS
    return source


def rows_of(batches):
    """The rows of all micro-batches without their padding, with the labels of each batch."""
    found = []
    for batch in batches:
        ids = batch.tensors["input_ids"]
        present = batch.tensors.get("attention_mask", torch.ones_like(ids)).bool()
        found += [row[there].tolist() for row, there in zip(ids, present, strict=True)]
    return found


@pytest.fixture(scope="module")
def store(store_of):
    draw = np.random.default_rng(0)
    return store_of(
        [[draw.integers(5, 900, size=draw.integers(2, 13)).tolist() for _ in range(1 + n % 8)] for n in range(60)]
    )


@pytest.mark.parametrize("names", [["masked_lm", "next_sentence"], ["causal_lm"]])
def test_the_same_rows_come_in_the_same_order_across_blocks_and_epochs(names, store, vocabulary):
    plain = make_source(store, vocabulary, names, BatchRamp())
    ramped = make_source(store, vocabulary, names, BatchRamp(start_ratio=0.3, share=0.7))
    feeds = [Feed(source, [(0, ROWS)], CPU, 0, STEPS, workers=0) for source in (plain, ramped)]
    ours, theirs = ([rows_of(batches) for batches in feed] for feed in feeds[::-1])
    assert len(ours[0]) < len(ours[-1]) == ROWS
    assert 2 * plain.steps_per_epoch < STEPS
    flat = [row for rows in ours for row in rows]
    assert flat == [row for rows in theirs for row in rows][: len(flat)]
    assert len(flat) == BatchRamp(start_ratio=0.3, share=0.7).rows_before(STEPS, STEPS, ROWS)


def test_processes_and_micro_batches_share_a_smaller_batch_without_loss(store, vocabulary):
    source = make_source(store, vocabulary, ["causal_lm"], BatchRamp(start_ratio=0.6, share=0.9))
    whole = list(Feed(source, [(0, ROWS)], CPU, 0, STEPS, workers=0))
    parts = [list(Feed(source, source.shares(3, 2, rank), CPU, 0, STEPS)) for rank in range(2)]
    for step in range(STEPS):
        assert sorted(rows_of(whole[step])) == sorted(rows_of(parts[0][step]) + rows_of(parts[1][step]))
        assert all(len(batch.tensors["input_ids"]) for part in parts for batch in part[step])
        assert sum(b.num_tokens for b in whole[step]) == sum(b.num_tokens for part in parts for b in part[step])


def test_a_budget_in_tokens_is_met_all_the_same(step, pretrain_settings, tmp_path):
    ramp = {"start_ratio": 0.25, "share": 1.0}
    settings = pretrain_settings("gpt2", budget=f"{20 * 8 * 32}tokens", rows_per_step=8, batch_ramp=ramp)
    result = step("pretrain", **settings, out=str(tmp_path / "run"))
    assert result["steps"] == 32  # a ramp from 1/4 over the whole training reads 5/8 of what full batches would
    assert result["tokens"] == 20 * 8 * 32
