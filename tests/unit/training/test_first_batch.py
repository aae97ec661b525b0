"""A step far on is reached without what lies before it: the work for its first batch is that of a block."""

import numpy as np
import pytest

from ptft import rng
from ptft.corpus.store import StoreInfo, TokenStore
from ptft.objectives import OBJECTIVES
from ptft.objectives import pairs as pairs_module
from ptft.objectives.rows import Vocabulary
from ptft.training.work import PretrainingBatches

LENGTH, ROWS, WORDS, SENTENCE = 128, 16, 1000, 8
STEP = 1_000_000


class Counted:
    """An array as long as a large corpus that notes how much of it is read."""

    def __init__(self, value, size):
        self.array = np.broadcast_to(value, (size,))
        self.read = 0

    def __len__(self):
        return len(self.array)

    def __getitem__(self, index):
        found = self.array[index]
        self.read += found.size
        return found


@pytest.fixture
def large_store():
    """A store of so many tokens, in documents of 8 to 4,000, that takes no memory for its tokens."""

    def make(tokens):
        sizes = SENTENCE * (1 + rng.integers(500, 0, np.arange(tokens // SENTENCE // 200)))
        ends = np.cumsum(sizes)
        ends = ends[ends <= tokens]
        size = int(ends[-1])
        info = StoreInfo("large", "uint16", len(ends), size // SENTENCE, size, size, size, {})
        return TokenStore(Counted(np.uint16(7), size), ends, Counted(np.uint8(1), size // 8), info)

    return make


@pytest.fixture
def drawn(monkeypatch):
    """How many places of a random order are asked for."""
    counts = []
    permuted = rng.permuted
    monkeypatch.setattr(rng, "permuted", lambda index, *rest: counts.append(np.size(index)) or permuted(index, *rest))
    return counts


def source_of(store, names):
    is_decoder = names == ["causal_lm"]
    special = np.arange(WORDS) < 5
    vocabulary = Vocabulary(WORDS, cls=2, sep=3, pad=0, mask=4, eos=1, unknown=-1, special=special)
    objectives = [OBJECTIVES[name]() for name in names]
    sampler = objectives[-1].sampler(store, vocabulary, LENGTH, ROWS, 0)
    assert is_decoder != isinstance(sampler, pairs_module.PairSampler)
    return PretrainingBatches(sampler, objectives, vocabulary, ROWS)


def test_a_window_is_found_by_its_number(large_store, drawn):
    store = large_store(400_000_000)
    source = source_of(store, ["causal_lm"])
    batch = source.batch(STEP, 0, ROWS)
    assert 4 * source.steps_per_epoch < STEP
    assert batch.tensors["input_ids"].shape == (ROWS, LENGTH)
    assert store.tokens.read == ROWS * (LENGTH + 1)
    assert drawn == [ROWS]


@pytest.mark.parametrize("names", [["masked_lm"], ["masked_lm", "next_sentence"]])
def test_pairs_take_the_plan_of_one_block(large_store, drawn, names, monkeypatch):
    monkeypatch.setattr(pairs_module, "_ROWS_PER_BLOCK", 512)
    monkeypatch.setattr(pairs_module, "_STEPS_PER_BLOCK", 16)
    monkeypatch.setattr(pairs_module, "_MOST_GROUPS", 1 << 12)
    work = []
    for tokens in (40_000_000, 400_000_000):
        store = large_store(tokens)
        source = source_of(store, names)
        sampler = source._sampler
        planned, passes = [], sampler._pass_over
        sampler._pass_over = lambda *given, p=passes, seen=planned: seen.append(given[:2]) or p(*given)
        batch = source.batch(STEP, 0, ROWS)
        assert len(batch.tensors["input_ids"]) == ROWS
        assert sampler.blocks_per_epoch > 500
        epoch, block, *_ = source._located(STEP * ROWS, STEP * ROWS + ROWS)
        assert epoch >= 1
        assert set(planned) == {(epoch, block)}
        work.append((store.tokens.read, store.end_bits.read, sum(drawn)))
        drawn.clear()
    tokens_read, bits_read, places = zip(*work, strict=True)
    assert max(tokens_read) <= ROWS * LENGTH
    assert max(bits_read) < 4 * 2 * sampler.rows_per_block * LENGTH
    assert max(places) < 3 * (1 << 12) + 8 * sampler.rows_per_block, "groups of two epochs, and a block's rows"
    assert bits_read[1] < 2 * bits_read[0], "ten times the corpus is not more work"


@pytest.mark.parametrize("groups", [7, 64, 1 << 17])
def test_an_epoch_has_every_document_once_however_they_are_grouped(large_store, groups, monkeypatch):
    monkeypatch.setattr(pairs_module, "_MOST_GROUPS", groups)
    store = large_store(200_000)
    sampler = source_of(store, ["masked_lm"])._sampler
    walks = [[document for document, _ in sampler._documents_from(epoch, 0)] for epoch in range(2)]
    assert walks[0] != walks[1]
    assert sorted(walks[0]) == sorted(walks[1]) == list(range(store.num_documents))
    before = [before for _, before in sampler._documents_from(1, 0)]
    sizes = np.diff(store.document_ends, prepend=0)[walks[1]]
    assert before == [0, *np.cumsum(sizes)[:-1].tolist()]
    for place in (1, 99_999, int(store.info.tokens) - 1):
        first = next(iter(sampler._documents_from(1, place)))
        assert first == (walks[1][index := int(np.searchsorted(np.cumsum(sizes), place, "right"))], before[index])


def test_blocks_share_an_epoch_without_loss_however_documents_are_grouped(large_store, monkeypatch):
    monkeypatch.setattr(pairs_module, "_ROWS_PER_BLOCK", 64)
    monkeypatch.setattr(pairs_module, "_STEPS_PER_BLOCK", 4)
    monkeypatch.setattr(pairs_module, "_MOST_GROUPS", 32)
    store = large_store(200_000)
    sampler = source_of(store, ["masked_lm"])._sampler
    assert sampler.blocks_per_epoch > 10
    passes = np.concatenate([sampler._pass_over(0, block, 0) for block in range(sampler.blocks_per_epoch)])
    covered = np.zeros(store.info.tokens, np.int64)
    for start, stop in passes[:, :2]:
        covered[start:stop] += 1
    assert set(covered.tolist()) == {1}
