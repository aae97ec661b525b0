"""What records of choices come to: for each evaluation and scoring method an accuracy, and means over evaluations."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from ptft.errors import RecipeError
from ptft.prompting import lm_eval
from ptft.prompting.method import Answers, Method
from ptft.prompting.methods import METHODS
from ptft.prompting.records import ChoiceRecord, Evaluation, answers_of, evaluations
from ptft.prompting.statistics import (
    accuracy_interval,
    baselines,
    best_choices,
    credit,
    detectable_unpaired,
    order_sensitivity,
    split_variance,
)
from ptft.tasks.calibration import expected_calibration_error
from ptft.tasks.metrics import wilson
from ptft.tasks.problem import softmax

Questions = Sequence[Sequence[ChoiceRecord]]
_NAMES = {"raw": "acc", "per_character": "acc_norm", "per_byte": "acc_bytes", "pmi": "acc_mutual_info"}
_FEWEST = 2  # documents, for what is said of how they differ


@dataclass(frozen=True)
class _Scored:
    """One evaluation by the method of the figures."""

    hits: Float[ndarray, " questions"]
    gold: Int[ndarray, " questions"]
    scores: Float[ndarray, "questions choices"] | None
    """None under a protocol that has no ties."""


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
    scored: dict[Evaluation, _Scored] = {}
    for evaluation, questions in evaluations(records):
        gold = np.array([[record.is_gold for record in question].index(True) for question in questions])
        shared = {
            "protocol": evaluation.protocol,
            "n": len(questions),
            **_baselines(gold, questions),
            "shots_dropped": sum(len(question[0].shots) < evaluation.k for question in questions),
        }
        place = {name: getattr(evaluation, name) for name in ("task", "k", "seed", "template", "order")}
        if not _allows(questions, scorers[0]):
            raise RecipeError(
                f"the scoring method {method!r} cannot be worked out from these records: what it wants was not scored, "
                f"or the choices differ; ask again with methods={method}, or name another one"
            )
        if evaluation.protocol == lm_eval.PROTOCOL:
            hits, made = _by_lm_eval(questions, gold, method)
            scored[evaluation] = _Scored(hits, gold, None)
            found += [place | one | shared for one in made]
            continue
        answers = answers_of(questions)
        for scorer in scorers:
            if _allows(questions, scorer):
                scores = scores_of(scorer, answers)
                if scorer is scorers[0]:
                    scored[evaluation] = _Scored(credit(scores, gold), gold, scores)
                named = {"method": scorer.name, "is_figure": scorer is scorers[0]}
                found.append(place | named | _accuracy(scores, gold) | shared)
    return _figures(found, scored), found


def documents_of(records: Iterable[ChoiceRecord], method: str = "raw") -> list[dict[str, Any]]:
    """Each question of each evaluation with its right and its given answer, the first of equal ones.

    Raises:
        RecipeError: The method is unknown.
    """
    scorer = METHODS[method]()
    found = []
    for _, questions in evaluations(records):
        best = best_choices(scores_of(scorer, answers_of(questions)))
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


def scores_of(scorer: Method, answers: Answers) -> Float[ndarray, "questions choices"]:
    """A method's scores, minus infinity where a question has fewer choices than others."""
    return np.asarray(np.nan_to_num(scorer.scores(answers), nan=-np.inf, neginf=-np.inf))


def _accuracy(scores: Float[ndarray, "questions choices"], gold: Int[ndarray, " questions"]) -> dict[str, float]:
    hits = credit(scores, gold)
    low, high = wilson(float(hits.sum()), len(hits))
    ties = int((best_choices(scores).sum(1) > 1).sum())
    error = expected_calibration_error(softmax(scores), gold)
    return {"value": float(hits.mean()), "low": low, "high": high, "ties": ties, "calibration_error": error}


def _by_lm_eval(
    questions: Questions, gold: Int[ndarray, " questions"], method: str
) -> tuple[Float[ndarray, " questions"], list[dict[str, Any]]]:
    """Figures with lm_eval's names and standard errors, and what each question counts in that of a method."""
    documents = [
        lm_eval.sized_metrics(
            [record.log_likelihood for record in question],
            [record.is_greedy for record in question],
            [record.characters for record in question],
            [record.bytes for record in question],
            right,
            [record.references["pmi"][0] for record in question if "pmi" in record.references],
        )
        for question, right in zip(questions, gold.tolist(), strict=True)
    ]
    made = []
    for name, (value, stderr) in lm_eval.aggregates(documents).items():
        figure: dict[str, Any] = {"method": name, "is_figure": name == _NAMES[method], "value": value}
        if stderr is not None:
            figure["stderr"] = stderr
        if name != "brier_score":
            figure["low"], figure["high"] = wilson(value * len(documents), len(documents))
        made.append(figure)
    return np.array([document[_NAMES[method]] for document in documents]), made


