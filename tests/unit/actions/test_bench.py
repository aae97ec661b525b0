"""The verb ``bench``: what its table and its JSON hold, that it leaves nothing behind, and what cannot be measured."""

import json
import re
from pathlib import Path

import pytest
import torch

import ptft
from ptft.actions import ACTIONS, bench
from ptft.config import load
from ptft.display import Silent
from ptft.errors import DeviceError, RecipeError
from ptft.steps import trial

SHAPE = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
TINY = {"preset": "bert-tiny", "shape": SHAPE, "vocab_size": 100, "length": 32, "rows_per_step": 4, "threads": 1}
METERS = {
    "tokens_per_second", "step_ms", "step_ms_low", "step_ms_high", "steps", "mfu", "padding_ratio", "data_wait_ratio",
    "head_share", "optimizer_share", "memory_gb", "seconds_10M", "seconds_100M", "seconds_1B", "precision", "attention",
}  # fmt: skip


@pytest.fixture
def measure(monkeypatch, tmp_path):
    """Measure for a moment, in an empty folder, which must stay so."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trial, "_MEASURED_SECONDS", 0.01)
    monkeypatch.setattr(trial, "_LIKE_TEXT", 1 << 14)

    def do(**settings):
        text = ptft.bench(**{**TINY, "seconds": 0.3, **settings})
        assert list(tmp_path.iterdir()) == []
        return text

    return do


def test_json_has_every_meter_of_each_measurement(measure):
    found = json.loads(measure(format="json", precision=["fp32"], attention=["sdpa", "eager"]))
    assert [(row["precision"], row["attention"]) for row in found["rows"]] == [("fp32", "sdpa"), ("fp32", "eager")]
    assert (found["preset"], found["objective"], found["optimizer"]) == ("bert-tiny", "masked_lm", "adamw")
    assert (found["threads"], found["length"], found["rows_per_step"]) == (1, 32, 4)
    assert {"device", "versions", "commit", "parameters"} <= found.keys()
    for row in found["rows"]:
        assert row.keys() == METERS
        assert row["steps"] >= 1
        assert row["step_ms_low"] <= row["step_ms"] <= row["step_ms_high"]
        assert row["seconds_1B"] == pytest.approx(1e9 / row["tokens_per_second"])
        assert all(0 <= row[name] <= 1 for name in ("data_wait_ratio", "head_share", "optimizer_share"))
        assert 0 < row["padding_ratio"] < 0.6
        assert row["memory_gb"] > 0.05


def test_the_table_has_a_line_for_each_meter(measure):
    lines = measure(precision=["fp32"], objective=["masked_lm", "next_sentence"]).splitlines()
    assert re.fullmatch(
        r"bert-tiny, [\d,]+ parameters with 100 tokens; masked_lm,next_sentence; 4 rows of 32 tokens; adamw", lines[0]
    )
    assert lines[1].endswith("; 1 thread")
    assert lines[3].strip() == "fp32, sdpa"
    assert {line[:32].strip() for line in lines[4:]} >= {"tokens a second", "vocabulary head's share of FLOPs"}
    assert [line.split()[2] for line in lines[-3:]] == ["10M", "100M", "1B"]
    assert re.search(r"[\d.]+ (s|min|h|days|years)$", lines[-1])


@pytest.mark.parametrize(("preset", "objective"), [("gpt2-tiny", "causal_lm"), ("llama-tiny", "hybrid")])
def test_decoders(preset, objective, measure):
    shape = {"n_layer": 1, "n_embd": 16} if preset == "gpt2-tiny" else {**SHAPE, "num_key_value_heads": 2}
    given = {"preset": preset, "shape": shape, "objective": [objective], "vocab_size": 300}
    text = measure(**given, precision=["fp32"], format="json")
    (row,) = json.loads(text)["rows"]
    assert row["padding_ratio"] == 0
    assert 0 < row["head_share"] < 1


@pytest.mark.parametrize(("best", "measured"), [("fp32", ("fp32",)), ("bf16", ("fp32", "bf16"))])
def test_precisions_are_those_of_the_hardware(best, measured, monkeypatch):
    monkeypatch.setattr(bench, "resolve_precision", lambda name: best if name == "auto" else name)
    action = load(ACTIONS["bench"], base=TINY).settings
    assert action._precisions() == measured
    assert load(ACTIONS["bench"], base={**TINY, "precision": ["auto", "auto"]}).settings._precisions() == (best,)


def test_the_first_lines_of_a_log_do_not_count():
    """Nor are the time and the tokens of the lines before counted twice."""
    ratios = {"mfu": 0.5, "padding_ratio": 0.25, "data_wait_ratio": 0.0, "head_share": 0.5}
    slow = {"step": 1, "tokens": 100, "tokens_per_second": 1.0, **ratios}
    lines = [{"step": 1 + 2 * n, "tokens": 100 + 200 * n, "tokens_per_second": 50.0 * n, **ratios} for n in (1, 2, 4)]
    lines[2] |= {"step": 7, "tokens": 700}
    figures = bench._figures([slow, *lines], update_seconds=0.2)
    assert figures["tokens_per_second"] == pytest.approx(600 / (200 / 50 + 200 / 100 + 200 / 200))
    assert (figures["steps"], figures["step_ms"]) == (6, pytest.approx(1000))
    assert figures["optimizer_share"] == pytest.approx(0.2)
    assert bench._figures([slow], 0.0)["tokens_per_second"] == 1  # it is all there is


def test_text_is_of_many_lengths():
    step = load(ACTIONS["bench"], base=TINY).settings._step("fp32")
    batches = trial.text_batches(step, trial.planned_config(step, trial.planned_tokenizer(step)))
    first = [batches.batch(number, 0, 4) for number in range(20)]
    assert len({batch.num_tokens for batch in first}) > 3
    again = trial.text_batches(step, trial.planned_config(step, trial.planned_tokenizer(step)))
    assert torch.equal(again.batch(3, 0, 4).tensors["input_ids"], first[3].tensors["input_ids"])


# What cannot be measured


def refused(error, **settings):
    with pytest.raises(error) as caught:
        load(ACTIONS["bench"], base={**TINY, **settings}, base_origin="the test").settings.do(Silent())
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"preset": "bert-tny"}, r"unknown preset 'bert-tny'; did you mean 'bert-tiny'\? Known: bert-base"),
        ({"length": 1024}, r"length: 1024 tokens are more than the model's 512 positions; give at most that"),
        ({"objective": ["causal_lm"]}, r"preset: 'bert-tiny' is an encoder, but causal_lm trains a decoder"),
        ({"accumulate": 3}, r"rows_per_step: 4 rows cannot be shared equally by 1 process\(es\) with accumulate=3"),
        ({"attention": []}, r"attention: name at least one of auto, sdpa, eager"),
        ({"seconds": 1e-9}, r"seconds: 1e-09 are too few: a step of 4 rows of 32 tokens takes about \S+ s here, and "),
        ({"preset": "gpt1", "shape": {"n_layer": 1, "n_embd": 24}, "attention": ["sdpa"], "vocab_size": 300},
         r"attention: openai-gpt has no sdpa attention in transformers; give another, or auto"),
    ],
)  # fmt: skip
def test_mistakes(settings, sentence):
    assert re.match(sentence, refused(RecipeError, precision=["fp32"], **settings))


def test_too_few_seconds_say_what_would_do(monkeypatch):
    monkeypatch.setattr(trial, "_TRIED_SECONDS", 0.0)  # no row is tried: the device's best rate is taken
    monkeypatch.setattr(bench, "peak_flops", lambda device, dtype: 1e6)
    text = refused(RecipeError, precision=["fp32"], seconds=10)
    found = re.search(r"about (\S+) s here, and 1 x 4 are needed; give seconds=(\d+), or rows_per_step=(\d+)$", text)
    step, seconds, rows = (float(number) for number in found.groups())
    assert seconds == pytest.approx(step * 4 * 1.5, rel=0.1)
    assert step * rows / 4 * 4 < 10


def test_a_model_too_large_for_the_memory(monkeypatch):
    monkeypatch.setattr(bench, "free_bytes", lambda device: 1000)
    text = refused(DeviceError, precision=["fp32"])
    assert re.match(r"preset: the weights of bert-tiny and what goes with them take 0\.0 GB, and 0\.0 GB ", text)


def test_it_is_not_for_spread_weights(monkeypatch):
    monkeypatch.setattr(bench, "sharding_asked", lambda: True)
    assert refused(DeviceError).startswith("bench: is not for FSDP")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets a peak")
def test_the_peak_of_memory_begins_anew():
    from ptft.compute import Compute

    compute = Compute("fp32")
    if compute.device.type == "cuda":
        pytest.skip("torch counts there")
    torch.ones(50_000_000).sum()
    before = bench._peak_gb(compute)
    bench._forget_peak(compute)
    assert bench._peak_gb(compute) < before - 0.1
