"""Training on a CPU: ours beside Hugging Face's Trainer, as it is and at its best, on one and on two threads.

Run: python benchmarks/speed_cpu.py --data DIR [--quick] [--only PART]

DIR holds corpora/en-10m/train.txt.gz and tasks/sst2; without it only losses are compared, on the embedded corpus.
Both sides train the same shape (4 layers x 256) on the same text with the same tokenizer and 32 rows a step, ours as
``ptft pretrain preset=bert-mini objective=masked_lm length=128`` does with all else at its default, the peers as
``peers.py`` says. Each is a process with as many cores and threads as the name says, and they train in turns of a few
seconds after a warm-up; start, tokenising and compiling are left out, making batches is in. A turn is a repetition: a
figure is the median over turns of the ratio of tokens/s (real ones, padding left out) or of rows/s, and the headline is
the lower of one and two threads. ``over_default``: the Trainer as it is; ``over_best``: with the fastest of bf16,
attention, worker and compilation, found by trials in the same run (named in the JSON).

- ``mlm30522`` ``mlm8192`` ``clm`` ``finetune``: the speeds, and ``clm_memory_over_default``: ratio of the most
  resident memory beyond what each process took before its model was made.
- ``head``: the same ratio of memory, of the vocabulary head alone and at the predicted positions over that at all.
- ``accuracy``: sst2 from scratch with both sides, five seeds, paired: the difference of test accuracies, ours less the
  Trainer's, with Student's interval; within noise where the interval reaches 0.
- ``losses``: our step beside the stock model with all logits, from the same weights without dropout at each of 100
  steps: the largest difference of the losses.
- ``packed``: the same of packed rows and the same texts in rows of their own; and the largest change of hidden states
  of other texts in a packed row when one is changed.
- ``compiled``: the same of the compiled and the eager body; and what is compiled after the tenth step.
"""

import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from measure import HERE, Table, arguments
from peers import Options, at_its_best
from speed_work import Case, Data, Side, Speeds, in_turns, ours, peer, prepared

THREADS = (1, 2)
TURNS, QUICK_TURNS = 5, 3
SECONDS, QUICK_SECONDS = 4.0, 2.0
MLM = {size: Case(f"mlm_v{size}", "masked_lm", "bert-mini", size, 128) for size in (30522, 8192)}
CLM = Case("clm", "causal_lm", "gpt2-mini", 16000, 256)
FINETUNE = Case("finetune", "classify", "bert-mini", 8192, 128)


def raced(
    options: Namespace, table: Table, case: Case, others: dict[str, dict[str, Any]], *, base: Options | None = None
) -> dict[int, Speeds]:
    """The speeds of ours, of ours with other settings, of the Trainer and of the Trainer at its best, by threads."""
    data = prepared(case, options.data, options.work)
    turns, seconds = (QUICK_TURNS, QUICK_SECONDS) if options.quick else (TURNS, SECONDS)
    found: dict[int, Speeds] = {}
    for threads in (2,) if options.quick else THREADS:
        sides: dict[str, Side] = {}
        try:
            sides["ours"] = ours("ours", case, data, threads, 10)
            for name, settings in others.items():
                sides[name] = ours(name, case, data, threads, 10, **settings)
            sides["default"] = peer("default", case, data, threads, 2, {})
            if options.quick:
                best = {"bf16": True, "dynamic_padding": bool(base and base.dynamic_padding)}
                sides["best"], chosen = peer("best", case, data, threads, 2, best), {"chosen": best}
            else:
                sides["best"], chosen = at_its_best(case, data, threads, seconds=2.0, warm_up=3, base=base)
            found[threads] = in_turns(sides, case.unit, turns, seconds)
        finally:
            for side in sides.values():
                side.end()
        details = table.details.setdefault("speeds", {}).setdefault(case.name, {})
        details[_words(threads)] = {**found[threads].details(), "best": chosen}
        for name in sides:
            table.add(f"{case.name}.{name}.{case.unit}_per_second.{_words(threads)}", found[threads].middle(name))
    return found


