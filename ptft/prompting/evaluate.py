"""Zero-, one- and few-shot accuracy of a causal model on a task, for several numbers of shots and seeds in one call."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft import rng
from ptft.errors import DataError, RecipeError
from ptft.prompting.scoring import Request, check_decoder, encode_pairs, num_positions, score_requests
from ptft.prompting.shots import check_labels, first_shots, shot_order
from ptft.prompting.statistics.answers import best_choices, credit
from ptft.prompting.template import Template, default_template
from ptft.tasks.metrics import mean_interval, wilson
from ptft.tasks.prompt_task import PromptItem, PromptTask
from ptft.tasks.task import Example, TaskData

_LIMIT = rng.key_of("prompting.limit")
_OWN_TEMPLATE = "the task's own"


@dataclass(frozen=True)
class PromptResult:
    """What prompting gave: ready for the flat keys and the ``records`` of ``result.json``."""

    figures: dict[str, float]
    """``TASK.kK`` (mean accuracy over seeds), ``TASK.kK.low``, ``TASK.kK.high`` and ``TASK.majority``."""
    records: list[dict[str, Any]]
    """One for each task, k and seed: the accuracy ``value``, its 95 % interval, and what it was measured with."""
    documents: list[dict[str, Any]]
    """One for each task, k, seed and document: gold and predicted choice and all log-likelihoods."""


@dataclass(frozen=True)
class _Questions:
    """The prompts of one test set as a function of k and seed, and the names of the choices in its documents."""

    name: str
    template: str
    items: Callable[[int, int], list[PromptItem]]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Templated:
    """Makes the prompts of labelled rows; the order of shots is worked out once for each seed."""

    pool: Sequence[Example]
    rows: Sequence[Example]
    labels: tuple[str, ...]
    template: Template
    orders: dict[int, list[Example]] = field(default_factory=dict)

    def items(self, k: int, seed: int) -> list[PromptItem]:
        if seed not in self.orders:
            self.orders[seed] = shot_order(self.pool, self.labels, seed)
        ordered = self.orders[seed]
        return [self.template.item(row, self.labels, first_shots(ordered, k, row)) for row in self.rows]


@dataclass(frozen=True)
class _Answer:
    item: PromptItem
    log_likelihoods: list[float]

    @property
    def best(self) -> list[int]:
        """The choices that share the highest log-likelihood, but for rounding."""
        return np.flatnonzero(best_choices(np.array(self.log_likelihoods))).tolist()

    @property
    def credit(self) -> float:
        """1 for the right choice alone; its share where several are equally probable."""
        return float(credit(np.array(self.log_likelihoods), np.array(self.item.gold)))


def evaluate_prompts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: TaskData | PromptTask,
    *,
    k: Sequence[int],
    seeds: Sequence[int],
    template: Template | None = None,
    limit: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> PromptResult:
    """Measure how often the right label is the most probable continuation, after ``k`` examples in the prompt.

    Nothing is trained. Of labelled data the shots come from ``train`` and the questions from the test sets; a document
    is never its own shot. Where a prompt is longer than the model's positions it loses whole shots, the last first,
    so it is the same prompt as for a smaller k; ``shots_dropped`` counts such documents. A document whose best choices
    are equally probable counts as its share of a hit, so a model that tells nothing apart is at chance.

    An interval of a record is Wilson's, over documents. That of a figure is over seeds, and never narrower than
    Wilson's: shots and documents are both drawn, and either may dominate. ``majority`` is the share of the most
    frequent right choice, the accuracy of one who knows only that.

    Args:
        model: A causal language model with a stock forward.
        tokenizer: The tokenizer it was pretrained with.
        task: Labelled data, or an in-context task that makes its own prompts.
        k: Numbers of shots, each at least 0.
        seeds: Seeds of the shots, each at least 0; for one seed the shots of a smaller k begin those of a larger.
        template: Form and label words for labelled data; ``None`` is :func:`default_template`.
        limit: How many documents to ask about, the same for each k and seed; 0 is all.
        progress: Called with the number of evaluations (one k, one seed) done and in all.

    Raises:
        CheckpointError: The model is not a causal language model or has unusable weights.
        RecipeError: ``k``, ``seeds``, ``limit`` or the template is not usable.
        DataError: There are too few shots, no test rows, or documents that do not fit even without shots.

    Paper: Brown et al. 2020, arXiv 2005.14165. Differs: fixed shots for a seed instead of new ones for each document.
    """
    _check_settings(k, seeds, limit)
    check_decoder(model, tokenizer)
    sets = _question_sets(task, template, tokenizer, k, seeds)
    figures: dict[str, float] = {}
    records: list[dict[str, Any]] = []
    documents: list[dict[str, Any]] = []
    for questions in sets:
        mine: list[dict[str, Any]] = []
        answers: dict[int, _Answer] = {}
        for shots in k:
            for seed in seeds:
                fitted, dropped = _fitted(model, tokenizer, questions, shots, seed, limit)
                if [answer.item for answer in answers.values()] != [item for item, _ in fitted.values()]:
                    answers = _answered(model, fitted)  # without shots, every seed has the same prompts
                place = {"task": questions.name, "k": shots, "seed": seed}
                mine.append(place | {"template": questions.template} | _record(list(answers.values()), dropped))
                documents += [place | _document(index, answers[index], questions.labels) for index in answers]
                if progress is not None:
                    progress(len(records) + len(mine), len(sets) * len(k) * len(seeds))
        figures |= _figures(questions.name, mine)
        records += mine
    return PromptResult(figures, records, documents)


def check_prompts(
    tokenizer: PreTrainedTokenizerBase,
    task: TaskData | PromptTask,
    *,
    k: Sequence[int],
    seeds: Sequence[int],
    template: Template | None = None,
) -> None:
    """Refuse what :func:`evaluate_prompts` would refuse, without a model.

    Raises:
        RecipeError: As there.
        DataError: As there, but for documents that do not fit into the model's positions.
    """
    _check_settings(k, seeds, 0)
    _question_sets(task, template, tokenizer, k, seeds)


def _check_settings(k: Sequence[int], seeds: Sequence[int], limit: int) -> None:
    for name, values in (("k", k), ("seeds", seeds)):
        if not values or min(values) < 0 or len(set(values)) < len(values):
            raise RecipeError(f"{name} is {list(values)!r}; give one or more different integers, each at least 0")
    if limit < 0:
        raise RecipeError(f"limit is {limit!r}; give the number of documents to ask about, or 0 for all")


def _question_sets(
    task: TaskData | PromptTask,
    template: Template | None,
    tokenizer: PreTrainedTokenizerBase,
    k: Sequence[int],
    seeds: Sequence[int],
) -> list[_Questions]:
    """The sets of questions; too few examples for the largest k are refused before anything is scored."""
    sets = _questions_of(task, template, tokenizer)
    for questions in sets:
        if not questions.items(max(k), seeds[0]):
            raise DataError(f"the task {questions.name!r} makes no prompts; give it at least one row")
    return sets


def _questions_of(
    task: TaskData | PromptTask, template: Template | None, tokenizer: PreTrainedTokenizerBase
) -> list[_Questions]:
    """One set of questions for an in-context task, one for each test set of labelled data."""
    if isinstance(task, PromptTask):
        if template is not None:
            raise RecipeError(f"the task {task.name!r} makes its own prompts; leave out the template")
        return [_Questions(task.name, _OWN_TEMPLATE, task.items)]
    rows = [row for test in task.tests.values() for row in test]
    if not task.tests or not all(task.tests.values()):
        raise DataError(f"the task {task.name!r} has no test rows to ask about; give it a test file")
    check_labels(rows, task.labels)
    template = template or default_template(rows)
    template.check(task.labels, tokenizer)
    if "text_b" in template.fields and not any(row.text_b for row in rows):
        raise RecipeError(f"the template uses {{text_b}} but no row of {task.name!r} has a second text; leave it out")
    return [
        _Questions(
            task.name if len(task.tests) == 1 else f"{task.name}.{name}",
            template.text,
            _Templated(task.train, test, task.labels, template).items,
            task.labels,
        )
        for name, test in task.tests.items()
    ]


def _fitted(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: _Questions,
    k: int,
    seed: int,
    limit: int,
) -> tuple[dict[int, tuple[PromptItem, list[Request]]], int]:
    """The asked-about prompts and their requests by index, each with as many shots as fit, and how many lost some."""
    items = questions.items(k, seed)
    if limit and limit < len(items):
        asked = sorted(rng.permuted(np.arange(limit), len(items), _LIMIT).tolist())
    else:
        asked = list(range(len(items)))
    fitted: dict[int, tuple[PromptItem, list[Request]]] = {}
    dropped = 0
    for shots in range(k, -1, -1):
        if shots < k:
            items = questions.items(shots, seed)
            dropped = dropped or len(asked)
        encoded = _encode_items(tokenizer, [items[index] for index in asked])
        lengths = [max(request.num_inputs for request in requests) for requests in encoded]
        fits = [length <= num_positions(model) for length in lengths]
        fitted |= {i: (items[i], requests) for i, requests, fit in zip(asked, encoded, fits, strict=True) if fit}
        asked = [index for index, fit in zip(asked, fits, strict=True) if not fit]
        if not asked:
            return dict(sorted(fitted.items())), dropped
    raise DataError(
        f"{len(asked)} of {len(asked) + len(fitted)} documents of {questions.name!r} do not fit into the model's "
        f"{num_positions(model)} positions even without shots (the longest has {max(lengths)} tokens); use shorter "
        "texts or a model with more positions"
    )


def _encode_items(tokenizer: PreTrainedTokenizerBase, items: Sequence[PromptItem]) -> list[list[Request]]:
    requests = iter(encode_pairs(tokenizer, [(item.context, choice) for item in items for choice in item.choices]))
    return [[next(requests) for _ in item.choices] for item in items]


def _answered(model: PreTrainedModel, fitted: Mapping[int, tuple[PromptItem, list[Request]]]) -> dict[int, _Answer]:
    scored = iter(score_requests(model, [request for _, requests in fitted.values() for request in requests]))
    return {
        index: _Answer(item, [next(scored).log_likelihood for _ in requests])
        for index, (item, requests) in fitted.items()
    }


def _record(answers: Sequence[_Answer], dropped: int) -> dict[str, Any]:
    n = len(answers)
    hits = sum(answer.credit for answer in answers)
    low, high = _over_documents(hits, n)
    golds = Counter(answer.item.gold for answer in answers)
    return {
        "method": "log_likelihood",
        "protocol": "ptft",
        "value": hits / n,
        "low": low,
        "high": high,
        "n": n,
        "majority": max(golds.values()) / n,
        "ties": sum(len(answer.best) > 1 for answer in answers),
        "shots_dropped": dropped,
    }


def _over_documents(hits: float, n: int) -> tuple[float, float]:
    # Ties and means over seeds give shares of a hit, for which Wilson's formula holds as it stands.
    return wilson(cast("int", hits), n)


def _document(index: int, answer: _Answer, labels: Sequence[str]) -> dict[str, Any]:
    names = labels or [choice.strip() for choice in answer.item.choices]
    return {
        "index": index,
        "shots": answer.item.shots,
        "gold": names[answer.item.gold],
        "predicted": names[answer.best[0]],
        "log_likelihoods": answer.log_likelihoods,
    }


def _figures(name: str, records: Sequence[dict[str, Any]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for k in dict.fromkeys(record["k"] for record in records):
        mine = [record for record in records if record["k"] == k]
        mean = sum(record["value"] for record in mine) / len(mine)
        n = min(record["n"] for record in mine)
        low, high = _over_documents(mean * n, n)
        if len(mine) > 1:
            _, low_over_seeds, high_over_seeds = mean_interval([record["value"] for record in mine])
            low, high = min(low, max(low_over_seeds, 0.0)), max(high, min(high_over_seeds, 1.0))
        figures |= {f"{name}.k{k}": mean, f"{name}.k{k}.low": low, f"{name}.k{k}.high": high}
    figures[f"{name}.majority"] = sum(record["majority"] for record in records) / len(records)
    return figures
