"""Loss and gradient do not depend on batching: 64 x 1 beside 16 x 4, 4 x 16 and 2 processes x 8 x 4, in fp32.

Run: python benchmarks/batching.py [--quick] [--only batching|elastic|trainer]

``batching``: at each step of a run of 64 rows in one micro-batch (AdamW), loss and gradient norm are measured from the
very same weights with the rows cut otherwise, by the project's own loop with a learning rate of nothing; dropout 0. The
figures are the largest relative differences over all steps, objectives and heads; then the same free-running, each run
with its own weights, where Muon's bf16 iterations let runs drift (no bar).

``elastic``: a pretraining stopped by SIGTERM at drawn steps and continued on 1, 2, 4 and 1 processes, beside one that
nothing stopped: steps whose batch differs, the largest difference of learning rates, the final losses' difference.

``trainer``: Hugging Face's ``Trainer`` of the installed version on rows that are masked beforehand and come in one
order, AdamW at a constant rate, dropout 0, fp32: 64 x 1, 16 x 4 and 4 x 16. ``hf_trainer_max_loss_factor`` is the
largest ratio, at any step, between the losses (or the gradient norms) that the three runs log, for BertForMaskedLM and
for BertForPreTraining (masked LM and next sentence); their weights go apart as soon as one step differs. Beside it
``our_max_loss_factor``, the same of our free runs on the same rows. No bar: nobody promised it of the Trainer.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batching_works import LENGTH, NAMES, ROWS, Work, alone, figures_of, optimizers_of, steps, work_of
from measure import Table, arguments
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainingArguments

from ptft import rng
from ptft.compute import Compute

CUTS = {"16x4": 16, "4x16": 4}
LR = 1e-3
BAR = 1e-5
Curve = list[tuple[float, float]]


def from_the_same_weights(work: Work, num_steps: int, others: Mapping[str, tuple[int, Compute]]) -> dict[str, Curve]:
    """Loss and gradient norm at each step of the run of one micro-batch, and with its weights for other cuts."""
    module, compute = work.module.train(), alone()
    wrapped = {name: there.wrap(module) if there.num_processes > 1 else module for name, (_, there) in others.items()}
    trains, stands = optimizers_of("adamw", module, LR), optimizers_of("sgd", module, 0.0)
    found: dict[str, Curve] = {"64x1": [], **{name: [] for name in others}}
    for step in range(num_steps):
        for name, (rows, there) in others.items():
            report = next(steps(work, wrapped[name], stands, rows, there, step, step + 1))
            found[name].append(figures_of(report, work.weights, there))
        report = next(steps(work, module, trains, ROWS, compute, step, step + 1))
        found["64x1"].append(figures_of(report, work.weights, compute))
    return found


def free_run(work: Work, optimizer: str, rows: int, num_steps: int) -> Curve:
    """Loss and gradient norm at each step of a run of its own."""
    module, compute = deepcopy(work.module).train(), alone()
    optimizers = optimizers_of(optimizer, module, LR)
    reports = steps(work, module, optimizers, rows, compute, 0, num_steps)
    return [figures_of(report, work.weights, compute) for report in reports]


def largest_difference(curves: Mapping[str, Curve]) -> tuple[float, float]:
    """Of losses and of gradient norms, relative to the run of one micro-batch."""
    whole = np.array(curves["64x1"])
    found = [np.abs(np.array(curve) / whole - 1).max(0) for name, curve in curves.items() if name != "64x1"]
    loss, norm = np.max(found, axis=0)
    return float(loss), float(norm)


def two_processes(folder: Path, num_steps: int) -> dict[str, dict[str, Curve]]:
    """What :func:`worker` found, started twice by torchrun."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    task = {"PTFT_BATCHING": json.dumps([str(folder), num_steps])}
    subprocess.run([*torchrun, __file__], env={**environment, **task}, check=True)
    found: dict[str, dict[str, Curve]] = json.loads((folder / "two.json").read_text())
    return found


def worker() -> None:
    """In one of two processes: the run of one micro-batch in each, and 2 x 8 x 4 from its weights together."""
    folder, num_steps = json.loads(os.environ["PTFT_BATCHING"])
    together = Compute("fp32")
    assert together.num_processes == 2
    found = {}
    for name in NAMES:
        work = work_of(name, Path(folder) / f"rank-{together.rank}")
        found[name] = from_the_same_weights(work, num_steps, {"2x8x4": (8, together)})
    if together.is_main:
        (Path(folder) / "two.json").write_text(json.dumps(found))
    together.wait()


