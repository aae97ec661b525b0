"""How often a language model finds the acceptable one of two sentences more probable, as BLiMP asks."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ptft.errors import DataError
from ptft.prompting.request import Scored
from ptft.prompting.statistics import credit
from ptft.tasks.metrics import wilson
from ptft.tasks.minimal_pairs import MinimalPair

ScorePairs = Callable[[Sequence[tuple[str, str]]], Sequence[Scored]]
"""Scores (context, continuation) texts in their order."""


def evaluate_minimal_pairs(
    score: ScorePairs, pairs: Sequence[MinimalPair]
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Measure in how many pairs the acceptable sentence has the higher log-likelihood.

    A tie counts as half a hit, so that a model which tells nothing apart is at chance and not at 100 %. Log-likelihoods
    are sums over tokens, as in BLiMP: they are not divided by the length, and a longer sentence has it harder.

    Args:
        score: Scores sentences after an empty context; with a model and a tokenizer,
            ``partial(loglikelihoods, model, tokenizer)`` for a decoder and
            ``partial(pseudo_loglikelihoods, model, tokenizer)`` for an encoder.
        pairs: At least one.

    Returns:
        The figures ``accuracy`` with ``accuracy.low`` and ``.high`` (mean over pairs), ``accuracy_of_subtasks`` (mean
        over sub-tasks, which papers report; equal to the first where all have as many pairs), and for each phenomenon
        and sub-task ``phenomenon.NAME`` and ``subtask.NAME``, each with ``.low`` and ``.high``; intervals are Wilson's.
        And one record for each of these shares: ``group``, ``name``, ``value``, ``low``, ``high``, ``n`` and ``ties``.

    Raises:
        DataError: There is no pair.

    Paper: Warstadt et al. 2020 (BLiMP), arXiv 1912.00582. Differs: the half hits for ties.
    """
    if not pairs:
        raise DataError("there are no minimal pairs to ask about; give at least one")
    sentences = list(dict.fromkeys(sentence for pair in pairs for sentence in (pair.good, pair.bad)))
    scored = score([("", sentence) for sentence in sentences])
    values = {sentence: found.log_likelihood for sentence, found in zip(sentences, scored, strict=True)}
    found = np.array([[values[pair.good], values[pair.bad]] for pair in pairs])
    credits = credit(found, np.zeros(len(pairs), dtype=np.int64)).tolist()
    records = [_record("all", "", credits)]
    for group in ("phenomenon", "subtask"):
        by_name: dict[str, list[float]] = {}
        for pair, hit in zip(pairs, credits, strict=True):
            by_name.setdefault(getattr(pair, group), []).append(hit)
        records += [_record(group, name, found) for name, found in sorted(by_name.items()) if name]
    subtasks = [record["value"] for record in records if record["group"] == "subtask"]
    figures = _named("accuracy", records[0])
    figures["accuracy_of_subtasks"] = math.fsum(subtasks) / len(subtasks)
    for record in records[1:]:
        figures |= _named(f"{record['group']}.{record['name']}", record)
    return figures, records


def _record(group: str, name: str, credits: Sequence[float]) -> dict[str, Any]:
    hits, n = math.fsum(credits), len(credits)
    low, high = wilson(hits, n)
    ties = sum(hit == 0.5 for hit in credits)
    return {"group": group, "name": name, "value": hits / n, "low": low, "high": high, "n": n, "ties": ties}


def _named(name: str, record: Mapping[str, Any]) -> dict[str, float]:
    return {name: record["value"], f"{name}.low": record["low"], f"{name}.high": record["high"]}
