"""What fine-tuning policies do, beside the formulas of their papers written out here once more."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from finetuning_works import KINDS, LAYERS, Done, checkpoint, run, work_of
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

from ptft.finetuning.classification import predict_logits
from ptft.finetuning.policies import POLICIES

TOP = LAYERS + 1
LR = 0.01
ROWS, TEXTS, EPOCHS = 8, 64, 5  # the embeddings are unfrozen in the fifth epoch; a tenth of 40 steps is whole
STEPS_PER_EPOCH = TEXTS // ROWS
STEPS = EPOCHS * STEPS_PER_EPOCH
SMALL = {
    "data": "topic",
    "labels": TEXTS,
    "rows_per_step": ROWS,
    "budget": f"{EPOCHS}epochs",
    "min_steps": 0,
    "length": 32,
    "lr": LR,
    "precision": "fp32",
}

# How fast a weight is trained in an epoch, by its depth: the share of the run's rate, 0 where it is not.
Share = Callable[[int, int], float]


def _unfrozen(divisor: float, layers_per_epoch: int) -> Share:
    """Howard and Ruder 2018: one group more an epoch, from the top; divided by ``divisor`` at each step down."""
    return lambda depth, epoch: divisor ** -(TOP - depth) if TOP - depth <= epoch * layers_per_epoch else 0.0


def _divided(divisor: float) -> Share:
    """Howard and Ruder 2018: the rate of a layer is that of the layer above it, divided."""
    return lambda depth, epoch: 1.0 if depth == TOP else _divided(divisor)(depth + 1, epoch) / divisor


def _last(k: int) -> Share:
    return lambda depth, epoch: float(depth in [TOP, *range(LAYERS, max(0, LAYERS - k), -1)])


def _everything(depth: int, epoch: int) -> float:
    return 1.0


def _head(depth: int, epoch: int) -> float:
    return float(depth == TOP)


FORMULAS: Mapping[str, Sequence[tuple[Mapping[str, float], Share]]] = {
    "full": [({}, _everything)],
    "frozen": [({}, _head)],
    "last_k": [({}, _last(1)), ({"k": 2}, _last(2)), ({"k": 9}, _last(LAYERS))],
    "layerwise_lr": [({}, _divided(2.6)), ({"divisor": 1 / 0.95}, _divided(1 / 0.95))],
    "gradual_unfreezing": [
        ({}, _unfrozen(1, 1)),
        ({"divisor": 2.6}, _unfrozen(2.6, 1)),
        ({"layers_per_epoch": 2}, _unfrozen(1, 2)),
    ],
    "scalar_mix": [({}, _head)],
    "auxiliary_lm": [({}, _everything)],
    "lora": [({}, _head)],
}


def _linear(step: int) -> float:
    """Devlin et al. 2019: up over the first steps, then down to nothing; a twentieth of the run is ours."""
    share, warm_up = step / STEPS, 0.05
    return min(1.0, (step + 1) / (STEPS * warm_up)) if share < warm_up else (1 - share) / (1 - warm_up)


def _slanted(step: int) -> float:
    """Howard and Ruder 2018, equation 3."""
    cut_frac, ratio = 0.1, 32
    cut = math.floor(STEPS * cut_frac)
    p = step / cut if step < cut else 1 - (step - cut) / (cut * (1 / cut_frac - 1))
    return (1 + p * (ratio - 1)) / ratio


SCHEDULES = {"linear": _linear, "slanted_triangular": _slanted}


def depth_of(name: str) -> int | None:
    """How deep a weight lies, by its name alone; None for what no head of ours sees and LoRA's stock weights."""
    if "lora_" in name or not name.startswith("classifier.model.") or name.startswith("classifier.model.score."):
        return TOP
    if "pooler" in name:
        return None
    layer = re.search(r"\.(?:layer|h)\.(\d+)\.", name)
    if layer:
        return int(layer[1]) + 1
    return 0 if re.search("embed|wte|wpe", name) else LAYERS


# Each step of a training: for each weight its rate, whether it takes a gradient, and whether it was changed.
Trace = list[dict[str, tuple[float, bool, bool]]]


