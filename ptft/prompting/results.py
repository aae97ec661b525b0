"""What records of choices come to: for each evaluation and scoring method an accuracy, and means over evaluations."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from ptft.errors import RecipeError
from ptft.prompting.method import Method
from ptft.prompting.methods import METHODS
from ptft.prompting.records import ChoiceRecord, answers_of, evaluations
from ptft.tasks.metrics import mean_interval, wilson

_ROUNDING = 1e-6  # scores nearer than this share depend on what was scored together, so they count as equal


def summarise(
    records: Iterable[ChoiceRecord], method: str = "raw", methods: Sequence[str] = ()
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Work out all figures from what a model said of each choice.

    Args:
        records: As :func:`~ptft.prompting.evaluate_prompts` gave them or
            :func:`~ptft.prompting.records.read_records` read them.
        method: The scoring method whose accuracies are the figures.
        methods: Others to work out; none is all that the records allow.

    Returns:
        The figures of :class:`~ptft.prompting.PromptResult`, and its records: one for each evaluation and scoring
        method, that of the figures first.

    Raises:
        RecipeError: A method is unknown, or that of the figures cannot be worked out from these records.
    """
    scorers = [METHODS[name]() for name in dict.fromkeys([method, *(methods or METHODS)])]
    found: list[dict[str, Any]] = []
    for evaluation, questions in evaluations(records):
        answers = answers_of(questions)
        gold = np.array([[record.is_gold for record in question].index(True) for question in questions])
        counts = Counter(gold.tolist())
        shared = {
            "protocol": evaluation.protocol,
            "n": len(questions),
            "majority": max(counts.values()) / len(questions),
            "random": float(np.mean([1 / len(question) for question in questions])),
            "shots_dropped": sum(len(question[0].shots) < evaluation.k for question in questions),
        }
        place = {name: getattr(evaluation, name) for name in ("task", "k", "seed", "template", "order")}
        if not _allows(questions, scorers[0]):
            raise RecipeError(
                f"the scoring method {method!r} cannot be worked out from these records: what it wants was not scored, "
                f"or the choices differ; ask again with methods={method}, or name another one"
            )
        for scorer in scorers:
            if _allows(questions, scorer):
                best = best_choices(scorer.scores(answers))
                credit = best[np.arange(len(gold)), gold] / best.sum(1)
                low, high = _over_documents(credit.sum(), len(credit))
                ties = int((best.sum(1) > 1).sum())
                value = {"value": float(credit.mean()), "low": low, "high": high, "ties": ties}
                found.append(place | {"method": scorer.name, "is_figure": scorer.name == method} | value | shared)
    return _figures([record for record in found if record["method"] == method]), found


def documents_of(records: Iterable[ChoiceRecord], method: str = "raw") -> list[dict[str, Any]]:
    """Each question of each evaluation with its right and its given answer, the first of equal ones.

    Raises:
        RecipeError: The method is unknown.
    """
    scorer = METHODS[method]()
    found = []
    for _, questions in evaluations(records):
        best = best_choices(scorer.scores(answers_of(questions)))
        for question, chosen in zip(questions, best.argmax(1).tolist(), strict=True):
            first = question[0]
            place = {name: getattr(first, name) for name in ("task", "template", "k", "seed", "order", "index")}
            found.append(
                {
                    **place,
                    "shots": len(first.shots),
                    "gold": next(record.choice for record in question if record.is_gold),
                    "predicted": question[chosen].choice,
                    "log_likelihoods": [record.log_likelihood for record in question],
                }
            )
    return found


def best_choices(scores: Float[ndarray, "questions choices"]) -> Bool[ndarray, "questions choices"]:
    """The choices that share the highest score of a question, but for rounding."""
    top = np.nanmax(scores, axis=1, keepdims=True)
    return np.asarray(np.isclose(scores, top, rtol=_ROUNDING, atol=_ROUNDING))


def _allows(questions: Sequence[Sequence[ChoiceRecord]], scorer: Method) -> bool:
    """Whether a method can be worked out: it asked for what it wants, and the choices are what it needs."""
    if type(scorer).wants is not Method.wants and scorer.name not in questions[0][0].references:
        return False
    return not scorer.needs_labels or len({tuple(record.choice for record in question) for question in questions}) == 1


def _over_documents(hits: float, n: int) -> tuple[float, float]:
    # Ties and means over seeds give shares of a hit, for which Wilson's formula holds as it stands.
    return wilson(cast("int", float(hits)), n)


def _figures(records: Sequence[dict[str, Any]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for task in dict.fromkeys(record["task"] for record in records):
        own = [record for record in records if record["task"] == task]
        for k in dict.fromkeys(record["k"] for record in own):
            values = [record["value"] for record in own if record["k"] == k]
            mean, n = sum(values) / len(values), min(record["n"] for record in own if record["k"] == k)
            low, high = _over_documents(mean * n, n)
            if len(values) > 1:
                _, low_over_seeds, high_over_seeds = mean_interval(values)
                low, high = min(low, max(low_over_seeds, 0.0)), max(high, min(high_over_seeds, 1.0))
            figures |= {f"{task}.k{k}": mean, f"{task}.k{k}.low": low, f"{task}.k{k}.high": high}
        for baseline in ("majority", "random"):
            figures[f"{task}.{baseline}"] = sum(record[baseline] for record in own) / len(own)
    return figures
