"""Where memory is short, the same steps go on in smaller micro-batches."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ptft.errors import TrainingError
from ptft.objectives.rows import Batch
from ptft.training.memory import is_out_of_memory, within_memory
from ptft.training.work import BatchSource, Feed, PretrainingModule

CPU = torch.device("cpu")
CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
HOST = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to ..."
)
ROWS = 64


class Small(nn.Module):
    """A module on a device that holds so many rows: it fails behind the first micro-batch, with its gradients there."""

    def __init__(self, module, rows, error=CUDA, first_call=1):
        super().__init__()
        self.module, self.weights = module, module.weights
        self.rows, self.error, self.calls = rows, error, -first_call
        self.largest = []

    def forward(self, batch):
        size = len(batch["input_ids"])
        self.calls += 1
        if size > self.rows and self.calls > 0:
            raise self.error
        self.largest.append(size)
        return self.module(batch)


@pytest.mark.parametrize("error", [CUDA, HOST, MemoryError()], ids=["cuda", "host", "numpy"])
def test_the_run_is_that_of_the_accumulation_it_falls_back_to(work_of, train_some, error):
    said = []
    module, source = work_of("masked_lm and next_sentence", dropout=0.1)
    ours = train_some(Small(module, 16, error), source, accumulate=2, say=said.append)
    twin, source = work_of("masked_lm and next_sentence", dropout=0.1)
    theirs = train_some(twin, source, accumulate=4)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.grad_norm, one.sums, one.counts, one.batch_hash) == (
            other.grad_norm, other.sums, other.counts, other.batch_hash,
        )  # fmt: skip
    assert all(torch.equal(value, twin.state_dict()[name]) for name, value in module.state_dict().items())
    assert said == [
        "step 1 did not fit into memory with micro-batches of 32 rows: they have 16 from here on, with the same rows "
        "in each step; accumulate=4 begins so"
    ]


def test_without_dropout_it_is_the_run_of_enough_memory(work_of, train_some, every_kind):
    module, source = work_of(every_kind)
    ours = train_some(Small(module, 9), source, steps=2, accumulate=2)
    twin, source = work_of(every_kind)
    theirs = train_some(twin, source, steps=2)
    for name in module.weights:
        assert [r.sums[name].item() for r in ours] == pytest.approx([r.sums[name].item() for r in theirs], rel=1e-5)
    assert [r.grad_norm.item() for r in ours] == pytest.approx([r.grad_norm.item() for r in theirs], rel=1e-5)


def test_it_is_said_once_and_kept(work_of, train_some):
    said = []
    module, source = work_of("causal_lm")
    small = Small(module, 10, first_call=0)
    reports = train_some(small, source, say=said.append, workers=2)
    assert set(small.largest) == {8}
    assert [report.most_rows for report in reports] == [8] * 4
    assert len(said) == 1
    assert "micro-batches of 64 rows: they have 8 from here on" in said[0]
    assert said[0].endswith("; accumulate=8 begins so")


def test_a_later_step_may_be_the_one(work_of, train_some):
    said = []
    module, source = work_of("causal_lm")
    reports = train_some(Small(module, 40, first_call=3), source, accumulate=1, say=said.append)
    assert [report.most_rows for report in reports] == [0, 0, 0, 32]
    assert said[0].startswith("step 4 did not fit")


def test_a_row_that_does_not_fit_is_a_sentence(work_of, train_some):
    module, source = work_of("causal_lm")
    with pytest.raises(TrainingError, match=r"step 1: a micro-batch of a single row does not fit .* a smaller length"):
        train_some(Small(module, 0, first_call=0), source)


def test_several_processes_end_with_a_sentence():
    """Another one may wait for this one's gradients, so nothing is tried again."""
    source, calls = Numbers(24), []
    feed = Feed(source, source.shares(12, 2, 1), CPU, 0, 1)
    compute = SimpleNamespace(num_processes=2, rank=1, device=CPU)

    def work(batches):
        calls.append(batches)
        raise CUDA

    words = r"step 4 does not fit into the memory of process 1 with micro-batches of 12 rows; give accumulate=2, and"
    with pytest.raises(TrainingError, match=words):
        within_memory(work, [], 3, feed, None, compute, None)
    assert len(calls) == 1


def test_other_errors_are_raised_as_they_are(work_of, train_some):
    module, source = work_of("causal_lm")
    with pytest.raises(RuntimeError, match="a bug"):
        train_some(Small(module, 4, RuntimeError("a bug")), source)
    assert not is_out_of_memory(ValueError("memory"))


