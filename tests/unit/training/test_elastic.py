"""A run goes on with another number of processes; as a job of Slurm it goes on by itself."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = Path(__file__).parents[3] / "docs" / "slurm.sh"
STOPS = """
import os, signal
from ptft.training.logbook import Logbook
write = Logbook.write
def stopping(self, line):
    write(self, line)
    if line["step"] == int(os.environ["STOP"]):
        os.kill(os.getpid(), signal.SIGTERM)
Logbook.write = stopping
from ptft.cli import main
main()
"""
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def torchrun(processes):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return command if processes > 1 else [sys.executable]


@pytest.fixture
def folder(tmp_path, pretrain_settings):
    settings = pretrain_settings("bert", dropout=0.0, cache="stores", precision="fp32", threads=1, ema=0.5)
    settings |= {"checkpoint_every_steps": 50, "budget": "14steps", "evaluate_every_steps": 5, "seed": 3}
    (tmp_path / "recipe.yaml").write_text(json.dumps(settings))
    (tmp_path / "stops.py").write_text(STOPS)
    return tmp_path


def read(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((folder / "result.json").read_text())
    return lines, load_file(folder / "model" / "model.safetensors"), result


def test_one_two_four_one(folder):
    """Steps, rows, learning rates and numbers are those of the run that one process makes without a stop."""

    def go(out, processes, accumulate, stop):
        arguments = ["stops.py", "pretrain", "recipe.yaml", f"out={out}", f"accumulate={accumulate}"]
        environment = {**os.environ, **ENVIRONMENT, "STOP": str(stop)}
        command = [*torchrun(processes), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, cwd=folder)
        assert (done.returncode == 0) == (stop == 0), done.stderr[-3000:]
        return done.stdout + done.stderr

    go("whole", 1, 1, 0)
    for processes, accumulate, stop in ((1, 2, 3), (2, 4, 7), (4, 1, 11)):
        said = go("elastic", processes, accumulate, stop)
        assert said.count(f"stopped after step {stop} of 14") == 1, said
    go("elastic", 1, 8, 0)
    (lines, weights, result), (others, other_weights, other_result) = read(folder / "whole"), read(folder / "elastic")
    exact = {"step", "progress", "tokens", "lr", "batch_hash"}
    close = {name for name in lines[0] if name.endswith("loss")} | {"grad_norm"}
    assert [line["step"] for line in others] == list(range(1, 15))
    for line, other in zip(lines, others, strict=True):
        assert {name: other.get(name) for name in exact} == {name: line.get(name) for name in exact}
        for name in close:
            assert other[name] == pytest.approx(line[name], rel=1e-5), (line["step"], name)
    for name, value in weights.items():
        torch.testing.assert_close(other_weights[name], value, rtol=0, atol=1e-5, msg=name)
    assert other_result["mlm.loss"] == pytest.approx(result["mlm.loss"], abs=1e-4)
    assert other_result["tokens"] == result["tokens"]


@pytest.mark.parametrize("policy", ["full", "gradual_unfreezing", "frozen", "lora"])
def test_fine_tuning_in_two_processes_is_that_of_one(policy, folder, table):
    arguments = ["-m", "ptft", "finetune", f"data={table}", "init=scratch", "preset=bert-tiny", "vocab_size=100"]
    arguments += ["dropout=0", "length=32", "rows_per_step=16", "budget=16steps", "precision=fp32", f"policy={policy}"]
    arguments += ["log_every_steps=1", "threads=1"]
    for processes in (1, 2):
        subprocess.run(
            [*torchrun(processes), *arguments, f"out=run-{processes}"], env={**os.environ, **ENVIRONMENT}, cwd=folder,
            check=True, capture_output=True, timeout=240,
        )  # fmt: skip
    (lines, weights, result), (others, other_weights, other_result) = read(folder / "run-1"), read(folder / "run-2")
    assert [line["batch_hash"] for line in others] == [line["batch_hash"] for line in lines]
    for name, value in weights.items():
        torch.testing.assert_close(other_weights[name], value, rtol=0, atol=1e-5, msg=name)
    assert other_result["test.accuracy"] == result["test.accuracy"]


SBATCH = """#!/bin/bash
# Runs a script as Slurm would, and again each time it asked for that.
export SLURM_JOB_ID=4711 SLURM_JOB_NODELIST=here SLURM_JOB_NUM_NODES=1 SLURM_GPUS_ON_NODE=2
while true; do
    rm -f requeued
    bash "$@" & echo $! > script.pid.partial
    mv script.pid.partial script.pid
    wait $!
    code=$?
    rm script.pid
    [ -e requeued ] || exit $code
