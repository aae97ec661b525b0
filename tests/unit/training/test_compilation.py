"""``compile=true``: one compilation before the first step and none after it, and the losses of the eager body."""

import json
import os
import subprocess
import sys
from functools import partial

import pytest
import torch

from ptft.config import load
from ptft.errors import DeviceError
from ptft.inspection.verification import verify
from ptft.models import compiling
from ptft.models.compiling import compile_body, eagerly, num_compilations
from ptft.run import perform
from ptft.steps import STEPS

STEPS_DONE = 14


class Backend:
    """Stands for torch's compiler: notes each graph that it is given and each call of it, and runs it as it is."""

    def __init__(self):
        self.graphs = self.calls = 0

    def __call__(self, graph, inputs):
        self.graphs += 1

        def run(*given):
            self.calls += 1
            return graph.forward(*given)

        return run


@pytest.fixture
def backend(monkeypatch):
    made = Backend()
    monkeypatch.setattr("ptft.steps.training_step.compile_body", partial(compile_body, backend=made))
    return made


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch):
    monkeypatch.setattr("ptft.run.write_report", lambda folder: None)
    yield
    if compiling._compiled:
        torch.compiler.reset()
        compiling._compiled.clear()


def log_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def pretrain(settings, folder, **others):
    perform("pretrain", **{"precision": "fp32", **settings}, threads=1, out=str(folder), **others)
    return log_of(folder)


@pytest.mark.parametrize(
    ("kind", "precision", "others"),
    [
        ("bert", "fp32", {}), ("bert", "bf16", {"objective": "masked_lm"}), ("bert", "fp32", {"packed_length": 64}),
        ("gpt2", "fp32", {"packed_length": 64}), ("gpt2", "bf16", {}), ("llama", "fp32", {}), ("hybrid", "bf16", {}),
    ],
)  # fmt: skip
def test_pretraining_compiles_once(kind, precision, others, backend, tmp_path, pretrain_settings, monkeypatch):
    monkeypatch.setattr("ptft.compute.has_native_bf16", lambda: True)
    common = {"budget": f"{STEPS_DONE}steps", "accumulate": 2, "evaluate_every_steps": 4, "precision": precision}
    settings = pretrain_settings(kind, **common, **others)
    log = pretrain(settings, tmp_path / "run", compile=True)
    assert [line["recompilations"] for line in log] == [0] * STEPS_DONE
    assert backend.graphs == 1
    assert backend.calls == 1 + 2 * STEPS_DONE  # two micro-batches a step, and the one before the first


def test_fine_tuning_compiles_once_for_all_seeds(backend, tmp_path, table, bert_run):
    perform(
        "finetune", model=str(bert_run), data=str(table), seeds=2, length=24, rows_per_step=8, compile=True,
        budget=f"{STEPS_DONE}steps", log_every_steps=1, precision="fp32", threads=1, out=str(tmp_path / "run"),
    )  # fmt: skip
    for seed in (0, 1):
        log = log_of(tmp_path / "run" / f"seed-{seed}")
        assert [line["recompilations"] for line in log] == [0] * STEPS_DONE
    assert backend.graphs == 1
    assert backend.calls == 2 * (1 + STEPS_DONE)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_rows_and_losses_are_those_without(kind, backend, tmp_path, pretrain_settings):
    settings = pretrain_settings(kind, dropout=0.0, budget="12steps")
    ours = pretrain(settings, tmp_path / "ours", compile=True)
    theirs = pretrain(settings, tmp_path / "theirs", compile=False)
    assert backend.calls == 13
    assert [line["batch_hash"] for line in ours] == [line["batch_hash"] for line in theirs]
    assert [line["loss"] for line in ours] == pytest.approx([line["loss"] for line in theirs], rel=1e-5)
    assert [line["grad_norm"] for line in ours] == pytest.approx([line["grad_norm"] for line in theirs], rel=1e-4)
    assert not any("recompilations" in line for line in theirs)


def test_smaller_micro_batches_of_a_growing_batch_are_not_compiled(backend, tmp_path, pretrain_settings):
    ramp = {"start_ratio": 0.5, "share": 0.5}
    log = pretrain(pretrain_settings("bert", budget="20steps", batch_ramp=ramp), tmp_path / "run", compile=True)
    assert {line["recompilations"] for line in log} == {0}
    assert backend.graphs == 1
    assert 1 < backend.calls < 20


def test_where_memory_was_short_the_halves_are_compiled(backend, tmp_path, pretrain_settings, monkeypatch):
    original = torch.Tensor.backward
    calls = iter(range(1000))

    def short_once(*given, **options):
        if next(calls) == 3:  # that of the third step; the first one is before it
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(*given, **options)

    monkeypatch.setattr(torch.Tensor, "backward", short_once)
    log = pretrain(pretrain_settings("gpt2", budget="6steps"), tmp_path / "run", compile=True)
    assert [line["recompilations"] for line in log] == [0, 0, 1, 1, 1, 1]


