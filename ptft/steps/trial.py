"""What a training would work on, tried out: rows of random tokens through the real sampler, and how long they take."""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from ptft import rng
from ptft.compute import Compute, limit_threads
from ptft.corpus.store import StoreInfo, TokenStore
from ptft.models.attention import choose_attention
from ptft.models.building import grown_size, new_config, new_model
from ptft.models.checkpointing import checkpoint_layers
from ptft.models.packed_attention import choose_packed_attention
from ptft.models.presets import PRESETS
from ptft.objectives.rows import Batch, Vocabulary
from ptft.optim.optimizer import Optimizers
from ptft.steps.pretrain import Pretrain
from ptft.steps.pretraining_data import RowSettings
from ptft.tokenization import load_tokenizer, tokenizer_folder
from ptft.training.ramp import BatchRamp
from ptft.training.work import PretrainingBatches, PretrainingModule

_SENTENCE = 2  # tokens: rows of whole sentences come out full
_LIKE_TEXT = 1 << 20  # tokens, of which documents are as long as in text
_SENTENCES_OF_TEXT, _TOKENS_OF_TEXT = (1, 40), (8, 40)  # shortest and longest, of a document and of a sentence
_SPECIALS = 5
_TRIED_SECONDS = 1.0  # what the rows tried may take at the device's best rate
_MEASURED_SECONDS = 1.0
_MOST_REPEATS = 5


@dataclass(frozen=True)
class Untrained:
    """Stands for the tokenizer that the step will train: all that a model's shape needs of it is its size."""

    size: int
    bos_token_id: None = None
    eos_token_id: None = None
    pad_token_id: int = 0
    cls_token_id: None = None
    sep_token_id: None = None

    def __len__(self) -> int:
        return self.size


def planned_tokenizer(step: Pretrain) -> PreTrainedTokenizerBase | Untrained:
    """The tokenizer with the new tokens, or what stands for it."""
    if name := step.tokenizer or step.model:
        tokenizer = load_tokenizer(tokenizer_folder(name))
        return step.with_added_tokens(tokenizer)
    return Untrained(step.vocab_size + len(step.added_tokens) + len(step.added_special_tokens))


def planned_config(step: Pretrain, tokenizer: PreTrainedTokenizerBase | Untrained) -> PretrainedConfig:
    """The configuration that the step would make or take over, its vocabulary grown as the step would grow it."""
    if step.preset:
        preset = PRESETS[step.preset]
        return new_config(
            preset, cast("Any", tokenizer), positions=preset.positions, dropout=step.preset_dropout, shape=step.shape
        )
    config = step.read_config()
    config.vocab_size = grown_size(config.vocab_size, len(tokenizer))
    return config


class Rate(NamedTuple):
    """What was measured: seconds of a forward and backward pass over one row, and of an update of all weights."""

    row_seconds: float
    update_seconds: float

    def seconds(self, num_rows: float, num_updates: float = 1) -> float:
        """Of so many rows and updates."""
        return num_rows * self.row_seconds + num_updates * self.update_seconds


def random_rows(step: Pretrain, config: PretrainedConfig, num_rows: int) -> Batch:
    """The first batch of :func:`random_batches`."""
    return random_batches(step, config, num_rows).batch(0, 0, num_rows)