class Numbers(BatchSource):
    """Rows that are their own numbers."""

    def __init__(self, rows):
        self.rows_per_step = rows

    def batch(self, step, start, stop):
        return Batch({"input_ids": torch.arange(start, stop) + step * self.rows_per_step}, {}, 0, 0)

    def documents(self, step):
        return []


@pytest.mark.parametrize(("rows", "accumulate"), [(64, 1), (12, 4), (7, 1), (37, 2), (5, 5)])
def test_halves_have_the_same_rows_in_the_same_order(rows, accumulate):
    source = Numbers(rows)
    feed = Feed(source, source.shares(rows // accumulate, 1, 0), CPU, 0, 3, workers=0)
    seen = [feed.rows]
    while feed.rows > 1:
        batches = feed.halve(1)
        assert torch.cat([batch.tensors["input_ids"] for batch in batches]).tolist() == list(range(rows, 2 * rows))
        sizes = [len(batch.tensors["input_ids"]) for batch in batches]
        assert max(sizes) == feed.rows == feed.most_rows == -(-seen[-1] // 2)
        assert min(sizes) > 0
        again = Feed(source, source.shares(rows // accumulate, 1, 0), CPU, 0, 3, most_rows=feed.most_rows)
        assert again.shares == feed.shares
        seen.append(feed.rows)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_that_were_built_ahead_are_built_again(workers):
    source = Numbers(8)
    feed = Feed(source, [(0, 8)], CPU, 0, 9, workers=workers)
    sizes = []
    for step, batches in enumerate(feed):
        sizes.append([len(batch.tensors["input_ids"]) for batch in batches])
        rows = torch.cat([batch.tensors["input_ids"] for batch in batches])
        assert rows.tolist() == list(range(8 * step, 8 * step + 8))
        if step == 3:
            feed.halve(step)
    assert sizes == [[8]] * 4 + [[4, 4]] * 5


FORWARD = PretrainingModule.forward


def short_of_memory(monkeypatch, rows):
    """Let no more than so many rows fit into a pretraining module; gives the sizes that did fit."""
    sizes = []

    def limited(module, batch):
        if len(batch["input_ids"]) > rows:
            raise CUDA
        sizes.append(len(batch["input_ids"]))
        return FORWARD(module, batch)

    monkeypatch.setattr(PretrainingModule, "forward", limited)
    return sizes


def log(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [[line[name] for name in ("step", "loss", "grad_norm", "lr", "tokens", "batch_hash")] for line in lines]


class Said:
    """A display that keeps its sentences."""

    def __init__(self, ends_at=0):
        self.sentences, self.ends_at = [], ends_at

    def say(self, sentence):
        self.sentences.append(sentence)

    def progress(self, what, done, total, figures=None):
        if done == self.ends_at:
            raise KeyError("a crash")


def test_a_run_that_is_continued_keeps_to_it(tmp_path, step, pretrain_settings, monkeypatch):
    settings = pretrain_settings("bert", dropout=0.2, budget="6steps", checkpoint_every_steps=2)
    step("pretrain", **settings, out=str(tmp_path / "one"), accumulate=2)
    display = Said(ends_at=5)
    sizes = short_of_memory(monkeypatch, 4)
    with pytest.raises(KeyError, match="a crash"):
        step("pretrain", **settings, out=str(tmp_path / "two"), display=display)
    assert set(sizes) == {4}
    assert len([sentence for sentence in display.sentences if "did not fit" in sentence]) == 1
    display = Said()
    sizes = short_of_memory(monkeypatch, 8)  # there is enough again, but its random numbers go by micro-batch
    step("pretrain", **settings, out=str(tmp_path / "two"), display=display)
    assert set(sizes) == {4}
    assert "continuing after step 4" in display.sentences
    assert log(tmp_path / "one") == log(tmp_path / "two")
    ours, theirs = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert ours == theirs


def test_a_run_may_be_continued_with_another_accumulation(tmp_path, step, pretrain_settings):
    settings = pretrain_settings("bert", dropout=0.0, budget="6steps", checkpoint_every_steps=2)
    with pytest.raises(KeyError, match="a crash"):
        step("pretrain", **settings, out=str(tmp_path / "run"), display=Said(ends_at=5))
    settings |= {"accumulate": 2, "workers": 0}
    found = [step("pretrain", **settings, out=str(tmp_path / name))["mlm.loss"] for name in ("run", "new")]
    assert found[0] == pytest.approx(found[1], rel=1e-5)
