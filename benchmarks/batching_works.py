"""What ``batching.py`` trains: every objective and head, small and without dropout, on the embedded corpus."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import BertConfig, LlamaConfig, PretrainedConfig

from ptft.compute import Compute
from ptft.corpus.embedded import documents
from ptft.corpus.store import Encoded, compile_store
from ptft.finetuning.auxiliary import AuxiliaryBatches, AuxiliaryModule
from ptft.finetuning.classification import ClassificationModule
from ptft.finetuning.texts import EncodedTexts, LabelledBatches
from ptft.models.building import new_model
from ptft.models.classifier import new_classifier
from ptft.objectives import OBJECTIVES
from ptft.objectives.rows import Vocabulary
from ptft.optim.optimizer import Optimizers, parameter_groups
from ptft.optim.optimizers import OPTIMIZERS
from ptft.tasks.problem import Values
from ptft.tasks.problems import PROBLEMS
from ptft.tokenization import TokenizerSettings, add_mask_token, train_tokenizer
from ptft.training.loop import StepReport, train
from ptft.training.work import BatchSource, Feed, PretrainingBatches, PretrainingModule

ROWS, LENGTH = 64, 64
OBJECTIVE_SETS = {
    "masked_lm": ("masked_lm",),
    "masked_lm_next_sentence": ("masked_lm", "next_sentence"),
    "masked_lm_sentence_order": ("masked_lm", "sentence_order"),
    "causal_lm": ("causal_lm",),
    "hybrid": ("hybrid",),
}
HEADS = {
    "classification": "classification",
    "classification_pair": "classification",
    **{name: name for name in ("multi_label", "regression", "multiple_choice", "token_classification")},
    "auxiliary_lm": "classification",
}
NAMES = (*OBJECTIVE_SETS, *HEADS)
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@dataclass(frozen=True)
class Work:
    """A module, the weights of its objectives, and its batches."""

    module: nn.Module
    weights: dict[str, float]
    source: BatchSource


def work_of(name: str, folder: Path) -> Work:
    """One of ``NAMES``; the same in every process."""
    return _labelled(name) if name in HEADS else _pretraining(name, folder / name)


def _pretraining(name: str, folder: Path) -> Work:
    objectives = [OBJECTIVES[objective]() for objective in OBJECTIVE_SETS[name]]
    texts = list(islice(documents("prose", "train", seed=0), 400))
    is_decoder = objectives[0].kind == "decoder"
    settings = TokenizerSettings(
        kind="bpe" if is_decoder else "wordpiece", specials="decoder" if is_decoder else "encoder", vocab_size=400
    )
    tokenizer = train_tokenizer([line for text in texts for line in text], settings, model_max_length=LENGTH)
    if is_decoder and any(objective.needs_mask_token for objective in objectives):
        add_mask_token(tokenizer)
    vocabulary = Vocabulary.of(tokenizer)

    def encode(lines: list[str]) -> Encoded:
        return Encoded(
            [found.ids for found in tokenizer.backend_tokenizer.encode_batch(lines, add_special_tokens=False)]
        )

    end = vocabulary.eos if is_decoder else None
    store = compile_store(texts, encode, folder, "store", vocab_size=vocabulary.size, end_token=end)
    decides = next((objective for objective in objectives if objective.makes_pairs), objectives[0])
    source = PretrainingBatches(decides.sampler(store, vocabulary, LENGTH, ROWS, 0), objectives, vocabulary, ROWS)
    config = _config(vocabulary.size, is_decoder=is_decoder)
    head = "causal_lm" if is_decoder else "pretraining" if decides.makes_pairs else "masked_lm"
    module = PretrainingModule(new_model(config, head, 0), objectives)
    return Work(module, dict(module.weights), source)


def _config(words: int, *, is_decoder: bool) -> PretrainedConfig:
    if is_decoder:
        return LlamaConfig(vocab_size=words, max_position_embeddings=2 * LENGTH, num_key_value_heads=2, **SIZES)
    return BertConfig(vocab_size=words, max_position_embeddings=LENGTH, **SIZES, **NO_DROPOUT)


def _labelled(name: str) -> Work:
    """Random texts of random lengths with random labels: what is learned does not matter here."""
    problem, is_pair = PROBLEMS[HEADS[name]](), name == "classification_pair"
    draw, words, rows = np.random.default_rng(0), 400, 333
    sizes = draw.integers(2, 5, size=rows) if problem.unit == "choice" else np.ones(rows, np.int64)
    ids, segments = [], []
    for _ in range(sizes.sum()):
        first, second = draw.integers(1, LENGTH // 2 - 2, size=2)
        parts = [[2, *draw.integers(5, words, size=first).tolist(), 3]]
        if is_pair:
            parts.append([*draw.integers(5, words, size=second).tolist(), 3])
        ids.append([token for part in parts for token in part])
        segments.append([number for number, part in enumerate(parts) for _ in part])
    bounds = np.cumsum([0, *sizes]) if problem.unit == "choice" else None
    places = [np.arange(1, len(row) - 1) for row in ids] if problem.unit == "word" else None
    texts = EncodedTexts(ids, segments, 0, pad=0, length=LENGTH, bounds=bounds, words=places)
    targets: Values = draw.integers(0, 3, size=rows)
    if problem.name == "regression":
        targets = draw.normal(size=rows).astype(np.float32)
    elif problem.name == "multi_label":
        targets = draw.integers(0, 2, size=(rows, 3)).astype(np.float32)
    elif problem.unit == "choice":
        targets = np.stack([draw.integers(0, sizes), sizes], 1)
    elif places is not None:
        targets = [draw.integers(0, 3, size=len(row)) for row in places]
    source = LabelledBatches(texts, targets, ROWS, seed=0, problem=problem, packed=True)
    pooling = "cls" if is_pair else "mean"
    labels = () if problem.name == "regression" else ("a", "b", "c")
    config = _config(words, is_decoder=False)
    classifier, _ = new_classifier(config, labels, pooling, 0, both_ways=True, problem=problem)
    if name != "auxiliary_lm":
        module = ClassificationModule(classifier)
        return Work(module, dict(module.weights), source)
    special = np.arange(words) < 5
    vocabulary = Vocabulary(words, cls=2, sep=3, pad=0, mask=4, eos=-1, unknown=1, special=special)
    module = AuxiliaryModule(classifier, new_model(config, "masked_lm", 0), 0.5)
    return Work(module, dict(module.weights), AuxiliaryBatches(source, vocabulary, 0, is_decoder=False))


def alone() -> Compute:
    """The compute of a run by one process, in whatever process this is."""
    compute = Compute("fp32")
    compute.num_processes, compute.rank = 1, 0
    return compute


def optimizers_of(name: str, module: nn.Module, lr: float) -> Optimizers:
    """Of a module's parameters, without weight decay."""
    groups = parameter_groups(module.named_parameters(), lr, 0.0)
    return Optimizers(OPTIMIZERS[name]().build(groups, module))


def steps(
    work: Work, module: nn.Module, optimizers: Optimizers, rows: int, compute: Compute, start: int, stop: int
) -> Iterator[StepReport]:
    """The project's own loop over some steps, with micro-batches of so many rows."""
    shares = work.source.shares(rows, compute.num_processes, compute.rank)
    feed = Feed(work.source, shares, torch.device("cpu"), start, stop)
    return train(module, work.weights, feed, optimizers, lambda step: 1.0, compute, start=start, seed=0, clip_norm=1.0)


def figures_of(report: StepReport, weights: dict[str, float], compute: Compute) -> tuple[float, float]:
    """Total loss and gradient norm of a step."""
    sums = compute.sum(torch.stack([report.sums[name].double() for name in weights])).tolist()
    loss = sum(weights[name] * part / report.counts[name] for name, part in zip(weights, sums, strict=True))
    return loss, report.grad_norm.item()
