"""Rows padded to the longest: every batch has one shape, and what is trained on stays."""

import threading
from dataclasses import replace

import pytest
import torch

from ptft.finetuning.texts import LabelledBatches
from ptft.training.work import Feed

CPU = torch.device("cpu")
LENGTH, ROWS, STEPS = 24, 2, 12


def make_static(source):
    if isinstance(source, LabelledBatches):
        source._is_static, source._packed = True, False  # as the step has it
    else:
        source._sampler.is_static = True
    return source


def batches(source):
    return [batch for given in Feed(source, [(0, ROWS), (ROWS, 2 * ROWS)], CPU, 0, STEPS) for batch in given]


def test_all_batches_have_one_shape(work_of, every_kind):
    _, source = work_of(every_kind)
    inputs = ("input_ids", "attention_mask", "token_type_ids")
    shapes = {
        tuple((name, *batch.tensors[name].shape) for name in inputs if name in batch.tensors)
        for batch in batches(make_static(source))
    }
    assert len(shapes) == 1
    assert ("input_ids", ROWS, (2 if every_kind.endswith(", packed") else 1) * LENGTH) in shapes.pop()


def test_rows_are_the_same_but_for_padding(work_of, every_kind):
    _, source = work_of(every_kind)
    _, other = work_of(every_kind)
    source._packed = False  # texts of a table; of others it says nothing
    pairs = list(zip(batches(source), batches(make_static(other)), strict=True))
    for ours, static in pairs:
        assert (ours.hash, ours.counts, ours.num_tokens) == (static.hash, static.counts, static.num_tokens)
        width = ours.tensors["input_ids"].shape[1]
        assert torch.equal(static.tensors["input_ids"][:, :width], ours.tensors["input_ids"])
        for name in ours.tensors:
            if name.endswith("labels"):
                assert torch.equal(static.tensors[name], ours.tensors[name])
    if every_kind == "masked_lm" or every_kind.startswith("classification"):  # the others are nearly full
        assert any(ours.num_slots < static.num_slots for ours, static in pairs)


def test_losses_are_the_same(work_of, every_kind):
    module, source = work_of(every_kind)
    _, other = work_of(every_kind)
    for ours, static in zip(batches(source), batches(make_static(other)), strict=True):
        one, two = module(ours.tensors), module(static.tensors)
        for name in one:
            torch.testing.assert_close(one[name], two[name], rtol=1e-5, atol=1e-5)


def test_on_a_gpu_the_threads_pin_and_the_loop_only_copies(work_of, monkeypatch):
    _, source = work_of("masked_lm and next_sentence")
    expected = batches(source)
    pinned, placed = [], []

    def pin(tensor):
        pinned.append(threading.current_thread().name)
        return tensor.clone()

    def place(feed, given):
        placed.append(threading.current_thread().name)
        return [replace(batch, tensors=dict(batch.tensors)) for batch in given]

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(Feed, "_place", place)
    feed = Feed(source, [(0, ROWS), (ROWS, 2 * ROWS)], torch.device("cuda"), 0, STEPS, workers=2)
    found = [batch for given in feed for batch in given]
    assert all(name.startswith("ptft-feed") for name in pinned)
    assert len(pinned) == sum(len(batch.tensors) for batch in expected)
    assert placed == ["MainThread"] * STEPS
    for one, other in zip(found, expected, strict=True):
        assert one.hash == other.hash
        assert all(torch.equal(one.tensors[name], tensor) for name, tensor in other.tensors.items())


@pytest.mark.parametrize("kind", ["masked_lm", "classification, mean"])
def test_the_largest_micro_batch_is_a_full_one(work_of, kind):
    _, source = work_of(kind)
    source._packed = False
    feed = Feed(source, [(0, 5), (5, 21)], CPU, 3, 5)
    assert feed.largest().num_rows == feed.rows == 16
