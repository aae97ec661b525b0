"""What ``prompting_parity.py`` asks: checkpoints and rows made on the spot, and lm_eval's own requests and figures."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from ptft import rng
from ptft.corpus.embedded import documents
from ptft.prompting import Template
from ptft.tasks import TASKS
from ptft.tasks.task import Example
from ptft.tokenization import TokenizerSettings, train_tokenizer

KINDS = ("gpt2", "llama_bos", "gpt2_short")
LABELS = ("kitchen", "sea", "music", "farm")
PHRASES = ("good", "rather good indeed", "très bien, vraiment", "so so")
TEMPLATE = Template("Review: {text}\nSentiment:")
POOLS = ("train", "test", "leaking")
METRICS = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "brier_score")
REFUSED = -1e6  # put in the place of log-likelihoods that lm_eval does not give
_VOCABULARY = 1024
_POSITIONS = {"gpt2_short": 256}

EDGE_TEXTS = (
    "a plain text", "", " ", "\n\n", " leading", "trailing ", "trailing\n\n", "both\t", "no-break\u00a0", "\u3000wide",
    "Ans", "the kitch", "émoji 🙂", "🙂", "한국어 문장", "<|endoftext|> marked", "é\u0301", "12345", "so", "and so",
)  # fmt: skip
EDGE_CHOICES = ("wer", "en", "🙂", "\u0301", " wer", "<|endoftext|>x", "so so", "\ngood")


def tokenizer_of(kind: str) -> PreTrainedTokenizerBase:
    """A byte-level BPE trained on the embedded corpus; with ``_bos`` one that puts a token before each text itself."""
    lines = [line for document in islice(documents("prose", "train", seed=0), 2000) for line in document]
    settings = TokenizerSettings(kind="bpe", vocab_size=_VOCABULARY)
    tokenizer = train_tokenizer(lines, settings, model_max_length=_POSITIONS.get(kind, 2048))
    if not kind.endswith("_bos"):
        return tokenizer
    mark = tokenizer.eos_token
    own = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, bos_token=mark, eos_token=mark, pad_token=tokenizer.pad_token
    )
    own.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{mark} $A", pair=f"{mark} $A {mark} $B", special_tokens=[(mark, tokenizer.eos_token_id)]
    )
    return own


def model_of(kind: str, vocab_size: int) -> PreTrainedModel:
    """Two layers of random weights, so large that some tokens are far more probable than others."""
    positions = _POSITIONS.get(kind, 2048)
    torch.manual_seed(KINDS.index(kind))
    if kind.startswith("gpt2"):
        config = GPT2Config(
            vocab_size=vocab_size, n_positions=positions, n_embd=64, n_layer=2, n_head=4, initializer_range=0.25,
            bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        return GPT2LMHeadModel(config)
    config = LlamaConfig(
        vocab_size=vocab_size, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=positions, initializer_range=0.25, bos_token_id=0,
        eos_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def checkpoint(kind: str, work: Path) -> str:
    """The folder of a checkpoint."""
    folder = work / kind
    tokenizer = tokenizer_of(kind)
    tokenizer.save_pretrained(folder)
    model_of(kind, len(tokenizer)).save_pretrained(folder)
    return str(folder)


def rows_of(split: str, size: int) -> list[Example]:
    """Labelled texts of some sentences each; a few of them stand there two or three times."""
    data = TASKS["topic"]().data(seed=0)
    source = [row for row in (data.train if split == "train" else data.tests["L"]) if row.label in LABELS]
    rows = []
    for number in range(size):
        same = [row.text for row in source if row.label == LABELS[number % 4]]
        first = int(rng.integers(len(same), rng.key_of(split), number))
        rows.append(Example(" ".join(same[first : first + 1 + number % 4]), LABELS[number % 4]))
    rows[3], rows[7], rows[5] = rows[2], rows[2], rows[4]
    return rows


@dataclass(frozen=True)
class Case:
    """One run of lm_eval: what is asked, with which shots."""

    k: int
    words: Mapping[str, str]
    sampler: str = "default"
    pool: str = "train"
    """``train``; ``test`` for the evaluated rows, which lm_eval keeps apart; ``leaking`` for those, as they are."""
    description: str = ""
    template: Template = TEMPLATE
    delimiter: str = " "
    raw: bool = False
    """Whether the texts are the questions, as a column of lm_eval's data."""

    @property
    def excludes(self) -> bool:
        """Whether lm_eval keeps a row from being its own shot."""
        return self.pool == "test"


