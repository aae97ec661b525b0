"""FSDP2: the pieces that are ours, over gloo; and the sentences for what it cannot do."""

import copy
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ptft.compute import Compute
from ptft.errors import DeviceError
from ptft.objectives.rows import Batch
from ptft.optim.optimizer import Optimizers, parameter_groups
from ptft.optim.optimizers import OPTIMIZERS
from ptft.run import perform
from ptft.sharding import filled, load_state, shard, sharding_asked, spread_like, whole, whole_state
from ptft.training.checkpoint import load_newest, save_checkpoint
from ptft.training.determinism import cost_of_determinism

WORDS, WIDTH = 11, 6
CPU = torch.device("cpu")
SHARDED = "import ptft.sharding\nptft.sharding.sharding_asked = lambda: True\nfrom ptft.cli import main\nmain()\n"


class Tiny(nn.Module):
    """Embeddings tied to the output, around a list of blocks."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()) for _ in range(2))
        self.output = nn.Linear(WIDTH, WORDS, bias=False)
        self.output.weight = self.words.weight
        self.register_buffer("scale", torch.tensor([2.0]))

    def forward(self, ids):
        hidden = self.words(ids)
        for block in self.blocks:
            hidden = hidden + block(hidden) * self.scale
        return self.output(hidden)


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """A process group of this process alone."""
    file = tmp_path_factory.mktemp("group") / "store"
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def make(name="adamw", ema=0.5):
    torch.manual_seed(0)
    return Tiny(), lambda module: Optimizers(
        OPTIMIZERS[name]().build(parameter_groups(module.named_parameters(), 0.01, 0.1), module),
        centered=[module.words.weight],
        ema=ema,
    )


def steps(module, optimizers, count):
    """Gradient norms of some steps, clipped."""
    draw = torch.Generator().manual_seed(3)
    norms = []
    for _ in range(count):
        module(torch.randint(0, WORDS, (4, 5), generator=draw)).logsumexp(-1).sum().backward()
        norms.append(optimizers.clip(1.0).item())
        optimizers.step()
    return norms


def test_a_sharded_module_trains_and_is_gathered_like_a_plain_one(group):
    module, optimizers_of = make()
    sharded = copy.deepcopy(module)
    plain = shard(sharded, CPU)
    ours, theirs = optimizers_of(sharded), optimizers_of(module)
    assert steps(sharded, ours, 3) == pytest.approx(steps(module, theirs, 3), rel=1e-6)
    gathered = whole_state(sharded)
    assert gathered.keys() == whole_state(module).keys() == {
        "words.weight", "scale", *(f"blocks.{i}.0.{part}" for i in (0, 1) for part in ("weight", "bias"))
    }  # fmt: skip
    assert all(type(tensor) is torch.Tensor for tensor in gathered.values())
    for name, value in whole_state(module).items():
        torch.testing.assert_close(gathered[name], value, msg=name)
    full = filled(plain, sharded)
    assert type(full.words.weight) is nn.Parameter
    assert full.output.weight is full.words.weight
    ids = torch.arange(WORDS)
    torch.testing.assert_close(full(ids), module(ids))


def test_a_checkpoint_of_one_kind_is_continued_by_the_other(group, tmp_path):
    module, optimizers_of = make()
    sharded = copy.deepcopy(module)
    shard(sharded, CPU)
    kinds = {"plain": (module, optimizers_of(module)), "sharded": (sharded, optimizers_of(sharded))}
    for name, (one, optimizers) in kinds.items():
        steps(one, optimizers, 2)
        save_checkpoint(tmp_path / name, one, optimizers, {"step": 2}, 1)
    files = [tmp_path / name / "step-00000002" / "optimizer.safetensors" for name in kinds]
    states = [load_file(file) for file in files]
    assert {key: value.shape for key, value in states[0].items()} == {
        key: value.shape for key, value in states[1].items()
    }
    for name, other in (("plain", "sharded"), ("sharded", "plain")):
        again, others_of = make()
        if other == "sharded":
            shard(again, CPU)
        optimizers = others_of(again)
        assert load_newest(tmp_path / name, again, optimizers)["step"] == 2
        steps(again, optimizers, 2)
        former, former_optimizers = make()
        former_optimizers = former_optimizers(former)
        steps(former, former_optimizers, 2)
        steps(former, former_optimizers, 2)
        for key, value in whole_state(former).items():
            torch.testing.assert_close(whole_state(again)[key], value, msg=f"{name} {key}")


class Losses(Tiny):
    """What the loop wants."""

    def forward(self, tensors):
        return {"words": super().forward(tensors["ids"]).logsumexp(-1).sum()}


def test_measuring_determinism_leaves_no_gradients_behind(group):
    torch.manual_seed(0)
    module, compute = Losses(), Compute("fp32", deterministic=True)
    compute.is_sharded = True
    plain = copy.deepcopy(module)
    compute.place(module)
    batch = Batch({"ids": torch.arange(WORDS)[None]}, {"words": WORDS}, WORDS, WORDS)
    assert "forward and backward take" in cost_of_determinism(module, batch, compute)
    norms = []
    for one in (module, plain):
        with compute.no_sync(one, active=False):
            one(batch.tensors)["words"].backward()
        norms.append(whole(nn.utils.clip_grad_norm_(one.parameters(), 1.0)).item())
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    assert compute.whole(module).words.weight.equal(plain.words.weight)


def test_only_the_writer_writes(group, tmp_path):
    module, optimizers_of = make()
    save_checkpoint(tmp_path / "checkpoints", module, optimizers_of(module), {"step": 2}, 1, writes=False)
    assert not (tmp_path / "checkpoints").exists()


def test_plain_tensors_stay_what_they_are():
    value = torch.arange(3.0)
    assert whole(value) is value
    assert spread_like(value, torch.zeros(3)) is value
    module = nn.Linear(2, 2)
    load_state(module, {"weight": torch.ones(2, 2), "other": value})
    assert module.weight.eq(1).all()


@pytest.fixture
def asked(monkeypatch):
    """Ask for FSDP by the launcher's variables, here on a machine with CUDA."""
    sharding_asked.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name, value in {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "true")
    yield monkeypatch
    sharding_asked.cache_clear()