def random_batches(step: Pretrain, config: PretrainedConfig, num_rows: int) -> PretrainingBatches:
    """Batches of a step's own sampler and targets, over documents of random tokens that fill the rows.

    Args:
        step: Its objectives make the rows, at the beginning of a training.
        config: Its vocabulary's size bounds the ids.
        num_rows: Rows of a batch.
    """
    num_sentences = 4 * -(-step.length // _SENTENCE)
    documents = np.full(2 + num_rows * step.row_length // (2 * step.length), num_sentences)
    return _batches(step, config, num_rows, documents, np.full(documents.sum(), _SENTENCE))


def text_batches(step: Pretrain, config: PretrainedConfig) -> PretrainingBatches:
    """The same over a million random tokens or more, in sentences and documents of as many lengths as those of text.

    A sentence has 8 to 40 tokens and a document 1 to 40 sentences, each number equally often.
    """
    (fewest, most), (shortest, longest) = _SENTENCES_OF_TEXT, _TOKENS_OF_TEXT
    tokens = max(_LIKE_TEXT, 4 * step.rows_per_step * step.row_length)
    number = 1 + round(tokens / (fewest + most) * 2 / (shortest + longest) * 2)
    drawn = rng.integers(most - fewest + 1, step.seed, rng.key_of("random documents"), np.arange(number))
    documents = fewest + drawn.astype(np.int64)
    drawn = rng.integers(longest - shortest + 1, step.seed, rng.key_of("random sentences"), np.arange(documents.sum()))
    return _batches(step, config, step.rows_per_step, documents, shortest + drawn.astype(np.int64))


def _batches(
    step: Pretrain,
    config: PretrainedConfig,
    num_rows: int,
    documents: Int[ndarray, " documents"],
    sentences: Int[ndarray, " sentences"],
) -> PretrainingBatches:
    """Over documents of so many sentences, and sentences of so many tokens."""
    special = np.arange(config.vocab_size) < _SPECIALS
    pad = min(config.pad_token_id or 0, _SPECIALS - 1)
    free = [token for token in range(_SPECIALS) if token != pad]
    vocabulary = Vocabulary(
        config.vocab_size, cls=free[0], sep=free[1], pad=pad, mask=free[2], eos=free[3], unknown=-1, special=special,
        starts=~special,
    )  # fmt: skip
    ends = np.cumsum(sentences)
    size = int(ends[-1])
    ordinary = config.vocab_size - _SPECIALS
    ids = _SPECIALS + rng.integers(ordinary, step.seed, rng.key_of("random tokens"), np.arange(size))
    closes = np.zeros(size, bool)
    closes[ends - 1] = True
    info = StoreInfo("random", "uint32", len(documents), len(sentences), size, size, size, {})
    store = TokenStore(ids.astype(np.uint32), ends[np.cumsum(documents) - 1], np.packbits(closes), info)
    rows = RowSettings(step.objective, step.length, num_rows, step.seed, 0, BatchRamp(), step.packing)
    sampler = rows.sampler(store, vocabulary, num_rows, step.seed)
    return PretrainingBatches(sampler, step.objective, vocabulary, num_rows)


def prepared(step: Pretrain, config: PretrainedConfig, compute: Compute) -> tuple[PretrainingModule, Optimizers]:
    """A new model with its objectives on the device, in training, and its optimizers; torch's compiler is left out."""
    model = new_model(config, step.head, step.seed)
    if step.packed_length:
        how = (step.packed_attention, compute.device.type, compute.precision)
        choose_packed_attention(model, *how, step.texts_a_row)
    choose_attention(model, compute.device.type, compute.precision, step.row_length)
    if step.gradient_checkpointing:
        checkpoint_layers(model)
    module = PretrainingModule(model, step.objective).to(compute.device).train()
    return module, step.optimizers(module, compute, step.lr)


def rows_to_try(row_flops: float, rate: float, most: int) -> int:
    """How many rows take no longer than a second at the device's best rate: at most ``most``, 0 if not even one."""
    return min(most, int(rate * _TRIED_SECONDS / row_flops))


def measure(step: Pretrain, config: PretrainedConfig, compute: Compute, batch: Batch) -> Rate:
    """Time the real model on this device, about a second each for rows and for updates.

    The data's preparation, which a thread does beside it, logging, evaluation and checkpoints are left out.
    """
    with threads(step.threads):
        return measured(step, *prepared(step, config, compute), compute, batch)


def measured(step: Pretrain, module: PretrainingModule, optimizers: Optimizers, compute: Compute, batch: Batch) -> Rate:
    """The same with a model that is there; its weights are others afterwards."""
    tensors = {name: tensor.to(compute.device) for name, tensor in batch.tensors.items()}

    def forward_and_backward() -> None:
        with compute.autocast():
            losses: dict[str, Tensor] = module(tensors)
        compute.backward(torch.stack(list(losses.values())).sum() / batch.num_slots)
        compute.finish()

    rows = _fastest(forward_and_backward)
    kept = [(parameter, parameter.grad) for parameter in module.parameters()]

    def update() -> None:
        for parameter, gradient in kept:  # an update takes them away
            parameter.grad = gradient
        optimizers.clip(step.clip_norm)
        optimizers.step()
        compute.finish()

    return Rate(rows / len(batch.tensors["input_ids"]), _fastest(update))


def _fastest(work: Callable[[], None]) -> float:
    """Seconds of the fastest of some repetitions, after one that is not counted."""
    work()
    begin, best = time.perf_counter(), float("inf")
    for _ in range(_MOST_REPEATS):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() - begin > _MEASURED_SECONDS:
            break
    return best


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Inside, so many CPU threads; 0 leaves torch's choice."""
    before = torch.get_num_threads()
    limit_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def free_bytes(device: torch.device) -> int:
    """Memory that a device has left, as far as the system says; 0 where it does not."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        available = re.search(r"MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text())
        if available:
            return int(available[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 0
