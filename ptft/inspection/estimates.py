"""What a pretraining would be: parameters, tokens, FLOPs, memory and time, before anything is made of the corpus."""

from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from ptft.compute import Compute
from ptft.corpus.sources import Document, documents, epoch_bytes
from ptft.errors import DataError
from ptft.inspection.memory import Memory, count_memory
from ptft.models.building import new_model
from ptft.models.flops import model_flops, peak_flops
from ptft.objectives.rows import Batch, Vocabulary
from ptft.report.tables import format_duration
from ptft.steps.compiled import How, compiled_in_memory
from ptft.steps.evaluation_texts import evaluation_texts
from ptft.steps.pretrain import Pretrain
from ptft.steps.pretraining_data import RowSettings
from ptft.steps.trial import (
    Untrained,
    free_bytes,
    measure,
    planned_config,
    planned_tokenizer,
    random_batches,
    random_rows,
    rows_to_try,
)
from ptft.training.budget import Budget
from ptft.training.checkpoint import kept_precision
from ptft.training.ramp import BatchRamp

Fact = tuple[str, str]
_SAMPLED_ROWS = 8
_SAMPLED_BYTES = 1 << 20
_LATER = "known when the corpus is compiled"
_PARTS = {"weights": "weights", "gradients": "gradients", "optimizer_state": "optimizer state"}


class Length(NamedTuple):
    """How long a training is: its tokens, exactly or about, and how that is known; 0 tokens if it is not."""

    tokens: float
    text: str


def pretraining_facts(step: Pretrain) -> list[Fact]:
    """Parameters, tokens, FLOPs, memory and time of a pretraining, each with what it rests on.

    Nothing is written and the corpus is not compiled: rows are of random tokens. FLOPs are those of
    :func:`ptft.models.flops.model_flops`, memory is :func:`ptft.inspection.memory.count_memory`'s, and the time is
    measured by some steps of the real model on this device, if they fit it. Rows are taken to be full and of the
    length that the settings say; what a growing batch leaves out of a number of steps is left out here too.

    Raises:
        CheckpointError: The model or tokenizer cannot be opened.
        RecipeError: The architecture lacks the head that the objectives need.
    """
    tokenizer = planned_tokenizer(step)
    config = planned_config(step, tokenizer)
    with torch.device("meta"):  # shapes without memory
        model = new_model(config, step.head, 0)
    compute = Compute(step.precision, kept=kept_precision(Path(step.out)) if step.out else "")
    rows = step.rows_at_once(compute.num_processes)
    sampled = min(rows, _SAMPLED_ROWS)
    batches = random_batches(step, config, sampled)
    batch = batches.batch(0, 0, sampled)
    flops = model_flops(model, step.attended_length).of(1, batches.predictions_per_slot())
    length = _length(step, tokenizer, flops)
    known = "" if isinstance(tokenizer, PreTrainedTokenizerBase) else _if_full(step)
    facts = [
        ("parameters", f"{sum(parameter.numel() for parameter in model.parameters()):,}{known}"),
        ("tokens", length.text),
        ("FLOPs", f"{flops * length.tokens:.3g}, {flops:.3g} a token" if length.tokens else f"{flops:.3g} a token"),
    ]
    try:
        memory = count_memory(step, model, batch, rows, compute.device.type, compute.precision)
    except RuntimeError as error:
        reason = f"not estimated: {' '.join(str(error).split())[:120]}"
        return [*facts, ("memory", reason), ("time", reason)]
    time = _time(step, config, compute, batch, rows, memory, flops, length)
    return [*facts, ("memory", _memory_text(memory, rows)), ("time", time)]


def _if_full(step: Pretrain) -> str:
    return f", if the tokenizer has all of {step.vocab_size:,} tokens"