def _words(threads: int) -> str:
    return "1thread" if threads == 1 else f"{threads}threads"


def lowest(table: Table, name: str, found: dict[int, Speeds], one: str, other: str, at_least: float | None) -> None:
    """A ratio by number of threads, and the lower one with its bar."""
    ratios = {threads: speeds.ratio(one, other) for threads, speeds in found.items()}
    for threads, ratio in ratios.items():
        table.add(f"{name}.{_words(threads)}", ratio)
    table.add(name, min(ratios.values()), at_least=at_least)


def masked_lm(vocabulary: int, options: Namespace, table: Table) -> None:
    """Masked LM with a vocabulary; with the smaller one beside masked LM and next sentence."""
    case = MLM[vocabulary]
    if options.quick and vocabulary == 30522:
        return table.leave_out("mlm30522: both vocabularies take more than five minutes")
    pairs = {"nsp": {"objective": ["masked_lm", "next_sentence"]}} if vocabulary == 8192 else {}
    found = raced(options, table, case, pairs | {"packed": {"packed_length": case.length}})
    bars = (4, 1.8) if vocabulary == 30522 else (2.2, 1.3)
    lowest(table, f"{case.name}_over_default", found, "ours", "default", bars[0])
    lowest(table, f"{case.name}_over_best", found, "ours", "best", bars[1])
    lowest(table, f"{case.name}_packed_over_default", found, "packed", "default", None)
    lowest(table, f"{case.name}_packed_over_best", found, "packed", "best", None)
    if pairs:
        lowest(table, "mlm_nsp_over_mlm", found, "nsp", "ours", 0.9)
    return None


def causal_lm(options: Namespace, table: Table) -> None:
    """Causal LM, and its memory."""
    if options.quick:
        return table.leave_out("clm: takes too long for the short form")
    found = raced(options, table, CLM, {})
    lowest(table, "clm_over_default", found, "ours", "default", 1.5)
    lowest(table, "clm_over_best", found, "ours", "best", 1.1)
    for other, bar in (("default", 0.6), ("best", None)):
        ratios = [speeds.peak_gb["ours"] / speeds.peak_gb[other] for speeds in found.values()]
        table.add(f"clm_memory_over_{other}", max(ratios), at_most=bar)
    return None


def finetuning(options: Namespace, table: Table) -> None:
    """Fine-tuning on sst2; the Trainer at its best pads each batch to its longest text."""
    found = raced(options, table, FINETUNE, {}, base=Options(dynamic_padding=True))
    lowest(table, "finetune_over_default", found, "ours", "default", 4)
    lowest(table, "finetune_over_dynamic", found, "ours", "best", 1.2)


# What runs in processes of its own: speed_checks.py


