"""Training on a GPU: ours beside Hugging Face's Trainer at its best, in bf16 on the same card, and where time goes.

Run: python benchmarks/speed_gpu.py --data DIR [--quick] [--only PART] [--minutes N]

DIR holds corpora/en-10m/train.txt.gz and tasks/NAME. The parts come in this order, and one is begun only while there
are minutes left for it: ``gpt2`` (GPT-2 124M, rows of 1,024), ``bert128`` (BERT-base, rows of 128, logits at the
predicted positions), ``babylm`` (30 million parameters, masked LM and next sentence, ten epochs of en-10m, then
fine-tuning), ``bert512`` (BERT-base, rows of 512), ``profile`` (milliseconds a step by class of kernel, of both
models). Both sides are measured as ``speed_cpu.py`` measures them, in turns in two processes on the one card; tokens
are real ones. MFU is that of our log: FLOPs by the formula of ``ptft/models/flops.py`` over the card's peak rate.
"""

import argparse
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measure import Table, median, ptft
from peers import at_its_best
from speed_work import Case, Side, in_turns, ours, prepared

from ptft.run import read_result
from ptft.steps import STEPS

GPT2 = Case("gpt2", "causal_lm", "gpt2", 50257, 1024, rows=32, num_documents=0)
BERT128 = Case("bert128", "masked_lm", "bert-base", 30522, 128, rows=256, num_documents=0)
BERT512 = Case("bert512", "masked_lm", "bert-base", 30522, 512, rows=64, num_documents=0)
BABYLM = {"preset": "bert-small", "vocab_size": "30522", "rows_per_step": "256", "lr": "1e-3"}
TASKS = ("sst2", "cola", "mrpc", "rte", "ag_news")
TURNS, SECONDS = 5, 5.0
PART_MINUTES = {"gpt2": 7.0, "bert128": 5.0, "babylm": 30.0, "bert512": 5.0, "profile": 3.0}


def our_options(case: Case) -> dict[str, Any]:
    """Settings of ours beyond the defaults, those of them that there are: packed rows for the long ones."""
    wanted = {"compile": True, **({"packed_length": case.length} if case.length == 512 else {})}
    return {name: value for name, value in wanted.items() if name in STEPS["pretrain"].model_fields}


def raced(case: Case, bars: dict[str, float], options: Namespace, table: Table) -> None:
    """Ours beside the Trainer at its best."""
    data = prepared(case, options.data, options.work)
    settings = our_options(case)
    turns, seconds = (3, 2.0) if options.quick else (TURNS, SECONDS)
    sides: dict[str, Side] = {}
    try:
        sides["ours"] = ours("ours", case, data, 0, 30, **settings)
        sides["best"], chosen = at_its_best(case, data, 0, seconds=2.0, warm_up=20)
        speeds = in_turns(sides, "tokens", turns, seconds, 10)
    finally:
        for side in sides.values():
            side.end()
    said = speeds.answers["ours"]
    table.details.setdefault("speeds", {})[case.name] = {**speeds.details(), "best": chosen, "ours": settings, **said}
    table.add(f"{case.name}_tokens_per_second", speeds.middle("ours"), at_least=bars.get("tokens_per_second"))
    if "mfu" in said:
        table.add(f"{case.name}_mfu", said["mfu"], at_least=bars.get("mfu"))
    for name in ("data_wait_ratio", "padding_ratio"):
        if name in said:
            bar = 0.02 if name == "data_wait_ratio" else None
            table.add(f"{case.name}_{name}", said[name], at_most=bar)
    table.add(f"{case.name}_best_tokens_per_second", speeds.middle("best"))
    table.add(f"{case.name}_over_best", speeds.ratio("ours", "best"), at_least=1.5)
    table.add(f"{case.name}_memory_over_best", speeds.peak_gb["ours"] / speeds.peak_gb["best"])
    if case is BERT512 and "packed_length" not in settings:
        table.leave_out("bert512: packed rows: there is no setting packed_length; its rows are padded")