def test_what_is_saved_and_verified_is_as_without(backend, tmp_path, pretrain_settings):
    settings = pretrain_settings("bert", budget="6steps", checkpoint_every_steps=4)
    pretrain(settings, tmp_path / "run", compile=True)
    assert verify(tmp_path / "run")[0].differences == []
    pretrain(pretrain_settings("bert", model=str(tmp_path / "run"), preset="", shape={}), tmp_path / "on")


def test_gradient_checkpointing_is_compiled_too(backend, tmp_path, pretrain_settings):
    settings = pretrain_settings("bert", dropout=0.0, budget="3steps")
    ours = pretrain(settings, tmp_path / "ours", compile=True, gradient_checkpointing=True)
    theirs = pretrain(settings, tmp_path / "theirs")
    assert backend.graphs == 1
    assert [line["loss"] for line in ours] == pytest.approx([line["loss"] for line in theirs], rel=1e-5)


def test_what_cannot_be_compiled_is_a_sentence_before_training(tmp_path, pretrain_settings, monkeypatch):
    def no_compiler(graph, inputs):
        raise RuntimeError("No working C++ compiler found in torch._inductor.config.cpp.cxx: (None, 'g++')")

    monkeypatch.setattr("ptft.steps.training_step.compile_body", partial(compile_body, backend=no_compiler))
    sentence = r"^compile: torch cannot compile this model here \(.*No working C\+\+ compiler.*\); give compile=false"
    with pytest.raises(DeviceError, match=sentence):
        pretrain(pretrain_settings("bert"), tmp_path / "run", compile=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("verb", "setting", "device", "expected"),
    [
        ("pretrain", "auto", "cuda", True), ("pretrain", "auto", "cpu", False), ("pretrain", True, "cpu", True),
        ("pretrain", False, "cuda", False), ("finetune", "auto", "cuda", False), ("finetune", True, "cuda", True),
    ],
)  # fmt: skip
def test_where_it_is_on(verb, setting, device, expected):
    data = {"corpus": {"path": "embedded"}, "objective": "causal_lm"} if verb == "pretrain" else {"data": "x"}
    assert load(STEPS[verb], base={**data, "compile": setting}).settings.compiles(device) == expected


def test_under_fsdp_it_is_off_or_refused(monkeypatch):
    monkeypatch.setattr("ptft.steps.training_step.sharding_asked", lambda: True)
    base = {"corpus": {"path": "embedded"}, "objective": "causal_lm"}
    assert not load(STEPS["pretrain"], base=base).settings.compiles("cuda")
    with pytest.raises(DeviceError, match="compile: true is not supported under FSDP; give compile=false, or use DDP"):
        load(STEPS["pretrain"], base={**base, "compile": True}).settings.compiles("cuda")


def test_nothing_compiled_costs_nothing():
    assert num_compilations() == 0
    with eagerly(), eagerly(active=False):
        pass


# A training with torch's tracing, but without its code generator, which takes long.
TRAIN = """
import json, sys
from functools import partial
import ptft.run, ptft.steps.training_step as training_step
from ptft.models.compiling import compile_body

training_step.compile_body = partial(compile_body, backend="aot_eager")
ptft.run.write_report = lambda folder: None
ptft.run.perform("pretrain", **json.loads(sys.argv[1]))
"""


@pytest.mark.slow
def test_two_processes_compile_once_and_have_the_losses_of_one(tmp_path, pretrain_settings):
    common = {"budget": "12steps", "dropout": 0.0, "precision": "fp32", "threads": 1, "evaluate_every_steps": 5}
    settings = pretrain_settings("bert", **common, cache=str(tmp_path / "cache"))
    (tmp_path / "train.py").write_text(TRAIN)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    for command, out, others in (
        (torchrun, "two", {"compile": True, "accumulate": 2}), ([sys.executable], "one", {"compile": False}),
    ):  # fmt: skip
        given = json.dumps({**settings, **others, "out": str(tmp_path / out)})
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(
            [*command, str(tmp_path / "train.py"), given], env=environment, capture_output=True, text=True, timeout=280
        )
        assert done.returncode == 0, done.stderr[-3000:]
    ours, theirs = (log_of(tmp_path / name) for name in ("two", "one"))
    assert {line["recompilations"] for line in ours} == {0}
    assert [line["loss"] for line in ours] == pytest.approx([line["loss"] for line in theirs], rel=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler uses what torch deprecates
@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_torchs_compiler_gives_the_losses_of_the_eager_body(kind, tmp_path, pretrain_settings):
    settings = pretrain_settings(kind, dropout=0.0, budget="12steps")
    ours = pretrain(settings, tmp_path / "ours", compile=True)
    theirs = pretrain(settings, tmp_path / "theirs", compile=False)
    assert [line["loss"] for line in ours] == pytest.approx([line["loss"] for line in theirs], rel=1e-5)
    assert {line["recompilations"] for line in ours} == {0}