def _baselines(gold: Int[ndarray, " questions"], questions: Questions) -> dict[str, float]:
    known = baselines(gold, np.array([len(question) for question in questions]))
    return {"majority": known["majority"], "random": known["uniform"], "prior": known["prior"]}


def _allows(questions: Questions, scorer: Method) -> bool:
    """Whether a method can be worked out: it asked for what it wants, and the choices are what it needs."""
    if type(scorer).wants is not Method.wants and scorer.name not in questions[0][0].references:
        return False
    return not scorer.needs_labels or len({tuple(record.choice for record in question) for question in questions}) == 1


def _figures(records: Sequence[Mapping[str, Any]], scored: Mapping[Evaluation, _Scored]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for task in dict.fromkeys(evaluation.task for evaluation in scored):
        for k in dict.fromkeys(evaluation.k for evaluation in scored if evaluation.task == task):
            mine = {one: found for one, found in scored.items() if (one.task, one.k) == (task, k)}
            figures |= {f"{task}.k{k}{name}": value for name, value in _over_evaluations(k, mine).items()}
            others = [record for record in records if (record["task"], record["k"]) == (task, k) and "stderr" in record]
            for name in dict.fromkeys(record["method"] for record in others):
                own = [record for record in others if record["method"] == name]
                figures[f"{task}.k{k}.{name}"] = float(np.mean([record["value"] for record in own]))
                if len(own) == 1:
                    figures[f"{task}.k{k}.{name}_stderr"] = own[0]["stderr"]
        own = [record for record in records if record["task"] == task and record["is_figure"]]
        for baseline in ("majority", "random", "prior"):
            figures[f"{task}.{baseline}"] = sum(record[baseline] for record in own) / len(own)
    return figures


def _over_evaluations(k: int, scored: Mapping[Evaluation, _Scored]) -> dict[str, float]:
    """The mean over seeds, orders and templates for one k, its interval, and what its variance comes from."""
    seeds, orders = sorted({one.seed for one in scored}), sorted({one.order for one in scored})
    templates = list(dict.fromkeys(one.template for one in scored))
    if k == 0:  # without shots all seeds and orders are the same prompt
        seeds, orders = seeds[:1], orders[:1]
    gold = next(iter(scored.values())).gold
    hits = np.empty((len(gold), len(seeds), len(orders), len(templates)))
    for one, found in scored.items():
        if one.seed in seeds and one.order in orders:
            place = seeds.index(one.seed), orders.index(one.order), templates.index(one.template)
            hits[:, *place] = found.hits
    if len(gold) < _FEWEST:
        low, high = wilson(float(hits.mean()) * len(gold), len(gold))
        return {"": float(hits.mean()), ".low": low, ".high": high}
    mean, low, high = accuracy_interval(hits)
    figures = {"": mean, ".low": low, ".high": high}
    if mean < 1:
        detectable = detectable_unpaired(len(gold), mean)
        figures |= {".detectable": detectable} if np.isfinite(detectable) else {}
    if hits[0].size > 1:
        figures |= {f".variance_{name}": value for name, value in split_variance(hits).components.items()}
    if len(orders) > 1:
        figures |= _order_figures(scored, gold, seeds, templates)
    return figures


def _order_figures(
    scored: Mapping[Evaluation, _Scored],
    gold: Int[ndarray, " questions"],
    seeds: Sequence[int],
    templates: Sequence[str],
) -> dict[str, float]:
    """How much the order of the shots changes, on average over seeds and templates."""
    made = []
    for seed in seeds:
        for template in templates:
            mine = [found.scores for one, found in scored.items() if (one.seed, one.template) == (seed, template)]
            sensitivity = order_sensitivity(np.stack([scores for scores in mine if scores is not None]), gold)
            made.append(
                {
                    **{f".order_{name}": sensitivity.figures[name] for name in ("sd", "min", "max")},
                    ".global_entropy": float(sensitivity.global_entropies.mean()),
                    ".local_entropy": float(sensitivity.local_entropies.mean()),
                }
            )
    return {name: float(np.mean([one[name] for one in made])) for name in made[0]}