def check(options: Namespace, what: str, **given: Any) -> dict[str, Any]:
    """What a process of its own finds."""
    job = {"quick": options.quick, "work": str(options.work), **given}
    command = [sys.executable, str(HERE / "speed_checks.py"), what, json.dumps(job)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def head(options: Namespace, table: Table) -> None:
    """Memory of the vocabulary head: of 30,522 tokens at 32 x 128 positions."""
    data = prepared(MLM[30522], options.data, options.work)
    for precision in ("fp32", "bf16"):
        found = {
            kind: check(
                options, "head", kind=kind, precision=precision, text=str(data.text), tokenizer=str(data.tokenizer)
            )
            for kind in ("sparse", "dense")
        }
        table.details.setdefault("head_gb", {})[precision] = {kind: values["gb"] for kind, values in found.items()}
        table.add(f"head_memory_over_dense.{precision}", found["sparse"]["gb"] / found["dense"]["gb"])
    table.add(
        "head_memory_over_dense",
        max(table.figures[f"head_memory_over_dense.{p}"] for p in ("fp32", "bf16")),
        at_most=0.25,
    )


def accuracy(options: Namespace, table: Table) -> None:
    """The same texts, shape, rows, rate and epochs at both sides, from scratch."""
    if options.quick:
        return table.leave_out("accuracy: five seeds take too long for the short form")
    mean, low, high = accuracy_difference(options, table, prepared(FINETUNE, options.data, options.work), range(5))
    table.add("finetune_accuracy_difference", mean)
    table.add("finetune_accuracy_difference.low", low)
    table.add("finetune_accuracy_difference.high", high, at_least=0.0)
    return None


def accuracy_difference(
    options: Namespace, table: Table, data: Data, seeds: Iterable[int], **given: Any
) -> tuple[float, float, float]:
    """Mean over seeds of our test accuracy less the Trainer's, and Student's interval; ``given`` goes to the check."""
    from ptft.tasks.metrics import mean_interval

    found = {
        side: [
            check(
                options, "accuracy", side=side, seed=seed, tokenizer=str(data.tokenizer), task=str(data.task), **given
            )
            for seed in seeds
        ]
        for side in ("ours", "trainer")
    }
    values = {side: [one["accuracy"] for one in runs] for side, runs in found.items()}
    table.details["accuracy_by_seed"] = values
    return mean_interval([a - b for a, b in zip(values["ours"], values["trainer"], strict=True)])


def losses(options: Namespace, table: Table) -> None:
    """Sparse beside dense, over 100 steps (10 with ``--quick``)."""
    num_steps = 10 if options.quick else 100
    if options.quick:
        table.leave_out(f"100 steps: {num_steps} here")
    for precision, bar in (("fp32", 1e-5), ("bf16", 1e-2)):
        found = check(options, "losses", precision=precision, steps=num_steps)
        for name, value in found.items():
            table.add(f"{name}.{precision}", value, at_most=bar)


def packed(options: Namespace, table: Table) -> None:
    """Packed beside unpacked over 100 steps (10 with ``--quick``), and isolation."""
    for precision, bar in (("fp32", 1e-5), ("bf16", 1e-2)):
        for name, value in check(options, "packed", precision=precision, steps=10 if options.quick else 100).items():
            table.add(f"{name}.{precision}", value, at_most=1e-6 if name.startswith("isolation") else bar)


def compiled(options: Namespace, table: Table) -> None:
    """Compiled beside eager over 100 steps, and what is compiled after the tenth."""
    if options.quick:
        return table.leave_out("compiled: the compiler takes minutes")
    for precision, bar in (("fp32", 1e-5), ("bf16", 1e-2)):
        for name, value in check(options, "compiled", precision=precision, steps=100).items():
            table.add(f"{name}.{precision}", value, at_most=bar)
    found = check(options, "recompilations")
    for name, value in found.items():
        table.add(name, value)
    table.add("recompilations", sum(found.values()), at_most=0)
    return None


PARTS: dict[str, Callable[[Namespace, Table], None]] = {
    "losses": losses,
    "packed": packed,
    "compiled": compiled,
    "head": head,
    "finetune": finetuning,
    "mlm8192": partial(masked_lm, 8192),
    "clm": causal_lm,
    "mlm30522": partial(masked_lm, 30522),
    "accuracy": accuracy,
}
WITHOUT_DATA = ("losses", "packed", "compiled")


def main() -> None:
    """The parts one after the other."""
    options = arguments(__doc__ or "", only=tuple(PARTS))
    options.work = (options.work / "speed").absolute()
    table = Table("speed_cpu", options.quick)
    table.details["speeds"] = table.former().get("speeds", {}) if options.only else {}
    for name in [options.only] if options.only else PARTS:
        with table.part(name):
            if options.data is None and name not in WITHOUT_DATA:
                table.leave_out(f"{name}: needs --data DIR with corpora/en-10m and tasks/sst2")
            else:
                PARTS[name](options, table)
    if options.only:
        table.keep_others(PARTS)
    table.finish()


if __name__ == "__main__":
    main()
