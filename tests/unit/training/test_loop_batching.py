"""Promise 2: loss and gradient do not depend on how a step's rows are cut into micro-batches or shared by processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROWS, STEPS = 64, 2


@pytest.fixture(scope="module")
def run(work_of, train_some):
    """Losses and gradient norms at each step, and the weights at the end, of a kind cut into so many micro-batches."""
    known = {}

    def do(kind, accumulate):
        if (kind, accumulate) not in known:
            module, source = work_of(kind)
            reports = train_some(module, source, accumulate=accumulate, steps=STEPS)
            losses = [[r.sums[name].item() / r.counts[name] for name in module.weights] for r in reports]
            norms = [report.grad_norm.item() for report in reports]
            known[kind, accumulate] = np.array(losses), np.array(norms), module.state_dict()
        return known[kind, accumulate]

    return do


@pytest.mark.parametrize("accumulate", [4, 16])
def test_accumulation_changes_nothing(run, every_kind, accumulate):
    losses, norms, weights = run(every_kind, 1)
    others, other_norms, other_weights = run(every_kind, accumulate)
    np.testing.assert_allclose(others, losses, rtol=0, atol=2e-6)
    np.testing.assert_allclose(other_norms, norms, rtol=5e-6)
    for key, value in weights.items():
        assert (other_weights[key] - value).abs().max() < 1e-6, key


def test_packed_rows_of_labelled_texts_change_nothing(run):
    losses, norms, weights = run("classification, mean", 1)
    others, other_norms, other_weights = run("classification, mean, unpacked", 1)
    np.testing.assert_allclose(losses, others, rtol=0, atol=2e-6)
    np.testing.assert_allclose(norms, other_norms, rtol=5e-6)
    for key, value in weights.items():
        assert (other_weights[key] - value).abs().max() < 1e-6, key


def test_training_does_something(run, work_of):
    """The equalities above would hold for a loop that stands still, too."""
    module, _ = work_of("masked_lm")
    before = module.state_dict()
    losses, norms, after = run("masked_lm", 1)
    assert max((after[key] - before[key]).abs().max() for key in before) > 0.01
    assert min(norms) > 0.1
    assert len(set(losses[:, 0])) == STEPS


def counts_of(work, name, num_parts):
    _, source = work
    return [source.batch(0, *share).counts[name] for share in source.shares(ROWS // num_parts, 1, 0)]


@pytest.mark.parametrize("kind", ["masked_lm", "masked_lm, few targets", "masked_lm and next_sentence"])
def test_micro_batches_are_ragged(work_of, kind):
    """The numbers of targets and the widths differ, or dividing each micro-batch by its own would do."""
    work = work_of(kind)
    assert len(set(counts_of(work, "masked_lm", 16))) > 3
    assert len({work[1].batch(0, *share).tensors["input_ids"].shape[1] for share in work[1].shares(1, 1, 0)}) > 1


@pytest.mark.parametrize("kind", ["masked_lm, few targets", "masked_lm, few targets, and sentence_order"])
def test_some_micro_batches_have_no_target_at_all(work_of, kind):
    counts = counts_of(work_of(kind), "masked_lm", 16)
    assert 1 < counts.count(0) < 12


def test_some_masked_rows_of_a_hybrid_have_no_target(work_of):
    _, source = work_of("hybrid, few targets")
    batches = [source.batch(0, row, row + 1).tensors for row in range(ROWS)]
    empty = [not len(b["masked_labels"]) for b in batches if b["bidirectional"].item()]
    assert 5 < sum(empty) < len(empty)


def test_some_micro_batches_lack_a_class(work_of):
    _, source = work_of("classification, mean")
    labels = [set(source.batch(0, *share).tensors["labels"].tolist()) for share in source.shares(4, 1, 0)]
    assert any(len(found) < 3 for found in labels)
    assert set().union(*labels) == {0, 1, 2}


def test_two_processes_share_the_micro_batches_in_turns(work_of):
    _, source = work_of("classification, mean")
    assert source.shares(16, 2, 0) == [(0, 16), (32, 48)]
    assert source.shares(16, 2, 1) == [(16, 32), (48, 64)]


def launch(command, num_processes, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(num_processes)]
    done = subprocess.run(
        [*torchrun, *command], env=environment, capture_output=True, text=True, timeout=240, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_give_the_run_of_one(tmp_path, pretrain_settings):
    """The whole step, as ``torchrun -m ptft pretrain`` does it: tokenizer, corpus, training, evaluation, files."""
    settings = pretrain_settings("bert", dropout=0.0, cache="stores", precision="fp32", threads=1)
    settings |= {"checkpoint_every_steps": 2, "evaluate_every_steps": 2, "evaluation_rows": 8}
    settings |= {"ema": 0.5, "batch_ramp": {"start_ratio": 0.7, "share": 1.0}, "milestones_words": [300]}
    (tmp_path / "recipe.yaml").write_text(json.dumps(settings))
    command = ["-m", "ptft", "pretrain", "recipe.yaml"]
    launch([*command, "out=two"], 2, tmp_path)
    launch([*command, "out=four", "accumulate=2"], 2, tmp_path)
    launch([*command, "out=one"], 1, tmp_path)
    one, *others = (read_run(tmp_path / name) for name in ("one", "two", "four"))
    assert [run["processes"] for run in (one, *others)] == [1, 2, 2]
    for other in others:
        assert [line.keys() for line in other["log"]] == [line.keys() for line in one["log"]]
        for name in ("loss", "masked_lm.loss", "next_sentence.loss", "grad_norm", "tokens", "lr"):
            assert [line[name] for line in other["log"]] == pytest.approx([line[name] for line in one["log"]], rel=2e-6)
        assert other["result"]["mlm.loss"] == pytest.approx(one["result"]["mlm.loss"], rel=2e-6)
        assert other["result"]["tokens"] == one["result"]["tokens"]
        assert other["files"] == one["files"]


@pytest.mark.slow
def test_two_processes_keep_one_time_and_make_the_same_steps_again(tmp_path, pretrain_settings):
    settings = pretrain_settings("gpt2", dropout=0.1, cache="stores", precision="fp32", threads=1, budget="3s")
    (tmp_path / "recipe.yaml").write_text(json.dumps(settings))
    command = ["-m", "ptft", "pretrain", "recipe.yaml", "out=run"]
    launch(command, 2, tmp_path)
    first, weights = read_run(tmp_path / "run"), (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    positions = (tmp_path / "run" / "positions.jsonl").read_text()
    assert first["result"]["steps"] == len(positions.splitlines()) > 2
    (tmp_path / "run" / "result.json").unlink()  # as if it had been killed at the very end, without a checkpoint
    launch(command, 2, tmp_path)
    assert (tmp_path / "run" / "positions.jsonl").read_text() == positions
    assert [line["lr"] for line in read_run(tmp_path / "run")["log"]] == [line["lr"] for line in first["log"]]
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == weights


def read_run(folder: Path):
    log = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        "log": log,
        "processes": json.loads((folder / "manifest.json").read_text())["processes"],
        "result": json.loads((folder / "result.json").read_text()),
        "files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()),
    }
