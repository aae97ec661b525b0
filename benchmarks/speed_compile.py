"""What torch's compiler and Muon's batches are worth here: updates with and without, in turns, one thread.

Run: python benchmarks/speed_compile.py [--quick] [--only compile|muon]

``compile``: forward, backward and update of 4x256 models on rows of random tokens that fill them, dropout 0.1, AdamW,
with the body compiled and without, each step of the one beside a step of the other: median of the ratios of their
times, and tokens a second of each. ``muon``: updates of the matrices of a 4x256 BERT, and of one of 2x128, with torch's
Muon and with ours. No bar: a machine's figures, which decide what ``auto`` does.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from measure import Table, arguments
from torch import Tensor, nn

from ptft.compute import Compute
from ptft.config import load
from ptft.inspection.estimates import planned_config, planned_tokenizer
from ptft.models.building import new_model
from ptft.optim.batched_muon import BatchedMuon
from ptft.steps import STEPS
from ptft.steps.trial import random_rows
from ptft.training.work import PretrainingModule

MODELS = {
    "bert": ["preset=bert-mini", "objective=masked_lm", "length=128", "rows_per_step=32"],
    "gpt2": ["preset=gpt2-mini", "objective=causal_lm", "length=256", "rows_per_step=8"],
}
WIDTHS = {"4x256": (4, 256), "2x128": (2, 128)}


def in_turns(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each repetition, after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(repeats + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def trainer(given: list[str], precision: str, *, compiled: bool) -> tuple[Callable[[], None], int, float]:
    """A step of a training of its own, its tokens, and the seconds of the first one."""
    settings = ["corpus.path=embedded", "vocab_size=8192", f"precision={precision}", *given]
    step = load(STEPS["pretrain"], overrides=[*settings, f"compile={str(compiled).lower()}"]).settings
    compute = Compute(step.precision)
    config = planned_config(step, planned_tokenizer(step))
    model = new_model(config, step.head, 0)
    step.prepare(model, compute, step.length)
    module = PretrainingModule(model, step.objective).to(compute.device).train()
    optimizers = step.optimizers(module, compute, step.lr)
    batch = random_rows(step, config, step.rows_per_step)
    tensors = {name: tensor.to(compute.device) for name, tensor in batch.tensors.items()}

    def work() -> None:
        with compute.autocast():
            losses: dict[str, Tensor] = module(tensors)
        compute.backward(torch.stack(list(losses.values())).sum() / batch.num_slots)
        optimizers.clip(1.0)
        optimizers.step()

    start = time.perf_counter()
    work()
    return work, batch.num_tokens, time.perf_counter() - start


def measure_compile(table: Table, repeats: int) -> None:
    """Both models in both precisions."""
    for name, given in MODELS.items():
        for precision in ("fp32", "bf16"):
            made = {kind: trainer(given, precision, compiled=kind == "compiled") for kind in ("eager", "compiled")}
            seconds = in_turns({kind: work for kind, (work, _, _) in made.items()}, repeats)
            ratios = [one / two for one, two in zip(seconds["eager"], seconds["compiled"], strict=True)]
            table.add(f"{name}_{precision}_compiled_over_eager", statistics.median(ratios))
            for kind, (_, tokens, _) in made.items():
                table.add(f"{name}_{precision}_{kind}_tokens_per_second", tokens / statistics.median(seconds[kind]))
            table.add(f"{name}_{precision}_seconds_to_compile", made["compiled"][2])


def measure_muon(table: Table, repeats: int) -> None:
    """Updates of the matrices of a BERT's blocks."""
    for name, (layers, width) in WIDTHS.items():
        shapes = [*[(width, width)] * 4, (4 * width, width), (width, 4 * width)] * layers

        def optimizer(kind: type[torch.optim.Muon], shapes: list[tuple[int, int]] = shapes) -> Callable[[], object]:
            draw = torch.Generator().manual_seed(0)
            device = "cuda" if torch.cuda.is_available() else "cpu"
            matrices = [nn.Parameter(torch.randn(shape, generator=draw).to(device)) for shape in shapes]
            for matrix in matrices:
                matrix.grad = torch.randn(matrix.shape, generator=draw).to(device)
            return partial(kind(matrices, lr=0.02).step)

        seconds = in_turns({"loop": optimizer(torch.optim.Muon), "batched": optimizer(BatchedMuon)}, 10 * repeats)
        ratios = [one / two for one, two in zip(seconds["loop"], seconds["batched"], strict=True)]
        table.add(f"muon_{name}_batched_over_loop", statistics.median(ratios))
        for kind, values in seconds.items():
            table.add(f"muon_{name}_{kind}_milliseconds", 1e3 * statistics.median(values))


def main() -> None:
    """Measure what is asked for."""
    given = arguments("Compiler and Muon's batches", only=("compile", "muon"))
    torch.set_num_threads(1)
    table = Table("speed_compile", given.quick)
    repeats = 5 if given.quick else 15
    parts = {"compile": measure_compile, "muon": measure_muon}
    for name in [given.only] if given.only else parts:
        with table.part(name):
            parts[name](table, repeats)
    if given.only:
        table.keep_others(parts)
    table.finish()


if __name__ == "__main__":
    main()
