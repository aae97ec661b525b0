"""What ``finetuning.py`` fine-tunes: small checkpoints and tasks, through ``train_one``, and what is seen of it."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft.compute import Compute
from ptft.config import load
from ptft.display import Silent
from ptft.models.classifier import Classifier
from ptft.run import perform
from ptft.steps import finetune
from ptft.steps.finetune import Encoded, Finetune, train_one
from ptft.tasks.table import subset
from ptft.training.totals import Totals
from ptft.training.work import BatchSource

LAYERS = 3
_PRETRAINED = {
    "bert": {
        "preset": "bert-tiny",
        "objective": "masked_lm",
        "shape": {"hidden_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 64},
    },
    "gpt2": {
        "preset": "gpt2-tiny",
        "objective": "causal_lm",
        "shape": {"n_embd": 32, "n_layer": LAYERS, "n_head": 2},
    },
}
KINDS = tuple(_PRETRAINED)
Around = Callable[[nn.Module, BatchSource], AbstractContextManager[None]]


@cache
def checkpoint(kind: str, work: Path) -> str:
    """A language model of three layers that saw a little of the embedded corpus; made once by each process."""
    out = work / f"checkpoint-{kind}"
    shutil.rmtree(out, ignore_errors=True)
    perform(
        "pretrain", **_PRETRAINED[kind], corpus={"path": "embedded"}, vocab_size=500, length=32, rows_per_step=8,
        budget="20steps", evaluation_rows=32, checkpoint_every_steps=0, cache=str(work / "stores"), threads=1,
        out=str(out),
    )  # fmt: skip
    return str(out)


@dataclass(frozen=True)
class Work:
    """A fine-tuning that is ready to begin.

    Attributes:
        settings: As ``ptft finetune`` reads them.
        encoded: Its texts.
        tokenizer: That they were encoded with.
        compute: Device and precision.
    """

    settings: Finetune
    encoded: Encoded
    tokenizer: PreTrainedTokenizerBase
    compute: Compute


@dataclass
class Done:
    """A finished training.

    Attributes:
        classifier: As it would be saved.
        totals: What it used up.
        module, source: What was trained, and on what.
        seconds: All of it.
        pass_seconds: Of the one pass through a body that stays as it is.
        passed_texts: How many texts the body saw, each as often as it did.
    """

    classifier: Classifier
    totals: Totals
    module: Any = None
    source: Any = None
    seconds: float = 0.0
    pass_seconds: float = 0.0
    passed_texts: int = 0


@dataclass
class _Watch:
    around: Around
    done: dict[str, Any] = field(default_factory=lambda: {"pass_seconds": 0.0, "passed_texts": 0})

    def fit(self, module: nn.Module, weights: Any, source: BatchSource, *rest: Any, **named: Any) -> Totals:
        """Train, watched."""
        self.done |= {"module": module, "source": source}
        with self.around(module, source):
            return _FIT(module, weights, source, *rest, **named)

    def features_of(self, *given: Any) -> torch.Tensor:
        """The one pass, timed."""
        start = time.perf_counter()
        features = _FEATURES_OF(*given)
        self.done["pass_seconds"] += time.perf_counter() - start
        return features


_FIT, _FEATURES_OF = finetune.fit, finetune.features_of


def work_of(*, labels: int = 0, **settings: Any) -> Work:
    """A fine-tuning with some settings, of so many training rows or of all."""
    step = load(Finetune, base=settings, base_origin="the benchmark").settings
    data, _ = step.check_data()
    tokenizer = step.open_tokenizer(data)
    encoded = Encoded.of(data, tokenizer, step.length)
    some = encoded.with_train(subset(data, labels, 0)) if labels else encoded
    return Work(step, some, tokenizer, Compute(step.precision))


def run(work: Work, around: Around = lambda module, source: nullcontext(), *, first_token: int | None = None) -> Done:
    """Fine-tune as the step does; ``around`` is entered before the first update and left before adapters are merged.

    With ``first_token``, that with which each text begins, the texts that go through a body are counted by it, since
    several of them may share a row.
    """
    watch = _Watch(around)
    start = time.perf_counter()
    with (
        patch.object(finetune, "fit", watch.fit),
        patch.object(finetune, "features_of", watch.features_of),
        _counting(watch.done, first_token),
    ):
        classifier, totals = train_one(
            work.settings, work.encoded, work.tokenizer, work.settings.seed, work.compute, Silent(),
            lr=work.settings.lr,
        )  # fmt: skip
    return Done(classifier, totals, seconds=time.perf_counter() - start, **watch.done)


@contextmanager
def _counting(done: dict[str, Any], first_token: int | None) -> Iterator[None]:
    if first_token is None:
        yield
        return

    def count(part: nn.Module, given: Any, named: dict[str, Any], output: Any) -> None:
        if isinstance(part, PreTrainedModel) and part.base_model is part:
            done["passed_texts"] += int((named["input_ids"] == first_token).sum())

    handle = nn.modules.module.register_module_forward_hook(count, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