def batching(table: Table, folder: Path, num_steps: int) -> None:
    """Same weights, then free runs."""
    shared = two_processes(folder, num_steps)
    same, free = {}, {}
    for name in NAMES:
        work = work_of(name, folder)
        free[name] = {
            optimizer: {cut: free_run(work, optimizer, rows, num_steps) for cut, rows in {"64x1": ROWS, **CUTS}.items()}
            for optimizer in ("adamw", "muon")
        }
        curves = from_the_same_weights(work, num_steps, {cut: (rows, alone()) for cut, rows in CUTS.items()})
        parts = {cut: {"64x1": curves["64x1"], cut: curves[cut]} for cut in CUTS} | {"2x8x4": shared[name]}
        found = {cut: largest_difference(part) for cut, part in parts.items()}
        same[name] = np.max(list(found.values()), axis=0).tolist()
        for cut, (loss, norm) in found.items():
            table.details.setdefault("same_weights", {}).setdefault(name, {})[cut] = {"loss": loss, "grad_norm": norm}
        table.add(f"{name}.relative_loss_difference", same[name][0])
        table.add(f"{name}.relative_grad_norm_difference", same[name][1])
    table.add("max_relative_loss_difference", float(np.max([loss for loss, _ in same.values()])), at_most=BAR)
    table.add("max_relative_grad_norm_difference", float(np.max([norm for _, norm in same.values()])), at_most=BAR)
    for optimizer in ("adamw", "muon"):
        ends = {
            name: largest_difference({k: v[-1:] for k, v in runs[optimizer].items()}) for name, runs in free.items()
        }
        table.details[f"free_{optimizer}"] = {name: {"loss": a, "grad_norm": b} for name, (a, b) in ends.items()}
        bar = BAR if optimizer == "adamw" else None
        table.add(f"free_{optimizer}_final_loss_difference", float(np.max([a for a, _ in ends.values()])), at_most=bar)
    ours = [factor(list(free[name]["adamw"].values())) for name in ("masked_lm", "masked_lm_next_sentence")]
    table.add("our_max_loss_factor", max(ours))


def factor(curves: Sequence[Curve]) -> float:
    """The largest ratio between the figures of several runs at the same step."""
    found = np.array(curves)
    return float((found.max(0) / found.min(0)).max())


# Hugging Face's Trainer


class InOrder(Trainer):
    """The Trainer, which shuffles unless its sampler is another."""

    def _get_train_sampler(self, *given: Any) -> SequentialSampler:
        return SequentialSampler(given[0] if given else self.train_dataset)


def trainer(table: Table, folder: Path, num_steps: int) -> None:
    """The Trainer's logged losses and gradient norms for three ways to cut the same rows."""
    factors = {}
    for name in ("masked_lm", "masked_lm_next_sentence"):
        work = work_of(name, folder)
        rows = [row for step in range(num_steps) for row in masked_rows(work, step)]
        runs = {}
        for cut, size in {"64x1": ROWS, **CUTS}.items():
            options = TrainingArguments(
                output_dir=str(folder / "trainer"), per_device_train_batch_size=size,
                gradient_accumulation_steps=ROWS // size, max_steps=num_steps, learning_rate=LR, weight_decay=0.0,
                lr_scheduler_type="constant", max_grad_norm=1.0, logging_steps=1, save_strategy="no", use_cpu=True,
                report_to="none", disable_tqdm=True, seed=0, optim="adamw_torch",
            )  # fmt: skip
            made = InOrder(model=deepcopy(work.module.model), args=options, train_dataset=rows)
            made.train()
            lines = [line for line in made.state.log_history if "grad_norm" in line]
            runs[cut] = [(line["loss"], line["grad_norm"]) for line in lines]
            assert len(runs[cut]) == num_steps
        parts = np.array(list(runs.values()))
        ratios = (parts.max(0) / parts.min(0)).max(0)
        table.add(f"hf_trainer.{name}.loss_factor", float(ratios[0]))
        table.add(f"hf_trainer.{name}.grad_norm_factor", float(ratios[1]))
        table.details.setdefault("hf_trainer_first_steps", {})[name] = {cut: run[:3] for cut, run in runs.items()}
        factors[name] = float(ratios.max())
    table.add("hf_trainer_max_loss_factor", max(factors.values()))


def masked_rows(work: Work, step: int) -> list[dict[str, torch.Tensor]]:
    """The rows of a step as the Trainer wants them: of one length, with labels of -100 where nothing is asked."""
    tensors = work.source.batch(step, 0, ROWS).tensors
    width = tensors["input_ids"].shape[1]
    labels = torch.full(tensors["input_ids"].shape, -100)
    positions = tensors["masked_positions"]
    labels.view(-1)[positions] = tensors["masked_labels"]
    inputs = {name: tensors[name] for name in ("input_ids", "token_type_ids", "attention_mask") if name in tensors}
    wide = {name: torch.nn.functional.pad(value, (0, LENGTH - width)) for name, value in inputs.items()}
    wide["labels"] = torch.nn.functional.pad(labels, (0, LENGTH - width), value=-100)
    if "pair_labels" in tensors:
        wide["next_sentence_label"] = tensors["pair_labels"]
    return [{name: value[row] for name, value in wide.items()} for row in range(ROWS)]


# Elastic runs


