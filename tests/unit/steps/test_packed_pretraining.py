"""Pretraining with packed rows: figures, the log, and a stock model at the end."""

import json

import pytest
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForPreTraining

KINDS = {"bert": AutoModelForPreTraining, "gpt2": AutoModelForCausalLM, "llama": AutoModelForCausalLM}


def log(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_on_packed_rows(kind, step, pretrain_settings, tmp_path):
    folder = tmp_path / "run"
    result = step("pretrain", **pretrain_settings(kind, packed_length=128, out=str(folder)))
    assert result["steps"] == 4
    # 4 steps of 8 rows of 128 tokens, which hold several texts of at most 32: wider than the model has positions
    assert 0.8 * 4 * 8 * 128 < result["tokens"] <= 4 * 8 * 128
    lines = [line for line in log(folder) if "padding_ratio" in line]
    assert lines and all(line["padding_ratio"] < 0.2 for line in lines)  # of a tiny corpus
    config = AutoConfig.from_pretrained(folder / "model")
    assert (getattr(config, "n_positions", None) or config.max_position_embeddings) < 128
    _, report = KINDS[kind].from_pretrained(folder / "model", output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_texts_that_see_each_other_train_another_model(step, pretrain_settings, tmp_path):
    losses = []
    for together in (False, True):
        folder = tmp_path / str(together)
        settings = pretrain_settings("gpt2", packed_length=64, dropout=0, cross_document_attention=together)
        step("pretrain", **settings, out=str(folder))
        losses.append([line["loss"] for line in log(folder) if "loss" in line])
    assert losses[0][-1] != losses[1][-1]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_micro_batches_change_nothing(step, pretrain_settings, tmp_path):
    losses = []
    for accumulate in (1, 4):
        folder = tmp_path / str(accumulate)
        step(
            "pretrain", **pretrain_settings("bert", packed_length=64, dropout=0, accumulate=accumulate), out=str(folder)
        )
        losses.append([line["loss"] for line in log(folder) if "loss" in line])
    assert losses[0] == pytest.approx(losses[1], rel=2e-6)
