"""How well a causal model predicts whole documents: bits per byte, and perplexities of words, tokens and bytes."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft.compute import Compute
from ptft.errors import CheckpointError, DataError, RecipeError
from ptft.prompting.decoder import check_decoder, num_positions
from ptft.prompting.encoding import encode_texts
from ptft.prompting.records import short_hash
from ptft.prompting.request import Request
from ptft.prompting.scoring import score_requests
from ptft.tasks.metrics import summed_figures

PROTOCOL = "ptft"
UNITS = ("token", "byte", "word")
_LARGEST = math.log(np.finfo(float).max)
_TOKENS_AT_ONCE = 200_000  # are scored between two reports of progress
_DOCUMENTS_AT_ONCE = 1000  # are turned into ids


@dataclass(frozen=True)
class PerplexityResult:
    """What documents gave: ready for the flat keys and the ``records`` of ``result.json``."""

    figures: dict[str, float]
    """``NAME.bits_per_byte`` and ``NAME.UNIT_perplexity`` of :data:`UNITS`, each with ``.low`` and ``.high``, and
    ``NAME.n`` (documents), ``NAME.tokens``, ``NAME.words``, ``NAME.bytes``."""
    records: list[dict[str, Any]]
    """One: the bits per byte as ``value``, and what they were measured with."""
    documents: list[dict[str, Any]]
    """One for each document that was scored: its sums, from which all figures can be worked out."""


def evaluate_perplexity(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    name: str,
    positions: int = 0,
    context: int = 0,
    compute: Compute | None = None,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = warnings.warn,
) -> PerplexityResult:
    """Score whole documents, each token once, and relate the sum of log-probabilities to bytes, words and tokens.

    A document begins after the beginning-of-text token, or after the end-of-text token where there is none; its own
    tokens are scored, its end is not. One that is longer than ``positions`` is scored in windows: the first scores as
    many tokens as there are positions, each later one as many as fit after ``context`` tokens of text before them, and
    the last one takes as much context as fits. Documents without text, and those that the tokenizer makes
    nothing of, are left out and told.

    Tokens of different tokenizers differ; bytes of UTF-8 and words, which stand apart by white space, do not. Compare
    models by these, at the same ``positions``.

    Args:
        model: A causal language model, on its device.
        tokenizer: The tokenizer it was pretrained with.
        texts: The documents, as they stand.
        name: What the figures are called.
        positions: The longest input in tokens; 0 is the model's longest.
        context: Tokens that a window after the first sees before those it scores, at least 1; 0 is half of the
            positions. 1 is the rule of lm-eval, cheaper, and higher in perplexity by what windows begin without.
        compute: The processes that share the work; None is this one alone.
        progress: Called with the number of documents scored and in all.
        say: Told what was left out, and why beginnings are not shared where they are not.

    Raises:
        CheckpointError: The model is not a causal language model or has unusable weights, or the tokenizer has no token
            to begin with.
        RecipeError: ``positions`` is more than the model has, or ``context`` is more than that.
        DataError: There is no document with text.

    Paper: Brown et al. 1992 (bits per character); Gao et al. 2020, section 3.1, arXiv 2101.00027 (bits per byte).
    Differs: lm-eval 0.4.13 gives ``context`` 1, a second beginning-of-text token where the tokenizer adds one itself,
    and one word more for white space at either end of a document.
    """
    positions, context = _checked(positions, context, num_positions(model))
    start = _beginning(tokenizer)
    check_decoder(model, tokenizer)
    ids = _encoded(tokenizer, texts, say)
    scored: list[dict[str, Any]] = []
    once = cache(say)
    for some in _portions(ids):
        windows = {index: list(windows_of(ids[index], start, positions, context)) for index in some}
        requests = [request for ready in windows.values() for request in ready]
        answers = iter(score_requests(model, requests, compute=compute, say=once))
        for index, ready in windows.items():
            total = math.fsum(answer.log_likelihood for answer in islice(answers, len(ready)))
            text = texts[index]
            scored.append(
                {
                    "index": index,
                    "document": short_hash(text),
                    "log_likelihood": total,
                    "tokens": len(ids[index]),
                    "bytes": len(text.encode()),
                    "words": len(text.split()),
                    "windows": len(ready),
                }
            )
        if progress is not None:
            progress(len(scored), len(ids))
    figures = _figures(scored, name, say)
    value = {end or "value": figures[f"{name}.bits_per_byte{'.' * bool(end)}{end}"] for end in ("", "low", "high")}
    record = {"task": name, "metric": "bits_per_byte", **value, "protocol": PROTOCOL, "n": len(scored)}
    sizes = {"positions": positions, "context": context, "left_out": len(texts) - len(ids)}
    return PerplexityResult(figures, [record | sizes], scored)


def windows_of(ids: Sequence[int], start: int, positions: int, context: int) -> Iterator[Request]:
    """Cut a document into requests that score each of its tokens once; see :func:`evaluate_perplexity`.

    Args:
        ids: The document's tokens.
        start: The token before them.
        positions: The longest input in tokens.
        positions: The longest input in tokens; 0 is the model's longest.
        context: Tokens that a window after the first sees before those it scores, 1 to ``positions``.
    """
    done = min(positions, len(ids))
    yield Request((start,), tuple(ids[:done]))
    while done < len(ids):
        end = min(done + positions + 1 - context, len(ids))
        yield Request(tuple(ids[end - positions - 1 : done]), tuple(ids[done:end]))
        done = end


def _checked(positions: int, context: int, most: int) -> tuple[int, int]:
    if not 0 <= positions <= most:
        raise RecipeError(f"positions is {positions!r}; give 1 to {most}, which the model has, or 0 for all of them")
    positions = positions or most
    if not 0 <= context <= positions:
        raise RecipeError(
            f"context is {context!r}; give 1 to {positions} tokens, the positions of a window, or 0 for half of them"
        )
    return positions, context or max(1, positions // 2)


def _beginning(tokenizer: PreTrainedTokenizerBase) -> int:
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise CheckpointError(
        "the tokenizer has neither bos_token nor eos_token, so the first token of a document follows nothing; name one "
        "that the model was pretrained with"
    )


def _encoded(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], say: Callable[[str], None]
) -> dict[int, tuple[int, ...]]:
    """The tokens of each document that has some, by its number."""
    ids: dict[int, tuple[int, ...]] = {}
    for start in range(0, len(texts), _DOCUMENTS_AT_ONCE):
        numbers = range(start, min(start + _DOCUMENTS_AT_ONCE, len(texts)))
        encoded = encode_texts(tokenizer, [texts[number] for number in numbers])
        ids |= {number: encoded[texts[number]] for number in numbers if texts[number].strip()}
    ids = {number: tokens for number, tokens in ids.items() if tokens}
    if not ids:
        raise DataError(f"none of {len(texts)} documents has text; give at least one that does")
    if len(ids) < len(texts):
        number = next(number for number in range(len(texts)) if number not in ids)
        say(f"{len(texts) - len(ids)} of {len(texts)} documents have no text and are left out (first: number {number})")
    unknown = tokenizer.unk_token_id
    if unknown is not None and unknown not in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        count = sum(tokens.count(unknown) for tokens in ids.values())
        if count:
            share = count / sum(map(len, ids.values()))
            say(
                f"{share:.2%} of the tokens stand for text that the tokenizer does not know ({tokenizer.unk_token}); "
                "the model need not spell it, so figures of bytes and words are too low"
            )
    return ids


def _portions(ids: dict[int, tuple[int, ...]]) -> Iterator[list[int]]:
    """Numbers of documents, so many at once that a report of progress is due."""
    some: list[int] = []
    tokens = 0
    for number, document in ids.items():
        some.append(number)
        tokens += len(document)
        if tokens >= _TOKENS_AT_ONCE:
            yield some
            some, tokens = [], 0
    if some:
        yield some


def _figures(scored: Sequence[dict[str, Any]], name: str, say: Callable[[str], None]) -> dict[str, float]:
    sums = np.array([[-one["log_likelihood"], one["tokens"], one["bytes"], one["words"]] for one in scored])
    found = summed_figures(sums, lambda totals: (totals[:, :1] / totals[:, 1:]).T, seed=0)
    nats = dict(zip(UNITS, found, strict=True))  # of one unit: value, low, high
    ends = ("", ".low", ".high")
    figures = {f"{name}.bits_per_byte{end}": nat / math.log(2) for end, nat in zip(ends, nats["byte"], strict=True)}
    for unit in UNITS:
        if max(nats[unit]) < _LARGEST:
            figures |= {f"{name}.{unit}_perplexity{end}": math.exp(n) for end, n in zip(ends, nats[unit], strict=True)}
        else:
            say(f"{name}.{unit}_perplexity is left out: at {nats[unit][0]:.0f} nats a {unit} it is beyond all numbers")
    counts = {unit: int(total) for unit, total in zip(UNITS, sums[:, 1:].sum(0), strict=True)}
    return figures | {f"{name}.n": len(scored)} | {f"{name}.{unit}s": count for unit, count in counts.items()}
