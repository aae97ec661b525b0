"""What is faster on a CUDA device gives the same numbers there."""

import json

import pytest
import torch

from ptft.models.compiling import num_compilations
from ptft.run import perform
from ptft.training.work import Feed

pytestmark = [pytest.mark.gpu, pytest.mark.slow]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_arrive_whole(work_of, workers):
    _, source = work_of("masked_lm and next_sentence")
    expected = Feed(source, [(0, 32), (32, 64)], torch.device("cpu"), 0, 20)
    busy = torch.randn(4096, 4096, device="cuda")
    for ours, theirs in zip(
        Feed(source, [(0, 32), (32, 64)], busy.device, 0, 20, workers=workers), expected, strict=True
    ):
        for one, other in zip(ours, theirs, strict=True):
            busy = busy @ busy  # the copy is not to wait for it, and what comes next is to wait for the copy
            found = {name: tensor.clone() for name, tensor in one.tensors.items()}
            assert all(torch.equal(found[name].cpu(), tensor) for name, tensor in other.tensors.items())


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_compiled_runs_have_the_losses_of_eager_ones(kind, tmp_path, pretrain_settings, monkeypatch):
    monkeypatch.setattr("ptft.run.write_report", lambda folder: None)
    logs = []
    for number, setting in enumerate(("auto", False)):
        folder = tmp_path / str(number)
        settings = pretrain_settings(kind, dropout=0.0, budget="30steps", evaluate_every_steps=8)
        perform("pretrain", **settings, precision="fp32", compile=setting, out=str(folder))
        logs.append([json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()])
    assert num_compilations() >= 1
    assert {line["recompilations"] for line in logs[0]} == {0}
    losses, others = ([line["loss"] for line in log] for log in logs)
    assert losses == pytest.approx(others, rel=1e-5)