def elastic(table: Table, folder: Path, num_steps: int) -> None:
    """One run that nothing stops, and one on 1, 2, 4 and 1 processes, stopped at drawn steps."""
    settings = {
        "objective": ["masked_lm", "next_sentence"], "corpus": {"path": "embedded"}, "preset": "bert-tiny",
        "shape": SHAPE, "dropout": 0.0, "vocab_size": 400, "length": LENGTH, "rows_per_step": ROWS, "lr": LR,
        "budget": f"{num_steps}steps", "log_every_steps": 1, "checkpoint_every_steps": num_steps, "precision": "fp32",
        "threads": 1, "evaluation_rows": 256, "cache": str((folder / "stores").absolute()),
    }  # fmt: skip
    recipe = folder / "elastic.yaml"
    recipe.write_text(json.dumps(settings))
    stamp = time.strftime("%H%M%S")
    whole, parts = folder / f"whole-{stamp}", folder / f"elastic-{stamp}"
    carry_out(recipe, whole, 1, 0)
    draws = rng.integers(num_steps // 6, 0, rng.key_of("stops"), np.arange(3)).tolist()
    stops = [num_steps * part // 4 + draw for part, draw in zip((0, 1, 2), draws, strict=True)]
    reached = [
        carry_out(recipe, parts, processes, stop) for processes, stop in zip((1, 2, 4, 1), (*stops, 0), strict=True)
    ]
    one, other = (read_log(path) for path in (whole, parts))
    assert [line["step"] for line in one] == [line["step"] for line in other] == list(range(1, num_steps + 1))
    if "batch_hash" in one[0]:
        different = sum(a["batch_hash"] != b["batch_hash"] for a, b in zip(one, other, strict=True))
    else:
        table.leave_out("batch_hash is not in the log: the rows of 1, 2 and 4 processes are compared at their source")
        different = different_rows(folder, num_steps)
    table.details["elastic_stops"] = dict(zip(("1", "2", "4"), reached, strict=False))
    table.add("elastic_different_sample_ids", different, at_most=0)
    table.add(
        "elastic_max_lr_difference", max(abs(a["lr"] - b["lr"]) for a, b in zip(one, other, strict=True)), at_most=0
    )
    differences = [abs(a["loss"] - b["loss"]) for a, b in zip(one, other, strict=True)]
    table.add("elastic_max_loss_difference", max(differences))
    table.add("elastic_final_loss_difference", differences[-1], at_most=1e-4)


SHAPE = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}


def carry_out(recipe: Path, out: Path, processes: int, stop: int) -> int:
    """Start or continue the run; at a step other than 0 ask it to stop. Gives the last step that it logged."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    accumulate = {1: 2, 2: 4, 4: 1}[processes]
    arguments = ["-m", "ptft", "pretrain", str(recipe), f"out={out}", f"accumulate={accumulate}"]
    command = [sys.executable, *(torchrun if processes > 1 else []), *arguments]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as run:
        while stop and run.poll() is None and (not (lines := read_log(out)) or lines[-1]["step"] < stop):
            time.sleep(0.05)
        if stop:
            run.send_signal(signal.SIGTERM)
        _, said = run.communicate()
    is_finished = (out / "result.json").exists()
    if is_finished != (stop == 0):
        raise RuntimeError(f"{processes} process(es), stop at {stop}: finished is {is_finished}\n{said[-3000:]}")
    return int(read_log(out)[-1]["step"])


def read_log(out: Path) -> list[dict[str, Any]]:
    """The whole lines of a run's log."""
    path = out / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def different_rows(folder: Path, num_steps: int) -> int:
    """Steps at which the rows of 2 or 4 processes together are not those of one."""
    source = work_of("masked_lm_next_sentence", folder).source

    def digest(step: int, processes: int) -> str:
        shares = sorted(share for rank in range(processes) for share in source.shares(16, processes, rank))
        rows = [row for share in shares for row in source.batch(step, *share).tensors["input_ids"].tolist()]
        return hashlib.sha256(repr([[token for token in row if token] for row in rows]).encode()).hexdigest()

    return sum(len({digest(step, processes) for processes in (1, 2, 4)}) > 1 for step in range(num_steps))


def main() -> None:
    """The parts one after the other."""
    if "PTFT_BATCHING" in os.environ:
        return worker()
    torch.set_num_threads(1)
    options = arguments(__doc__ or "", only=("batching", "elastic", "trainer"))
    table = Table("batching", options.quick)
    folder = (options.work / ("batching-quick" if options.quick else "batching")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    num_steps = 6 if options.quick else 50
    if options.quick:
        table.leave_out(f"50 steps: {num_steps} here")
    parts = {
        "batching": partial(batching, table, folder, num_steps),
        "elastic": partial(elastic, table, folder, 80 if options.quick else 400),
        "trainer": partial(trainer, table, folder, num_steps),
    }
    for name in [options.only] if options.only else parts:
        with table.part(name):
            parts[name]()
    if options.only:
        table.keep_others(parts)
    return table.finish()


if __name__ == "__main__":
    main()