def test_what_the_launcher_says_is_heeded_by_us_alone(asked):
    assert sharding_asked()
    assert os.environ["ACCELERATE_USE_FSDP"] == os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] == "false"
    assert sharding_asked()


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("FSDP_VERSION", "1", r"FSDP of version 1 is not supported; give --fsdp_version 2 \(FSDP_VERSION=2\)"),
        ("FSDP_OFFLOAD_PARAMS", "true", "--fsdp_offload_params .* is not supported under FSDP; leave it out"),
        ("FSDP_ACTIVATION_CHECKPOINTING", "true", "--fsdp_activation_checkpointing .* is not supported under FSDP"),
    ],
)
def test_what_fsdp_cannot_do_is_refused(asked, variable, value, sentence):
    asked.setenv(variable, value)
    with pytest.raises(DeviceError, match=sentence):
        sharding_asked()


def test_fsdp_needs_a_launcher(asked):
    asked.delenv("LOCAL_RANK")
    with pytest.raises(DeviceError, match="FSDP needs a launcher"):
        sharding_asked()


def test_fsdp_on_a_cpu_is_refused_before_anything_is_written(asked, tmp_path, pretrain_settings):
    asked.setattr(torch.cuda, "is_available", lambda: False)
    asked.delenv("LOCAL_RANK")  # no group is made
    with pytest.raises(DeviceError, match="FSDP needs CUDA devices, and there is none; leave --use_fsdp"):
        perform("pretrain", **pretrain_settings("bert"), out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"optimizer": {"name": "muon"}}, "optimizer: muon cannot update weights that FSDP spreads"),
        ({"optimizer": {"name": "adafactor"}}, "optimizer: adafactor cannot update weights that FSDP spreads"),
        ({"milestones_words": [300]}, "milestones_words, keep_best: are not written under FSDP"),
        ({"keep_best": True}, "milestones_words, keep_best: are not written under FSDP"),
        ({"batch_ramp": {"start_ratio": 0.5}}, "batch_ramp: .* FSDP"),
        ({"precision": "fp16"}, "precision='fp16' is not supported under FSDP"),
    ],
)
def test_settings_that_are_not_right_under_fsdp_are_refused(
    settings, sentence, monkeypatch, tmp_path, pretrain_settings
):
    for place in ("ptft.compute", "ptft.steps.training_step", "ptft.steps.pretrain_settings"):
        monkeypatch.setattr(f"{place}.sharding_asked", lambda: True)
    with pytest.raises(DeviceError, match=sentence):
        perform("pretrain", **pretrain_settings("bert", **settings), out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def launch(arguments, folder, *, sharded):
    (folder / "sharded.py").write_text(SHARDED)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = ["sharded.py"] if sharded else ["-m", "ptft"]
    done = subprocess.run(
        [*torchrun, *program, *arguments], env=environment, capture_output=True, text=True, timeout=240, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_sharded_processes_give_the_run_of_ddp(tmp_path, pretrain_settings):
    settings = pretrain_settings("bert", dropout=0.0, cache="stores", precision="fp32", threads=1, accumulate=2)
    settings |= {"ema": 0.5, "center_embeddings": True, "checkpoint_every_steps": 2, "evaluate_every_steps": 3}
    settings |= {"budget": "5steps", "evaluation_rows": 24}
    (tmp_path / "recipe.yaml").write_text(json.dumps(settings))
    command = ["pretrain", "recipe.yaml"]
    launch([*command, "out=ddp"], tmp_path, sharded=False)
    launch([*command, "out=fsdp"], tmp_path, sharded=True)
    for name, other, keep in (("ddp-then-fsdp", "ddp", True), ("fsdp-then-ddp", "fsdp", False)):
        shutil.copytree(tmp_path / other, tmp_path / name)
        for part in ("model", "checkpoints/step-00000004"):
            shutil.rmtree(tmp_path / name / part)
        (tmp_path / name / "result.json").unlink()
        launch([*command, f"out={name}"], tmp_path, sharded=keep)
    whole_run = read(tmp_path / "ddp")
    for name in ("fsdp", "ddp-then-fsdp", "fsdp-then-ddp"):
        other = read(tmp_path / name)
        for figure in ("loss", "grad_norm", "lr"):
            assert other[figure] == pytest.approx(whole_run[figure], rel=2e-6), (name, figure)
        assert other["mlm.loss"] == pytest.approx(whole_run["mlm.loss"], rel=2e-6), name
        assert other["weights"].keys() == whole_run["weights"].keys()
        for key, value in whole_run["weights"].items():
            torch.testing.assert_close(other["weights"][key], value, rtol=0, atol=2e-6, msg=f"{name} {key}")


def read(folder):
    log = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    figures = {name: [line[name] for line in log] for name in ("loss", "grad_norm", "lr")}
    weights = load_file(folder / "model" / "model.safetensors")
    return {**figures, "weights": weights, "mlm.loss": json.loads((folder / "result.json").read_text())["mlm.loss"]}
