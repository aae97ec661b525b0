"""What a training step would work on: rows of random tokens through the real sampler, and how long they take."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PretrainedConfig

from ptft import rng
from ptft.compute import Compute, limit_threads
from ptft.corpus.store import StoreInfo, TokenStore
from ptft.models.attention import choose_attention
from ptft.models.building import new_model
from ptft.models.checkpointing import checkpoint_layers
from ptft.models.packed_attention import choose_packed_attention
from ptft.objectives.rows import Batch, Vocabulary
from ptft.steps.pretrain import Pretrain
from ptft.steps.pretraining_data import RowSettings
from ptft.training.ramp import BatchRamp
from ptft.training.work import PretrainingBatches, PretrainingModule

_SENTENCE = 2  # tokens: rows of whole sentences come out full
_SPECIALS = 5
_MEASURED_SECONDS = 1.0
_MOST_REPEATS = 5


class Rate(NamedTuple):
    """What was measured: seconds of a forward and backward pass over one row, and of an update of all weights."""

    row_seconds: float
    update_seconds: float


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
    special = np.arange(config.vocab_size) < _SPECIALS
    pad = min(config.pad_token_id or 0, _SPECIALS - 1)
    free = [token for token in range(_SPECIALS) if token != pad]
    vocabulary = Vocabulary(
        config.vocab_size, cls=free[0], sep=free[1], pad=pad, mask=free[2], eos=free[3], unknown=-1, special=special,
        starts=~special,
    )  # fmt: skip
    store = _random_store(step, config.vocab_size, num_rows)
    rows = RowSettings(step.objective, step.length, num_rows, step.seed, 0, BatchRamp(), step.packing)
    sampler = rows.sampler(store, vocabulary, num_rows, step.seed)
    return PretrainingBatches(sampler, step.objective, vocabulary, num_rows)


def _random_store(step: Pretrain, vocab_size: int, num_rows: int) -> TokenStore:
    per_document = 4 * -(-step.length // _SENTENCE)  # sentences; rows end with their document
    num_documents = 2 + num_rows * step.row_length // (2 * step.length)
    sentences = num_documents * per_document
    size = sentences * _SENTENCE
    ids = _SPECIALS + rng.integers(vocab_size - _SPECIALS, step.seed, rng.key_of("random tokens"), np.arange(size))
    document_ends = np.arange(1, num_documents + 1) * per_document * _SENTENCE
    closes = np.arange(1, size + 1) % _SENTENCE == 0
    info = StoreInfo("random", "uint32", num_documents, sentences, size, size, size, {})
    return TokenStore(ids.astype(np.uint32), document_ends, np.packbits(closes), info)


def measure(step: Pretrain, config: PretrainedConfig, compute: Compute, batch: Batch) -> Rate:
    """Time the real model on this device, about a second each for rows and for updates.

    The data's preparation, which a thread does beside it, logging, evaluation and checkpoints are left out.
    """
    model = new_model(config, step.head, step.seed)
    if step.packed_length:
        how = (step.packed_attention, compute.device.type, compute.precision)
        choose_packed_attention(model, *how, step.texts_a_row)
    choose_attention(model, compute.device.type, compute.precision, step.row_length)
    if step.gradient_checkpointing:
        checkpoint_layers(model)
    module = PretrainingModule(model, step.objective).to(compute.device).train()
    optimizers = step.optimizers(module, compute, step.lr)
    tensors = {name: tensor.to(compute.device) for name, tensor in batch.tensors.items()}

    def forward_and_backward() -> None:
        with compute.autocast():
            losses: dict[str, Tensor] = module(tensors)
        compute.backward(torch.stack(list(losses.values())).sum() / batch.num_slots)
        _finished(compute)

    def update() -> None:
        optimizers.clip(step.clip_norm)
        optimizers.step()
        _finished(compute)

    with _threads(step.threads):
        rows = _fastest(forward_and_backward)
        kept = [(parameter, parameter.grad) for parameter in module.parameters()]

        def whole_update() -> None:
            for parameter, gradient in kept:  # an update takes them away
                parameter.grad = gradient
            update()

        return Rate(rows / len(batch.tensors["input_ids"]), _fastest(whole_update))


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


def _finished(compute: Compute) -> None:
    if compute.device.type == "cuda":
        torch.cuda.synchronize(compute.device)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Inside, CPU threads as the step would have them."""
    before = torch.get_num_threads()
    limit_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