@dataclass
class Seen:
    """What lm_eval made of a case, in its order of requests."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    ids: list[tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    scores: list[tuple[float, bool]] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    """Requests for which lm_eval fails."""
    misread: list[int] = field(default_factory=list)
    """Requests that its cache scores at the wrong place: equal inputs, of which the continuation begins elsewhere."""
    figures: dict[str, Any] = field(default_factory=dict)


def task_of(case: Case, rows: Mapping[str, Sequence[Example]], folder: Path) -> Any:
    """A task of lm_eval over rows in files."""
    from lm_eval.api.task import ConfigurableTask

    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for split, part in rows.items():
        files[split] = str(folder / f"{split}.jsonl")
        lines = [json.dumps({"text": row.text, "label": LABELS.index(str(row.label))}) for row in part]
        Path(files[split]).write_text("\n".join(lines) + "\n")
    splits = {"train": {"training_split": "train"}, "test": {"fewshot_split": "test"}, "leaking": {}}[case.pool]
    form = "text" if case.raw else case.template.text.replace("{text}", "{{text}}")
    return ConfigurableTask(
        config={
            "task": "parity",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "cache")},
            "test_split": "test",
            **splits,
            "output_type": "multiple_choice",
            "doc_to_text": form,
            "doc_to_choice": [case.words[label] for label in LABELS],
            "doc_to_target": "label",
            "description": case.description,
            "target_delimiter": case.delimiter,
            "fewshot_delimiter": case.template.separator,
            "fewshot_config": {"sampler": case.sampler},
            "num_fewshot": case.k,
            "metric_list": [{"metric": m, "aggregation": _how(m), "higher_is_better": True} for m in METRICS],
        }
    )


def _how(metric: str) -> str:
    return "brier_score" if metric == "brier_score" else "mean"


def asked(harness: Any, case: Case, rows: Mapping[str, Sequence[Example]], folder: Path) -> Seen:
    """Let lm_eval's evaluator run a case, and look at what it gives its model and gets from it."""
    from lm_eval import evaluator

    seen = Seen()
    about = patch.multiple(evaluator, add_env_info=lambda found: None, get_git_commit_hash=lambda: "")  # takes seconds
    with about, _watched(harness, seen):
        found = evaluator.simple_evaluate(
            model=harness, tasks=[task_of(case, rows, folder)], log_samples=False, task_manager=_no_tasks()
        )
    seen.figures = found["results"]["parity"]
    return seen


@cache
def _no_tasks() -> Any:
    """lm_eval's index of tasks, which takes seconds to fill, without any."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_defaults=False)


def asked_rolling(harness: Any, texts: Sequence[str]) -> list[float]:
    """lm_eval's log-likelihoods of whole texts."""
    from lm_eval.api.instance import Instance

    requests = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in texts]
    return harness.loglikelihood_rolling(requests, disable_tqdm=True)


@contextmanager
def _watched(harness: Any, seen: Seen) -> Iterator[None]:
    inner = harness._loglikelihood_tokens

    def watch(requests: list[Any], **settings: Any) -> list[tuple[float, bool]]:
        seen.texts = [texts for texts, _, _ in requests]
        seen.ids = [(tuple(context), tuple(continuation)) for _, context, continuation in requests]
        seen.refused = [
            number
            for number, (context, continuation) in enumerate(seen.ids)
            if not context or not 0 < len(continuation) <= harness.max_length
        ]
        kept = [number for number in range(len(requests)) if number not in set(seen.refused)]
        longest: dict[tuple[int, ...], int] = {}
        for context, continuation in (seen.ids[number] for number in kept):
            fed = context + continuation[:-1]
            longest[fed] = max(longest.get(fed, 0), len(continuation))
        seen.misread = [n for n in kept if len(seen.ids[n][1]) < longest[seen.ids[n][0] + seen.ids[n][1][:-1]]]
        given = dict(zip(kept, inner([requests[number] for number in kept], **settings), strict=True))
        seen.scores = [given.get(number, (REFUSED, False)) for number in range(len(requests))]
        return seen.scores

    with patch.object(harness, "_loglikelihood_tokens", watch):
        yield


def one_token_words(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """A word for each label that is one token after a space."""
    words = [
        text[1:]
        for token in range(len(tokenizer) - 1, 256, -1)
        if (text := tokenizer.decode(token))[:1] == " " and text[1:].isalpha() and len(text) > 3
    ]
    return dict(zip(LABELS, words, strict=False))


def edge_rows() -> list[Example]:
    """Texts that are hard to cut."""
    return [replace(Example(text, ""), label=LABELS[number % 4]) for number, text in enumerate(EDGE_TEXTS)]