done
"""
SCONTROL = """#!/bin/bash
case "$1" in
    show) echo localhost ;;
    requeue) [ "$2" = 4711 ] && touch requeued && echo again >> requeues ;;
esac
"""
# As Slurm's, it kills the step when it gets TERM itself.
SRUN = """#!/bin/bash
while [ "${1#--}" != "$1" ]; do shift; done
setsid "$@" &
step=$!
echo $step > step.pid
trap 'kill -KILL -- -$step' TERM
wait $step
code=$?
while kill -0 $step 2> /dev/null; do wait $step; code=$?; done
exit $code
"""
# Signals all processes of the job's step; not the script.
SCANCEL = """#!/bin/bash
step=$(cat step.pid)
[ "$*" = "--signal=TERM $SLURM_JOB_ID" ] && kill -TERM $step $(cat /proc/$step/task/$step/children)
"""


@pytest.fixture
def slurm(folder):
    """The environment in which Slurm's commands are stand-ins."""
    (folder / "bin").mkdir()
    for name, content in {"sbatch": SBATCH, "scontrol": SCONTROL, "srun": SRUN, "scancel": SCANCEL}.items():
        path = folder / "bin" / name
        path.write_text(content)
        path.chmod(0o755)
    return {**os.environ, **ENVIRONMENT, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHON": sys.executable}


def test_a_job_of_slurm_saves_goes_back_into_the_queue_and_goes_on(folder, slurm):
    log = folder / "job" / "metrics.jsonl"
    arguments = ["pretrain", "recipe.yaml", "budget=400steps"]
    with subprocess.Popen(
        ["sbatch", SCRIPT, *arguments, "out=job"], env=slurm, cwd=folder, stderr=subprocess.PIPE, text=True
    ) as job:
        while job.poll() is None and not (log.exists() and log.read_text().count("\n") > 5):
            time.sleep(0.05)
        os.kill(int((folder / "script.pid").read_text()), signal.SIGUSR1)
        _, said = job.communicate(timeout=600)
    assert job.returncode == 0, said[-3000:]
    assert (folder / "requeues").read_text() == "again\n"
    command = [*torchrun(2), "-m", "ptft", *arguments, "out=whole"]
    subprocess.run(command, env=slurm, cwd=folder, check=True, capture_output=True)
    (lines, weights, _), (others, other_weights, _) = read(folder / "whole"), read(folder / "job")
    assert [line["lr"] for line in others] == [line["lr"] for line in lines]
    assert all(other_weights[name].equal(value) for name, value in weights.items())


def test_a_job_that_fails_or_lacks_its_folder_is_not_started_again(folder, slurm):
    wrong = subprocess.run(
        ["sbatch", SCRIPT, "pretrain", "recipe.yaml", "budget=nothing", "out=job"],
        env=slurm, cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert wrong.returncode != 0
    assert sum(line.startswith("ptft: ") for line in wrong.stderr.splitlines()) == 1
    without = subprocess.run(["sbatch", SCRIPT, "pretrain"], env=slurm, cwd=folder, capture_output=True, text=True)
    assert (without.returncode, without.stderr.startswith("slurm.sh: give out=FOLDER")) == (2, True)
    assert not (folder / "requeues").exists()