def _length(step: Pretrain, tokenizer: PreTrainedTokenizerBase | Untrained, flops: float) -> Length:
    budget, slots = Budget.parse(step.budget), round(step.rows_per_step * step.batch_ramp.fill * step.row_length)
    most = "" if step.head == "causal_lm" and not step.packed_length else "at most "
    if budget.unit == "steps":
        steps = max(1, round(budget.amount))
        rows = f"{'up to ' if step.batch_ramp.fill < 1 else ''}{step.rows_per_step}"
        return Length(steps * slots, f"{most}{steps * slots:,}: {steps:,} steps of {rows} x {step.row_length}")
    if budget.unit == "seconds":
        return Length(0, f"as many as {step.budget} of training give; see time")
    if budget.unit == "flops":
        tokens = budget.amount / flops
        return Length(tokens, f"{most}{_round(tokens)}: {step.budget}")
    if budget.unit == "tokens":
        steps = max(1, round(budget.amount / slots))
        less = "about" if step.head == "causal_lm" else "at least"
        return Length(budget.amount, f"{budget.amount:,.0f}: {less} {steps:,} steps of {most}{slots:,}")
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return Length(0, f"{_LATER}: {step.budget}, and there is no tokenizer yet")
    sample = _sample(step, tokenizer)
    if sample is None:
        return Length(0, f"{_LATER}: {step.budget}")
    if budget.unit == "words":
        tokens = budget.amount * sample.tokens_per_word
        return Length(tokens, f"about {_round(tokens)}: {step.budget}, by the first {sample.text_bytes / 1e6:.1f} MB")
    if sample.is_all:
        tokens = budget.amount * sample.tokens
        return Length(tokens, f"about {_round(tokens)}: {step.budget} of {sample.text_bytes / 1e6:,.1f} MB")
    size = epoch_bytes(step.corpus)
    if size is None:
        return Length(0, f"{_LATER}: {step.budget}")
    tokens = budget.amount * size * sample.tokens / (sample.text_bytes + sample.lines)  # files have line ends, too
    return Length(tokens, f"about {_round(tokens)}: {step.budget} of {size / 1e6:,.1f} MB")


class _Sample(NamedTuple):
    """What an epoch of the first documents would have, and whether they are all."""

    tokens: float
    tokens_per_word: float
    text_bytes: int
    lines: int
    is_all: bool


def _sample(step: Pretrain, tokenizer: PreTrainedTokenizerBase) -> _Sample | None:
    """Rows of the first documents by the step's own sampler; None if they give it none."""
    texts, is_all = _first_documents(step)
    lines = [line for document in texts for line in document]
    how = How(step.head == "causal_lm", step.joiner, step.seed, step.cache)
    store = compiled_in_memory(texts, tokenizer, how)
    together = step.rows_per_step if is_all else 1
    rows = RowSettings(step.objective, step.length, together, step.seed, 0, BatchRamp(), step.packing)
    try:
        sampler = rows.sampler(store, Vocabulary.of(tokenizer), together, step.seed)
    except DataError:
        return None
    size = sampler.size_per_row(together)
    tokens = sampler.rows_per_block * sampler.blocks_per_epoch * size.tokens
    words = sum(len(line.split()) for line in lines)
    per_word = store.info.tokens / words * size.tokens / size.text_tokens
    return _Sample(tokens, per_word, sum(len(line.encode()) for line in lines), len(lines), is_all)


def _first_documents(step: Pretrain) -> tuple[list[Document], bool]:
    """The first megabyte, the last document cut there, and whether that is the whole corpus."""
    found: list[Document] = []
    size = 0
    for document in documents(step.corpus, "train", step.seed, evaluation_texts(step.corpus, step.seed)):
        found.append([])
        for sentence in document:
            if size > _SAMPLED_BYTES:
                return [document for document in found if document], False
            size += len(sentence.encode())
            found[-1].append(sentence)
    return found, True


def _round(amount: float) -> str:
    """A number of which three digits count."""
    return f"{float(f'{amount:.3g}'):,.0f}"


def _memory_text(memory: Memory, rows: int) -> str:
    parts = [f"{label} {_size(getattr(memory, name))}" for name, label in _PARTS.items()]
    activations = f"activations of {rows:,} row{'s' if rows > 1 else ''} at once {_size(memory.activations)}"
    return f"about {_size(sum(memory))}: {' + '.join([*parts, activations])}; beside the program and evaluation"


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:,.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"


def _time(
    step: Pretrain, config: PretrainedConfig, compute: Compute, batch: Batch, rows: int, memory: Memory, flops: float,
    length: Length,
) -> str:  # fmt: skip
    """The time of the whole training at the rate of some steps on this device, or why they are not made."""
    row_flops = flops * step.row_length
    rate = peak_flops(compute.device, compute.dtype)
    tried = rows_to_try(row_flops, rate, len(batch.tensors["input_ids"]))
    if not tried:
        return f"not estimated: a row takes {row_flops:.2g} FLOPs, {row_flops / rate:.0f} s at this device's best rate"
    needed = sum(memory[:3]) + memory.activations * tried / rows
    if needed > free_bytes(compute.device) / 2:
        return (
            f"not estimated: {tried} row{'s' if tried > 1 else ''} would take {_size(needed)} of this device's memory"
        )
    rate_here = measure(step, config, compute, random_rows(step, config, tried))
    # of a growing batch there are more updates
    per_step = rate_here.seconds(step.rows_per_step / compute.num_processes, 1 / step.batch_ramp.fill)
    slots = step.rows_per_step * step.row_length
    text = f"{_round(slots / per_step)} tokens a second, measured here with {tried} row{'s' if tried > 1 else ''}"
    text += ", without the compiler" if step.compiles(compute.device.type) else ""
    return f"about {format_duration(length.tokens / slots * per_step)} at {text}" if length.tokens else text
