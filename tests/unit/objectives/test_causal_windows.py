import re

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from ptft.errors import DataError
from ptft.models.prediction import Forward
from ptft.objectives.causal_lm import CausalLM
from ptft.objectives.window_objective import WindowSampler


@pytest.fixture
def stream(store_of):
    """A store whose tokens count up, so that a token tells its place."""

    def make(size):
        return store_of([[list(range(start, min(start + 50, size)))] for start in range(0, size, 50)])

    return make


def windows(sampler, epoch=0):
    return sampler.rows(epoch, 0, 0, sampler.rows_per_block).ids


def test_rows_are_windows_of_the_stream_with_the_token_after(stream, vocabulary):
    sampler = WindowSampler(stream(1000), vocabulary, 16, 4, seed=0)
    rows = sampler.rows(0, 0, 0, 20)
    assert rows.ids.shape == (20, 17)
    assert (np.diff(rows.ids, axis=1) == 1).all()
    assert rows.present().all()


@pytest.mark.parametrize("size", [17, 18, 31, 32, 33, 34, 100, 1000, 1023])
def test_an_epoch_shows_a_run_of_tokens_once_as_targets_and_leaves_less_than_two_rows(stream, size, vocabulary):
    sampler = WindowSampler(stream(size), vocabulary, 16, 1, seed=3)
    seen = np.zeros(size, int)
    for epoch in range(300):
        targets = np.bincount(windows(sampler, epoch)[:, 1:].ravel(), minlength=size)
        assert targets.max() == 1
        assert np.count_nonzero(np.diff(targets)) <= 2
        assert size - targets.sum() <= 32
        seen += targets
    assert (seen[1:] > 0).all(), "some tokens are never learned"


def test_the_cuts_move_from_epoch_to_epoch_over_a_whole_row(stream, vocabulary):
    sampler = WindowSampler(stream(200), vocabulary, 16, 1, seed=0)
    shifts = {int(windows(sampler, epoch).min()) for epoch in range(300)}
    assert shifts == set(range(200 - 11 * 16))
    assert len(shifts) >= 16


def test_the_order_changes_with_seed_and_epoch(stream, vocabulary):
    store = stream(2000)
    orders = [
        windows(WindowSampler(store, vocabulary, 16, 1, seed), epoch)[:, 0].argsort().tolist()
        for seed, epoch in [(0, 0), (0, 1), (1, 0)]
    ]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_a_row_is_the_same_whatever_slice_it_is_in(stream, vocabulary):
    sampler = WindowSampler(stream(500), vocabulary, 16, 32, seed=5)
    whole = sampler.rows(2, 0, 0, 64)
    for start, stop in [(0, 10), (10, 20), (25, 40), (63, 64)]:
        part = sampler.rows(2, 0, start, stop)
        assert np.array_equal(part.ids, whole.ids[start:stop])
        assert np.array_equal(part.draw_keys, whole.draw_keys[start:stop])


def test_fewer_windows_than_a_step_are_filled_by_further_passes(stream, vocabulary):
    sampler = WindowSampler(stream(100), vocabulary, 16, 32, seed=0)  # 5 windows
    assert sampler.rows_per_block == 32
    begins = sampler.rows(0, 0, 0, 32).ids[:, 0]
    passes = [set(begins[start : start + 5].tolist()) for start in range(0, 30, 5)]
    assert all(found == passes[0] and len(found) == 5 for found in passes)


@pytest.mark.parametrize("size", [1, 15, 16])
def test_a_corpus_shorter_than_a_row_is_refused(stream, size, vocabulary):
    message = (
        f"the corpus has {size} tokens, but a row of length 16 needs 17 tokens; give more text or a smaller length"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        WindowSampler(stream(size), vocabulary, 16, 1, seed=0)


def test_inputs_and_labels_are_one_apart(stream, vocabulary):
    rows = WindowSampler(stream(300), vocabulary, 8, 4, seed=0).rows(0, 0, 0, 4)
    tokens = rows.ids.copy()
    CausalLM().add_targets(rows, vocabulary)
    batch = rows.batch()
    assert np.array_equal(batch.tensors["input_ids"].numpy(), tokens[:, :-1])
    assert np.array_equal(batch.tensors["next_labels"].numpy(), tokens[:, 1:].ravel())
    assert batch.counts == {"causal_lm": 32}
    assert batch.num_tokens == batch.num_slots == 32
    assert "attention_mask" not in batch.tensors


def gpt2():
    shape = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=500, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=0, eos_token_id=0, **shape)
    )


def llama():
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return LlamaForCausalLM(LlamaConfig(vocab_size=500, max_position_embeddings=32, **shape))


@pytest.mark.parametrize("build", [gpt2, llama])
def test_loss_and_gradients_are_the_stock_models(stream, vocabulary, build):
    torch.manual_seed(0)
    model = build()
    objective = CausalLM()
    rows = WindowSampler(stream(400), vocabulary, 24, 4, seed=0).rows(0, 0, 0, 4)
    tokens = torch.from_numpy(rows.ids.copy())
    objective.add_targets(rows, vocabulary)
    batch = rows.batch()
    loss = objective.loss_sum(Forward(model, batch.tensors), batch.tensors) / batch.counts["causal_lm"]
    loss.backward()
    ours = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    stock = model(input_ids=tokens, labels=tokens).loss  # it predicts all tokens but the first, as ours does
    stock.backward()
    torch.testing.assert_close(loss, stock, rtol=0, atol=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_evaluation_counts_right_predictions(stream, vocabulary):
    torch.manual_seed(0)
    model = gpt2().eval()
    objective = CausalLM()
    rows = WindowSampler(stream(400), vocabulary, 24, 4, seed=0).rows(0, 0, 0, 4)
    objective.add_targets(rows, vocabulary)
    tensors = rows.batch().tensors
    labels = tensors["next_labels"]
    forward = Forward(model, tensors)
    sums = objective.evaluate(forward, tensors, frequent_token=int(labels[0]))
    logits = model(input_ids=tensors["input_ids"]).logits.flatten(0, 1)
    assert sums["correct"] == (logits.argmax(-1) == labels).sum().item()
    assert sums["frequent"] == (labels == labels[0]).sum().item()
    figures = objective.figures({**sums, "count": 96.0})
    assert figures["clm.loss"] == pytest.approx(sums["loss"] / 96)
    assert figures["clm.perplexity"] == pytest.approx(np.exp(sums["loss"] / 96))
    assert figures["clm.accuracy"] == sums["correct"] / 96
    assert figures["clm.baseline"] == sums["frequent"] / 96