def babylm(options: Namespace, table: Table) -> None:
    """A model of 30 million parameters from the corpus, then fine-tuned on each task with three seeds."""
    out = options.work / "babylm"
    short = ["budget=100steps", "evaluation_rows=64"] if options.quick else ["budget=10epochs"]
    more = [f"compile={'true'}"] if "compile" in STEPS["pretrain"].model_fields else []
    begin = time.perf_counter()
    ptft(
        "pretrain", f"corpus.path={options.data / 'corpora' / 'en-10m'}", "objective=masked_lm,next_sentence",
        f"out={out}", f"cache={options.work / 'stores'}", *(f"{k}={v}" for k, v in BABYLM.items()), *short, *more,
    )  # fmt: skip
    table.add("babylm_minutes", (time.perf_counter() - begin) / 60, at_most=30)
    found = read_result(out)
    for name in ("parameters", "seconds", "tokens", "tokens_per_second", "mlm.loss", "mlm.accuracy", "nsp.accuracy"):
        if name in found:
            table.add(f"babylm.{name}", found[name])
    waits = log_figures(out, "data_wait_ratio")
    table.add("babylm_gpu_idle_ratio", median(waits), at_most=0.05)
    for task in () if options.quick else TASKS:
        tuned = options.work / f"babylm-{task}"
        ptft("finetune", f"model={out}", f"data={options.data / 'tasks' / task}", "seeds=3", f"out={tuned}")
        for name in ("accuracy", "low", "high", "mcc", "majority"):
            table.add(f"babylm.{task}.{name}", read_result(tuned)[f"test.{name}"])
    if options.quick:
        table.leave_out("babylm: ten epochs, and fine-tuning")
    table.leave_out("babylm: minimal pairs (data/blimp): there is no verb that scores them")


def log_figures(run: Path, name: str) -> list[float]:
    """A figure of each line of a run's log but the first, which starts the machine."""
    import json

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines[1:] if name in line]


def profile(options: Namespace, table: Table) -> None:
    """Milliseconds a step by class of kernel, of ten steps of ours."""
    for case in (GPT2, BERT128):
        data = prepared(case, options.data, options.work)
        side = ours("ours", case, data, 0, 30, **our_options(case))
        try:
            plain = side.turn(0, 20)
            found = side.turn(0, 10, profile=True)["profile"]
        finally:
            side.end()
        table.details.setdefault("profile", {})[case.name] = found
        step = plain["seconds"] / plain["steps"] * 1e3
        busy = sum(found["by_class"].values())
        table.add(f"profile.{case.name}.step_milliseconds", step)
        for kind, milliseconds in found["by_class"].items():
            table.add(f"profile.{case.name}.share.{kind.replace(' ', '_')}", milliseconds / busy)
        table.add(f"profile.{case.name}.gpu_idle_ratio", max(0.0, 1 - busy / step), at_most=0.05)


PARTS: dict[str, Callable[[Namespace, Table], None]] = {
    "gpt2": partial(raced, GPT2, {"tokens_per_second": 400e3, "mfu": 0.40}),
    "bert128": partial(raced, BERT128, {"tokens_per_second": 650e3}),
    "babylm": babylm,
    "bert512": partial(raced, BERT512, {"mfu": 0.40}),
    "profile": profile,
}


def main() -> None:
    """The parts in their order, as long as there is time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short measurement that leaves out what takes long")
    parser.add_argument("--data", type=Path, default=None, help="folder with corpora/ and tasks/")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks"), help="folder for the runs")
    parser.add_argument("--only", choices=tuple(PARTS), default=None, help="one part; the others keep their figures")
    parser.add_argument("--minutes", type=float, default=120.0, help="begin no part that would not end by then")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("speed_gpu: there is no CUDA device here; run it on a machine that has one")
    if options.data is None:
        raise SystemExit("speed_gpu: give --data DIR, a folder with corpora/en-10m and tasks/")
    options.work = (options.work / "speed").absolute()
    table = Table("speed_gpu", options.quick)
    table.details["gpu"] = torch.cuda.get_device_name()
    former = table.former() if options.only else {}
    for name in ("speeds", "profile"):
        table.details[name] = former.get(name, {})
    begin = time.perf_counter()
    for name in [options.only] if options.only else PARTS:
        spent = (time.perf_counter() - begin) / 60
        wanted = PART_MINUTES[name] / (10 if options.quick and name == "babylm" else 1)
        with table.part(name):
            if spent + wanted > options.minutes:
                table.leave_out(f"{name}: takes {wanted:g} minutes, {spent:.0f} of {options.minutes:g} are over")
            else:
                PARTS[name](options, table)
    if options.only:
        table.keep_others(PARTS)
    table.finish()


def tiny(case: Case) -> Case:
    """The same case with a model and rows small enough for any machine, to try the code."""
    preset = "gpt2-tiny" if case.kind == "causal_lm" else "bert-tiny"
    return replace(case, preset=preset, vocabulary=500, length=32, rows=4, num_documents=300)


if __name__ == "__main__":
    main()
