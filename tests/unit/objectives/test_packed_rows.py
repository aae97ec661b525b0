"""Packed rows of the samplers: the losses of rows that are not packed, hardly any padding, every token once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import BertConfig, GPT2Config

from ptft.models.building import new_model
from ptft.objectives import OBJECTIVES
from ptft.objectives import pairs as pairs_module
from ptft.objectives.masked_lm import MaskedLM
from ptft.objectives.packed_plan import Packing
from ptft.objectives.rows import Vocabulary
from ptft.training.work import PretrainingBatches, PretrainingModule

EOS, LENGTH, ROWS = 1, 32, 8
KINDS = {"masked_lm": ["masked_lm"], "pairs": ["masked_lm", "next_sentence"], "causal_lm": ["causal_lm"]}
SHAPE = {"vocab_size": 1000, "pad_token_id": 0, "initializer_range": 0.2}


@pytest.fixture(scope="module")
def corpus(store_of):
    """Documents of one to ninety sentences, whose lengths are spread as those of real text."""

    def make(num_documents, end=()):
        draw = np.random.default_rng(0)
        counts = np.clip(draw.lognormal(1.5, 1.0, num_documents).astype(int), 1, 90)
        lengths = [np.clip(draw.lognormal(2.2, 0.7, count).astype(int), 1, 80) for count in counts]
        texts = [[draw.integers(5, 1000, size=length).tolist() for length in document] for document in lengths]
        for text in texts:
            text[-1].extend(end)
        return store_of(texts)

    return make


@pytest.fixture(scope="module")
def decoder_vocabulary():
    special = np.zeros(1000, bool)
    special[:5] = True
    return Vocabulary(size=1000, pad=-1, unknown=-1, cls=-1, sep=-1, mask=4, eos=EOS, special=special)


@pytest.fixture
def make(corpus, vocabulary, decoder_vocabulary):
    """The objectives of a kind, the sampler of their rows and their vocabulary."""

    def do(kind, width=64, num_documents=150, length=LENGTH, rows=ROWS, together=False):
        objectives = [OBJECTIVES[name]() for name in KINDS[kind]]
        known = decoder_vocabulary if kind == "causal_lm" else vocabulary
        store = corpus(num_documents, [EOS] if kind == "causal_lm" else [])
        packing = Packing(width, together) if width else None
        return objectives, objectives[-1].sampler(store, known, length, rows, 0, packing), known

    return do


def module_of(objectives):
    if objectives[0].kind == "decoder":
        drops = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        model = new_model(
            GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=LENGTH, **drops, **SHAPE), "causal_lm", 0
        )
        return PretrainingModule(model, objectives)
    config = BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=LENGTH, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **SHAPE,
    )  # fmt: skip
    return PretrainingModule(new_model(config, "pretraining" if objectives[1:] else "masked_lm", 0), objectives)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_one_text_a_row(kind, make):
    objectives, sampler, vocabulary = make(kind)
    module = module_of(objectives)
    for start in range(0, min(sampler.rows_per_block, 20 * ROWS), ROWS):
        rows = sampler.rows(0, 0, start, start + ROWS)
        for objective in objectives:
            objective.add_targets(rows, vocabulary)
        packed, alone = rows.batch(), replace(rows, layout=None).batch()
        assert packed.tensors["input_ids"].shape == (ROWS, 64)
        assert len(alone.tensors["input_ids"]) > ROWS
        assert (packed.num_tokens, packed.counts, packed.hash) == (alone.num_tokens, alone.counts, alone.hash)
        with torch.no_grad():
            losses, others = module(packed.tensors), module(alone.tensors)
        for name, count in packed.counts.items():
            torch.testing.assert_close(losses[name] / count, others[name] / count, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "length", "width"), [
    ("masked_lm", 128, 128), ("masked_lm", 128, 512), ("pairs", 128, 512), ("causal_lm", 256, 256),
])  # fmt: skip
def test_padding_is_under_one_per_cent(kind, length, width, make):
    _, sampler, _ = make(kind, width, 3000, length)
    size = sampler.size_per_row(ROWS)
    assert size.slots == width
    assert 0.99 * width < size.tokens <= width


def tokens_seen(sampler, epoch):
    """How often each token of the corpus is in the rows of an epoch, and how many rows there are."""
    seen = np.zeros(sampler.store.info.tokens, int)
    for block in range(sampler.blocks_per_epoch):
        pairs, _, _ = sampler._examples(epoch, block, 0, sampler.rows_per_block)
        for start, stop, *_ in pairs.tolist():
            seen[start:stop] += 1
    return seen, sampler.blocks_per_epoch * sampler.rows_per_block


@pytest.mark.parametrize("kind", ["masked_lm", "causal_lm"])
@pytest.mark.parametrize("rows_per_block", [64, 1 << 20])
def test_every_token_is_in_an_epoch(kind, rows_per_block, make, monkeypatch):
    monkeypatch.setattr(pairs_module, "_ROWS_PER_BLOCK", rows_per_block)
    monkeypatch.setattr(pairs_module, "_STEPS_PER_BLOCK", 4)
    _, sampler, _ = make(kind, 64, 600)
    assert (sampler.blocks_per_epoch > 5) == (rows_per_block == 64)
    for epoch in range(2):
        seen, rows = tokens_seen(sampler, epoch)
        once = 1 - sampler.blocks_per_epoch * ROWS / rows - 2 * pairs_module._MARGIN  # the last step is filled up
        assert (seen == 0).mean() < 0.01, "left-over rows"
        assert (seen == 1).mean() > once
        assert seen.max() <= 2


def test_the_first_pass_has_every_token_exactly_once(make, monkeypatch):
    monkeypatch.setattr(pairs_module, "_ROWS_PER_BLOCK", 64)
    monkeypatch.setattr(pairs_module, "_STEPS_PER_BLOCK", 4)
    _, sampler, _ = make("masked_lm", 64, 600)
    passes = [sampler._pass_over(3, block, 0) for block in range(sampler.blocks_per_epoch)]
    ranges = np.concatenate(passes)[:, :2]
    ranges = ranges[np.argsort(ranges[:, 0])]
    assert np.array_equal(ranges[1:, 0], ranges[:-1, 1])
    assert (ranges[0, 0], ranges[-1, 1]) == (0, sampler.store.info.tokens)


def test_texts_are_cut_at_the_length_and_nowhere_before(make):
    _, sampler, vocabulary = make("masked_lm", 64)
    sampler = MaskedLM(short_ratio=0).sampler(sampler.store, vocabulary, LENGTH, ROWS, 0, Packing(64))
    pairs = sampler._pass_over(0, 0, 0)
    ends = set(sampler.store.document_ends.tolist())
    sizes = pairs[:, 1] - pairs[:, 0]
    assert sizes.max() == LENGTH - 2
    assert all(
        size == LENGTH - 2 or stop in ends for size, stop in zip(sizes.tolist(), pairs[:, 1].tolist(), strict=True)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_rows_do_not_depend_on_how_they_are_cut(kind, make):
    objectives, sampler, vocabulary = make(kind)
    source = PretrainingBatches(sampler, objectives, vocabulary, ROWS)
    whole = source.batch(3, 0, ROWS)
    parts = [source.batch(3, start, start + 2) for start in range(0, ROWS, 2)]
    ids = torch.cat([part.tensors["input_ids"] for part in parts])
    assert torch.equal(ids, whole.tensors["input_ids"])
    assert torch.equal(torch.cat([part.tensors["parts"] for part in parts]), whole.tensors["parts"])
    assert sum(part.hash for part in parts) == whole.hash
    again = make(kind)[1]  # as a resumed run makes it
    assert torch.equal(
        PretrainingBatches(again, objectives, vocabulary, ROWS).batch(3, 0, ROWS).tensors["input_ids"], ids
    )


def test_draw_keys_are_unique_in_an_epoch(make, monkeypatch):
    monkeypatch.setattr(pairs_module, "_ROWS_PER_BLOCK", 64)
    monkeypatch.setattr(pairs_module, "_STEPS_PER_BLOCK", 4)
    _, sampler, _ = make("masked_lm", 64, 600)
    keys = [sampler.rows(0, block, 0, sampler.rows_per_block).draw_keys for block in range(3)]
    together = np.concatenate(keys)
    assert len(np.unique(together)) == len(together) > 3 * sampler.rows_per_block


def test_epochs_differ(make):
    _, sampler, _ = make("masked_lm")
    first, second = (sampler.rows(epoch, 0, 0, ROWS).ids for epoch in range(2))
    assert first.shape != second.shape or not np.array_equal(first, second)


def test_a_document_begins_after_the_end_of_text_token(make):
    objectives, sampler, vocabulary = make("causal_lm")
    store = sampler.store
    rows = sampler.rows(0, 0, 0, sampler.rows_per_block)
    pairs, _, _ = sampler._examples(0, 0, 0, sampler.rows_per_block)
    begins = {0, *store.document_ends[:-1].tolist()}
    for row, length, (start, stop, *_) in zip(rows.ids, rows.lengths, pairs.tolist(), strict=True):
        assert row[1:length].tolist() == store.tokens[start:stop].tolist()
        assert row[0] == (EOS if start in begins else store.tokens[start - 1])
    assert 0 in pairs[:, 0]
    objectives[0].add_targets(rows, vocabulary)
    assert rows.counts["causal_lm"] == rows.lengths.sum() == (pairs[:, 1] - pairs[:, 0]).sum()


def test_a_corpus_smaller_than_a_step_fills_it(make):
    _, sampler, _ = make("masked_lm", 64, 2, rows=32)
    rows = sampler.rows(0, 0, 0, 32)
    assert sampler.rows_per_block == 32 and rows.layout.num_rows == 32
    assert set(rows.layout.row.tolist()) == set(range(32))


def test_documents_are_those_of_the_packed_texts(make):
    _, sampler, _ = make("masked_lm")
    pairs, _, _ = sampler._examples(0, 0, 4, 6)
    assert sampler.documents(0, 0, 4, 6) == sorted(set(sampler.store.document_of(pairs[:, 0])))


def test_texts_that_see_each_other_are_one_part(make):
    objectives, sampler, vocabulary = make("causal_lm", together=True)
    tensors = PretrainingBatches(sampler, objectives, vocabulary, ROWS).batch(0, 0, ROWS).tensors
    assert tensors["parts"].max() == 1
    assert (tensors["position_ids"] == 0).sum() > 2 * ROWS
