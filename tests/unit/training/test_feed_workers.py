"""What is trained on does not depend on how many threads build it, and the log says what it was."""

import json
import threading
import time
from functools import lru_cache

import numpy as np
import pytest
import torch

from ptft.finetuning.texts import EncodedTexts, LabelledBatches
from ptft.objectives.rows import hash_rows
from ptft.tasks.table import read_task
from ptft.training.ramp import BatchRamp
from ptft.training.work import Feed

CPU = torch.device("cpu")
ROWS, STEPS = 64, 6


def same(ours, theirs):
    return all(
        one.tensors.keys() == other.tensors.keys()
        and all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
        and (one.counts, one.hash) == (other.counts, other.hash)
        for one, other in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("kind", ["masked_lm and next_sentence", "causal_lm", "classification, mean"])
def test_threads_build_what_is_built_in_line(work_of, kind, workers):
    plain, threaded = (
        list(Feed(work_of(kind)[1], [(0, 40), (40, 64)], CPU, 3, 3 + STEPS, workers=number)) for number in (0, workers)
    )
    assert len(plain) == len(threaded) == STEPS
    assert all(same(*pair) for pair in zip(plain, threaded, strict=True))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_so_many_threads_build(work_of, workers):
    _, source = work_of("causal_lm")
    threads = set()
    original, meet = source.micro_batches, threading.Barrier(max(1, workers))

    def noted(step, start, stop):
        if step < workers:
            meet.wait(20)  # all threads are at work at once
        threads.add(threading.current_thread().name)
        return original(step, start, stop)

    source.micro_batches = noted
    list(Feed(source, [(0, ROWS)], CPU, 0, 12, workers=workers))
    assert len(threads) == max(1, workers)
    assert ("MainThread" in threads) == (workers == 0)


def test_a_block_is_planned_once_however_many_threads_want_it(work_of):
    _, source = work_of("masked_lm")
    sampler, planned = source._sampler, []
    make = sampler._make_plan

    def slowly(epoch, block):
        planned.append((epoch, block))
        time.sleep(0.2)
        return make(epoch, block)

    sampler._plan = lru_cache(maxsize=2)(slowly)
    list(Feed(source, [(0, ROWS)], CPU, 0, 4, workers=4))
    assert len(planned) == len(set(planned)) <= 2


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_runs_end_alike_for_any_number_of_workers(name, tmp_path, step, pretrain_settings):
    figures, logs = [], []
    for workers in (0, 1, 2):
        folder = tmp_path / str(workers)
        figures.append(step("pretrain", **pretrain_settings(name, dropout=0.1, workers=workers), out=str(folder)))
        logs.append([json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()])
        figures[-1] = (folder / "model" / "model.safetensors").read_bytes()
    assert figures[0] == figures[1] == figures[2]
    for key in ("loss", "batch_hash", "grad_norm"):
        assert len({str([line[key] for line in log]) for log in logs}) == 1


# The hash of a batch


def hashes(source, shares, steps=STEPS):
    return [sum(batch.hash for batch in batches) for batches in Feed(source, shares, CPU, 0, steps, workers=0)]


def test_the_hash_is_that_of_the_rows_however_they_are_cut(work_of, every_kind):
    _, source = work_of(every_kind)
    whole = hashes(source, [(0, ROWS)], 2)
    assert hashes(source, source.shares(4, 1, 0), 2) == whole
    parts = [hashes(source, source.shares(16, 3, rank), 2) for rank in range(3)]
    assert np.sum(parts, axis=0).tolist() == whole
    assert len(set(whole)) == 2


ROW = {"ids": np.array([[7, 8, 9, 0]]), "lengths": np.array([3]), "targets": {"labels": np.array([1])}}
MASKED = {"masked_positions": np.array([1, 2]), "masked_labels": np.array([4, 5])}


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({}, False),
        ({"ids": np.array([[7, 8, 9]])}, False),  # padding
        ({"ids": np.array([[7, 8, 9, 5]])}, False),
        ({"ids": np.array([[8, 7, 9, 0]])}, True),
        ({"ids": np.array([[7, 8, 6, 0]])}, True),
        ({"lengths": np.array([2])}, True),
        ({"targets": {"labels": np.array([2])}}, True),
        ({"targets": {"pair_labels": np.array([1])}}, True),
        ({"targets": {"labels": np.array([1]), "masked_per_row": np.array([3])}}, False),
    ],
)
def test_the_hash_is_of_real_tokens_and_labels(change, differs):
    assert (hash_rows(**{**ROW, **change}) != hash_rows(**ROW)) == differs
    assert 0 < hash_rows(**ROW) < 2**32