@contextmanager
def tracing(module: nn.Module, trace: Trace) -> Iterator[None]:
    """Look at every step of torch's optimizers."""
    before: dict[str, Tensor] = {}

    def look(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        before.update((name, weight.detach().clone()) for name, weight in module.named_parameters())

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
        trace.append({
            name: (rates.get(id(weight), 0.0), weight.requires_grad, not torch.equal(weight, before[name]))
            for name, weight in module.named_parameters()
        })  # fmt: skip

    handles = [register_optimizer_step_pre_hook(look), register_optimizer_step_post_hook(note)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def wrong(trace: Trace, share: Share, schedule: Callable[[int], float]) -> int:
    """In how many places a training was not as the formulas have it."""
    count = abs(len(trace) - STEPS)
    for step, line in enumerate(trace):
        for name, (rate, takes_gradient, is_changed) in line.items():
            depth = depth_of(name)
            expected = 0.0 if depth is None else LR * schedule(step) * share(depth, step // STEPS_PER_EPOCH)
            is_right = math.isclose(rate, expected, rel_tol=1e-12) and takes_gradient == (expected > 0)
            count += not (is_right and (expected > 0 or not is_changed))
    return count


def trace_differences(work: Path, *, quick: bool) -> tuple[dict[str, int], int]:
    """Wrong pairs of step and weight by training, and how many pairs there were; quick: the encoder, by defaults."""
    found: dict[str, int] = {}
    num_pairs = 0
    for kind in KINDS[:1] if quick else KINDS:
        model = checkpoint(kind, work)
        for name in POLICIES:
            for number, (given, share) in enumerate(FORMULAS[name][:1] if quick else FORMULAS[name]):
                for schedule, factor in SCHEDULES.items():
                    trace: Trace = []
                    policy = {"name": name, **given}
                    settings = {**SMALL, "model": model, "policy": policy, "schedule": schedule}
                    run(work_of(**settings), lambda module, source, trace=trace: tracing(module, trace))
                    found[f"{kind}.{name}.{number}.{schedule}"] = wrong(trace, share, factor)
                    num_pairs += sum(map(len, trace))
    return found, num_pairs


# Values


def scalar_mix_difference(kind: str, work: Path) -> float:
    """Between logits of a trained mixture and those of the stock body's layers, summed by hand; a text at a time."""
    model = checkpoint(kind, work)
    job = work_of(**SMALL, model=model, policy="scalar_mix", pooling="mean")
    done = run(job)
    mix, head = done.classifier.mix, done.classifier.head
    assert mix is not None and head is not None
    exps = [math.exp(weight) for weight in mix.weights.tolist()]
    stock = AutoModel.from_pretrained(f"{model}/model").eval()
    texts = job.encoded.valid
    ours = torch.from_numpy(predict_logits(done.classifier, texts, job.compute))
    largest = 0.0
    with torch.no_grad():
        for row, ids in zip(ours, texts.ids, strict=True):
            layers = stock(torch.tensor([ids]), output_hidden_states=True).hidden_states
            means = [layer[0].double().mean(0) for layer in layers]
            mixed = sum(e / sum(exps) * mean for e, mean in zip(exps, means, strict=True)) * mix.gamma.item()
            logits = head.weight.double() @ mixed + head.bias.double()
            largest = max(largest, (logits - row).abs().max().item())
    if max(exps) - min(exps) < 1e-3 or abs(mix.gamma.item() - 1) < 1e-3:
        raise SystemExit("the mixture was not trained")
    return largest


def auxiliary_lm_difference(kind: str, work: Path) -> float:
    """Between the loss of a trained module on a batch and that of the stock classes, one text at a time."""
    model = checkpoint(kind, work)
    done = run(work_of(**SMALL, model=model, policy="auxiliary_lm", pooling="mean"))
    done.module.eval()
    config = AutoConfig.from_pretrained(f"{model}/model")
    auto = AutoModelForCausalLM if kind == "gpt2" else AutoModelForMaskedLM
    lm = auto.from_config(config, attn_implementation="eager").double().eval()
    lacks, extra = lm.load_state_dict(done.module.lm.state_dict(), strict=False)
    if lacks or any("pooler" not in name for name in extra):
        raise SystemExit(f"the language model is no stock one: {lacks} {extra}")
    largest = 0.0
    for step in range(STEPS_PER_EPOCH):
        batch = done.source.batch(step, 0, ROWS)
        with torch.no_grad():
            sums = done.module(batch.tensors)
            ours = sum(done.module.weights[name] * float(sums[name]) / batch.counts[name] for name in sums)
            largest = max(largest, abs(ours - _loss_by_hand(kind, done, lm, step)))
    return largest


def _loss_by_hand(kind: str, done: Done, lm: Any, step: int) -> float:
    """Radford et al. 2018: the task's loss and half the language model's, the mean over a text first."""
    head = done.module.classifier.head.double()
    task, language = [], []
    for row in range(ROWS):
        tensors = done.source.batch(step, row, row + 1).tensors
        real = tensors["parts"] == 0 if "parts" in tensors else tensors["attention_mask"] == 1
        ids = tensors["input_ids"][real].unsqueeze(0)
        hidden = lm.base_model(ids).last_hidden_state[0]
        task.append(cross_entropy(head(hidden.mean(0)), tensors["labels"][0]).item())
        if kind == "gpt2":
            losses = [-lm(ids).logits[0, at].log_softmax(0)[ids[0, at + 1]].item() for at in range(ids.shape[1] - 1)]
        else:
            logits = lm(tensors["lm_input_ids"][real].unsqueeze(0)).logits[0]
            losses = [-logits[at].log_softmax(0)[ids[0, at]].item() for at in tensors["lm_positions"].tolist()]
        language += [sum(losses) / len(losses)] if losses else []
    head.float()
    return sum(task) / len(task) + 0.5 * sum(language) / len(language)


def lora_merge_difference(kind: str, work: Path) -> float:
    """Between logits with the adapters beside the matrices and those when they are merged, after a training."""
    job = work_of(**SMALL, model=checkpoint(kind, work), policy="lora")
    apart: list[Any] = []

    @contextmanager
    def keeping(module: Any, source: Any) -> Iterator[None]:
        apart.append(predict_logits(module.classifier, job.encoded.valid, job.compute))
        yield
        apart.append(predict_logits(module.classifier, job.encoded.valid, job.compute))

    done = run(job, keeping)
    if abs(apart[1] - apart[0]).max() < 0.1:
        raise SystemExit("the adapters were not trained")
    if any("lora" in name for name in done.classifier.state_dict()):
        raise SystemExit("the adapters were not merged")
    merged = predict_logits(done.classifier, job.encoded.valid, job.compute)
    return float(abs(merged - apart[1]).max())


def body_passes(policy: str, work: Path) -> float:
    """How often a training of several epochs has a training text go through the body."""
    job = work_of(**SMALL, model=checkpoint("bert", work), policy=policy)
    first = job.tokenizer.cls_token_id
    assert all(ids[0] == first and ids.count(first) == 1 for ids in job.encoded.train.ids)
    return run(job, first_token=first).passed_texts / len(job.encoded.train)
