"""Processes on a CUDA device: DDP and FSDP2 at world size one, through torchrun and through Accelerate's launcher."""

import json
import os
import subprocess
import sys

import pytest
from safetensors.torch import load_file

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1"]
FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


def run(command, folder, variables, *overrides):
    environment = {**os.environ, **variables, "PYTHONWARNINGS": "ignore"}
    arguments = ["-m", "ptft", "pretrain", "recipe.yaml", *overrides]
    done = subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, timeout=280, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def read(folder):
    log = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    weights = load_file(folder / "model" / "model.safetensors")
    return [line["loss"] for line in log], [line["grad_norm"] for line in log], weights.keys()


@pytest.fixture
def folder(tmp_path, pretrain_settings):
    settings = pretrain_settings("bert", dropout=0.0, cache="stores", budget="6steps", checkpoint_every_steps=3)
    (tmp_path / "recipe.yaml").write_text(json.dumps(settings))
    return tmp_path


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 1e-3)])
def test_ddp_and_fsdp_give_the_run_of_one_process(precision, tolerance, folder):
    run([sys.executable], folder, {}, f"precision={precision}", "out=alone")
    run(TORCHRUN, folder, {}, f"precision={precision}", "out=ddp")
    run(TORCHRUN, folder, FSDP, f"precision={precision}", "out=fsdp")
    launcher = [*ACCELERATE, "--use_fsdp", "--fsdp_version", "2"]
    run(launcher, folder, {}, f"precision={precision}", "out=launched")
    losses, norms, names = read(folder / "alone")
    for other in ("ddp", "fsdp", "launched"):
        other_losses, other_norms, other_names = read(folder / other)
        assert other_losses == pytest.approx(losses, rel=tolerance), other
        assert other_norms == pytest.approx(norms, rel=10 * tolerance), other
        assert other_names == names


def test_deterministic_mode_says_its_cost_and_gives_the_same_bits(folder):
    for name in ("one", "two"):
        said = run([sys.executable], folder, {}, "deterministic=true", "precision=bf16", f"out={name}")
        assert "deterministic=true: forward and backward take" in said
    one, two = ((folder / name / "model" / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