@pytest.mark.parametrize(("positions", "labels"), [([0, 2], [4, 5]), ([1, 2], [5, 4]), ([1, 2], [4, 6])])
def test_the_hash_is_of_what_is_predicted_and_where(positions, labels):
    changed = {"masked_positions": np.array(positions), "masked_labels": np.array(labels)}
    assert hash_rows(ROW["ids"], ROW["lengths"], MASKED) != hash_rows(ROW["ids"], ROW["lengths"], changed)


def test_exchanged_tokens_of_two_rows_change_the_hash():
    lengths = np.array([2, 2])
    ours, theirs = (hash_rows(np.array(ids), lengths, {}) for ids in ([[1, 2], [3, 4]], [[1, 4], [3, 2]]))
    assert ours != theirs
    assert ours == hash_rows(np.array([[3, 4], [1, 2]]), lengths, {})


def test_sums_of_hashes_are_exact_in_float64():
    """They go through a sum over processes as float64."""
    most = (2**21 - 1) * (2**32 - 1)
    assert int(torch.tensor([most], dtype=torch.float64)) == most


# Where a batch comes from


@pytest.fixture(scope="module")
def numbered(store_of):
    """A store in which each token is the number of its document, and a vocabulary of as many ids."""
    return store_of([[[document] * size for size in (5, 3, 9, 4)[: 1 + document % 4]] for document in range(5, 60)])


PAIRS = ["masked_lm and next_sentence", "masked_lm, few targets, and sentence_order"]


@pytest.mark.parametrize("kind", ["masked_lm", "causal_lm", "hybrid", *PAIRS])
def test_documents_are_those_whose_tokens_are_in_the_batch(work_of, numbered, kind):
    _, source = work_of(kind, store=numbered)
    for step in (0, 1, 7):
        rows = [source._sampler.rows(*source._located(*part)) for part in source._parts(step, 0, ROWS)]
        tokens = {int(token) for part in rows for token in part.ids[part.present()]}
        assert source.documents(step) == sorted(token - 5 for token in tokens if token >= 5)


def test_documents_of_a_step_that_goes_on_in_the_next_epoch(work_of, numbered):
    _, source = work_of("causal_lm", store=numbered)
    source._ramp, source.total_steps = BatchRamp(start_ratio=0.3, share=1.0), 40
    seam = next(step for step in range(40) if len(source._parts(step, 0, ROWS)) == 2)
    rows = [source._sampler.rows(*source._located(*part)) for part in source._parts(seam, 0, ROWS)]
    assert rows[0].epoch_keys != rows[1].epoch_keys
    assert source.documents(seam) == sorted({int(token) - 5 for part in rows for token in part.ids.ravel()})


def test_documents_of_fine_tuning_are_rows_of_the_table():
    texts = EncodedTexts([[number] for number in range(1001, 1138)], None, 0, pad=0, length=8)
    source = LabelledBatches(texts, np.zeros(137, np.int64), 10, 0, numbers=range(1001, 1138))
    for step in (0, 13, 14):  # an epoch ends within step 13
        assert source.documents(step) == sorted(set(source.batch(step, 0, 10).tensors["input_ids"][:, 0].tolist()))


def test_rows_of_a_table_are_counted_before_any_is_held_out_or_left_out(tmp_path):
    table = tmp_path / "table.csv"
    rows = [f"text {number},{'' if number == 3 else 'ab'[number % 2]}" for number in range(1, 41)]
    table.write_text("\n".join(["text,label", *rows]) + "\n")
    data, _ = read_task(str(table))
    assert len(data.train) < 39
    assert all(example.text == f"text {example.row}" for example in [*data.train, *data.valid, *data.tests["test"]])
