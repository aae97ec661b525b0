"""Scores of masked language models beside those of minicons, their cost, and what a model that knows nothing gets.

The model has the shape of BERT mini with random weights. minicons 0.3.39 asks tokenizers for a method that transformers
5 no longer has, so it is given the ids that it would have asked for; their making counts as its work.
"""

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from measure import median
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft.corpus.embedded import documents
from ptft.corpus.files import read_lines
from ptft.models.building import new_config, new_model
from ptft.models.presets import PRESETS
from ptft.prompting.masked import Method, pseudo_loglikelihoods
from ptft.prompting.minimal_pairs import evaluate_minimal_pairs
from ptft.prompting.request import Scored
from ptft.tasks.minimal_pairs import read_minimal_pairs
from ptft.tokenization import TokenizerSettings, train_tokenizer

SENTENCES, TURNS = 100, 5
VOCABULARIES = {"": 8192, "_bert_vocabulary": 30_522}
METHODS: dict[str, Method] = {"pll_original": "original", "pll_within_word": "within_word_l2r"}
_PEER_BATCHES = (1, 4, 16)
_TRAINING_DOCUMENTS = 3000
_LONGEST = 400  # characters, so that a sentence of other data fits the positions


@dataclass(frozen=True)
class Case:
    """What both sides score."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    sentences: Sequence[str]


def case_of(vocabulary: int, text: Path | None = None) -> Case:
    """A model with so many tokens, and sentences of the embedded corpus, or lines of a file of text.

    The tokenizer is trained on the same text and has up to 8192 tokens; the embedded corpus fills 850. Some of its
    words are joined to others, so that words have several tokens, as those of other text have anyway.
    """
    if text is None:
        lines = _lines("train", _TRAINING_DOCUMENTS)
        sentences = [_joined(line) for line in _lines("valid", SENTENCES)]
    else:
        lines = [line.strip() for _, line in read_lines(text) if 0 < len(line.strip()) <= _LONGEST]
        sentences = lines
    tokenizer = train_tokenizer(lines, TokenizerSettings(kind="wordpiece", vocab_size=8192), model_max_length=512)
    sharp = {"initializer_range": 0.05}  # with BERT's 0.02, random weights find all tokens nearly as probable
    config = new_config(PRESETS["bert-mini"], tokenizer, positions=512, dropout=0.1, shape=sharp)
    config.vocab_size = vocabulary
    return Case(new_model(config, "masked_lm", seed=0).eval(), tokenizer, sentences[:SENTENCES])


def _lines(split: str, num_documents: int) -> list[str]:
    return [
        line for document in itertools.islice(documents("prose", split, seed=0), num_documents) for line in document
    ]


def _joined(sentence: str) -> str:
    """A sentence without every third of its spaces."""
    words = sentence.split()
    return "".join(word + ("" if number % 3 == 2 else " ") for number, word in enumerate(words)).strip()


def ours(case: Case, method: Method) -> list[float]:
    """The sum over tokens of each sentence."""
    pairs = [("", sentence) for sentence in case.sentences]
    return [scored.log_likelihood for scored in pseudo_loglikelihoods(case.model, case.tokenizer, pairs, method=method)]


def minicons(case: Case, method: Method, batch: int = 1) -> list[float]:
    """The same by minicons, so many sentences at a time."""
    from minicons.scorer import MaskedLMScorer

    scorer = MaskedLMScorer(case.model, "cpu", tokenizer=case.tokenizer)
    found: list[float] = []
    for start in range(0, len(case.sentences), batch):
        some = list(case.sentences[start : start + batch])
        encoded = case.tokenizer(some, padding="longest", return_attention_mask=True)
        found += scorer.sequence_score(encoded, reduction=_summed, PLL_metric=method)
    return found


def _summed(token_scores: Any) -> float:
    return float(token_scores.double().sum())


def masked_differences(text: Path | None = None) -> dict[str, float]:
    """``pll_original_max_difference`` and ``pll_within_word_max_difference``: the largest of a sentence, in nats.

    For both sizes of the vocabulary; those of BERT's end in ``_bert_vocabulary``.
    """
    figures = {}
    for ending, vocabulary in VOCABULARIES.items():
        case = case_of(vocabulary, text)
        for name, method in METHODS.items():
            pairs = zip(ours(case, method), minicons(case, method), strict=True)
            figures[f"{name}_max_difference{ending}"] = max(abs(mine - theirs) for mine, theirs in pairs)
    return figures


def masked_cpu_ratios(text: Path | None = None, *, turns: int = TURNS) -> dict[str, float]:
    """``pll_original_cpu_ratio`` and ``pll_within_word_cpu_ratio``: CPU seconds of minicons over ours.

    The median over alternating turns, both on as many threads as torch has been given; minicons takes the fastest of
    some numbers of sentences at a time, found before. Also the seconds, and the figures with BERT's vocabulary.
    """
    figures = {}
    for ending, vocabulary in VOCABULARIES.items():
        case = case_of(vocabulary, text)
        for name, method in METHODS.items():
            ours(case, method)  # the first call sets up what later ones have
            batch = min(_PEER_BATCHES, key=lambda size: _cpu_seconds(partial(minicons, case, method, size)))
            peer, mine = partial(minicons, case, method, batch), partial(ours, case, method)
            seconds = [(_cpu_seconds(peer), _cpu_seconds(mine)) for _ in range(turns)]
            figures[f"{name}_cpu_ratio{ending}"] = median([theirs / our for theirs, our in seconds])
            figures[f"{name}_cpu_seconds{ending}"] = median([our for _, our in seconds])
            figures[f"{name}_minicons_batch{ending}"] = batch
    return figures


def _cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def constant_model_figures(blimp: Path) -> dict[str, float]:
    """``constant_model_blimp_accuracy``, of a scorer that gives each sentence the same, and that of a uniform one.

    A model that finds each token equally probable still prefers sentences of fewer tokens, which is what
    ``uniform_model_blimp_accuracy`` shows; words stand for tokens there.
    """
    pairs, _ = read_minimal_pairs(str(blimp))

    def constant(asked: Sequence[tuple[str, str]]) -> list[Scored]:
        return [Scored(0.0, False, (), ()) for _ in asked]

    def uniform(asked: Sequence[tuple[str, str]]) -> list[Scored]:
        return [Scored(-len(sentence.split()) * math.log(8192), False, (), ()) for _, sentence in asked]

    figures = {name: evaluate_minimal_pairs(score, pairs)[0] for name, score in
               {"constant": constant, "uniform": uniform}.items()}  # fmt: skip
    return {f"{name}_model_blimp_accuracy": found["accuracy"] for name, found in figures.items()}
