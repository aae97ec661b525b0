import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from ptft.errors import RecipeError
from ptft.models.prediction import Forward
from ptft.objectives.hybrid import Hybrid
from ptft.objectives.window_objective import WindowSampler

SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def gpt2(implementation="sdpa"):
    torch.manual_seed(0)
    shape = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "initializer_range": 0.2}
    dropouts = {"resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0}
    config = GPT2Config(vocab_size=1000, bos_token_id=0, eos_token_id=0, **shape, **dropouts)
    config._attn_implementation = implementation
    return GPT2LMHeadModel(config)


def llama(implementation="sdpa"):
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=1000, max_position_embeddings=32, initializer_range=0.2, **SHAPE)
    config._attn_implementation = implementation
    return LlamaForCausalLM(config)


@pytest.fixture
def rows_of(store_of, vocabulary):
    """Rows of 24 tokens that count up from 5, the first id that is not special."""

    def make(objective, start=0, stop=8, progress=0.0):
        store = store_of([[list(range(first, first + 50))] for first in range(5, 905, 50)])
        rows = WindowSampler(store, vocabulary, 24, 8, seed=0).rows(0, 0, start, stop)
        before = rows.ids.copy()
        rows.progress = progress
        objective.add_targets(rows, vocabulary)
        return before, rows

    return make


@pytest.mark.parametrize(("share", "masked"), [(0.5, 16), (0.25, 8), (15 / 16, 30)])
def test_every_step_has_the_same_share_of_masked_rows(rows_of, share, masked):
    _, rows = rows_of(Hybrid(masked_rows=share), 0, 32)
    kinds = rows.targets["bidirectional"]
    assert kinds.sum() == masked
    windows = np.lib.stride_tricks.sliding_window_view(kinds, 16).sum(1)
    assert windows.max() - windows.min() <= 1


def test_held_out_rows_are_masked_by_halves_and_at_the_share_of_evaluations(rows_of):
    objective = Hybrid(masked_rows=15 / 16, mask_ratio=0.4)
    _, rows = rows_of(objective, 0, 32, progress=None)
    assert rows.targets["bidirectional"].sum() == 16
    assert len(rows.targets["masked_labels"]) == 16 * round(0.15 * 23)


def test_a_hidden_token_is_predicted_at_the_position_before_it(rows_of, vocabulary):
    before, rows = rows_of(Hybrid(replace_ratio=1.0, random_ratio=0.0, mask_ratio=0.3))
    row, column = np.divmod(rows.targets["masked_positions"], 24)
    assert rows.targets["bidirectional"][row].all()
    assert (rows.targets["masked_labels"] == before[row, column + 1]).all()
    assert (rows.ids[row, column + 1] == vocabulary.mask).all()
    hidden = rows.ids == vocabulary.mask
    assert hidden.sum() == len(row), "nothing else is hidden"
    assert not hidden[:, 0].any()


def test_the_other_rows_go_on_the_text(rows_of):
    before, rows = rows_of(Hybrid())
    causal = rows.targets["bidirectional"] == 0
    assert np.array_equal(rows.ids[causal], before[causal, :-1])
    assert np.array_equal(rows.targets["next_labels"], before[causal, 1:].ravel())
    assert np.array_equal(rows.targets["next_positions"] // 24, np.repeat(np.flatnonzero(causal), 24))


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("build", [gpt2, llama])
def test_masked_rows_look_both_ways_and_the_others_do_not(rows_of, build, implementation):
    model = build(implementation).eval()
    _, rows = rows_of(Hybrid())
    tensors = rows.batch().tensors
    changed = {**tensors, "input_ids": tensors["input_ids"].clone()}
    changed["input_ids"][:, -1] = 7
    moved = (Forward(model, tensors).hidden - Forward(model, changed).hidden).abs().amax(-1)[:, :-1]
    both_ways = tensors["bidirectional"] == 1
    assert (moved[both_ways] > 1e-4).all()
    assert (moved[~both_ways] == 0).all()


@pytest.mark.parametrize("build", [gpt2, llama])
def test_causal_rows_are_the_stock_models(rows_of, build):
    model = build().eval()
    _, rows = rows_of(Hybrid())
    tensors = rows.batch().tensors
    causal = tensors["bidirectional"] == 0
    stock = model(input_ids=tensors["input_ids"][causal]).logits.flatten(0, 1)
    ours = Forward(model, tensors).token_logits(tensors["next_positions"])
    torch.testing.assert_close(ours, stock, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", [gpt2, llama])
def test_masked_rows_are_what_the_stock_model_says_when_its_configuration_is_not_causal(rows_of, build):
    model = build().eval()
    _, rows = rows_of(Hybrid())
    tensors = rows.batch().tensors
    masked = tensors["bidirectional"] == 1
    ours = Forward(model, tensors).hidden[masked]
    model.config.is_causal = False
    stock = model.base_model(input_ids=tensors["input_ids"][masked]).last_hidden_state
    torch.testing.assert_close(ours, stock, rtol=1e-4, atol=1e-5)


def test_every_row_counts_the_same(rows_of):
    model = gpt2()
    _, rows = rows_of(Hybrid(masked_rows=0.25))
    batch = rows.batch()
    tensors = batch.tensors
    objective = Hybrid(masked_rows=0.25)
    loss = objective.loss_sum(Forward(model, tensors), tensors) / batch.counts["hybrid"]
    forward = Forward(model, tensors)
    means = []
    for row in range(8):
        kind = "masked" if tensors["bidirectional"][row] else "next"
        here = tensors[f"{kind}_positions"] // 24 == row
        logits = forward.token_logits(tensors[f"{kind}_positions"][here])
        means.append(torch.nn.functional.cross_entropy(logits, tensors[f"{kind}_labels"][here]))
    torch.testing.assert_close(loss, torch.stack(means).mean())
    assert objective.num_predictions(batch) == 6 * 24 + 2 * round(0.15 * 23)


def test_figures_tell_both_kinds_apart():
    sums = {"loss": 10.0, "count": 4.0}
    for kind, loss, right, number in (("next", 20.0, 30, 100), ("masked", 8.0, 6, 8)):
        sums |= {f"{kind}_loss": loss, f"{kind}_correct": right, f"{kind}_frequent": 2, f"{kind}_count": number}
    figures = Hybrid().figures(sums)
    assert figures["hybrid.loss"] == 2.5
    assert figures["hybrid.causal_accuracy"] == 0.3 and figures["hybrid.masked_accuracy"] == 0.75
    assert figures["hybrid.causal_perplexity"] == pytest.approx(np.exp(0.2))
    assert figures["hybrid.masked_perplexity"] == pytest.approx(np.e)
    assert figures["hybrid.masked_baseline"] == 0.25


def test_an_architecture_that_looks_one_way_only_is_refused():
    with pytest.raises(RecipeError, match=r"attention can go both ways: gpt2.*; this is bloom"):
        Hybrid().check_architecture(type("Config", (), {"model_type": "bloom"})())
