"""Zero-, one- and few-shot accuracy of a causal model on a task, for several numbers of shots and seeds in one call."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft import rng
from ptft.compute import Compute
from ptft.errors import DataError, RecipeError
from ptft.prompting.decoder import check_decoder, num_positions
from ptft.prompting.encoding import encode_pairs
from ptft.prompting.method import Asked, Method, Pair, length_of
from ptft.prompting.methods import METHODS
from ptft.prompting.questions import Questions, Shown, questions_of
from ptft.prompting.records import ChoiceRecord, short_hash
from ptft.prompting.request import Request, Scored
from ptft.prompting.results import documents_of, summarise
from ptft.prompting.scoring import score_requests
from ptft.prompting.template import Template
from ptft.tasks.prompt_task import PromptTask
from ptft.tasks.task import TaskData

PROTOCOL = "ptft"
_LIMIT = rng.key_of("prompting.limit")
_QUESTIONS_AT_ONCE = 32  # are turned into ids
_TOKENS_AT_ONCE = 4_000_000  # wait to be scored together
_COSTLY = ("channel",)


@dataclass(frozen=True)
class PromptResult:
    """What prompting gave: ready for the flat keys and the ``records`` of ``result.json``."""

    figures: dict[str, float]
    """``TASK.kK`` (mean accuracy over seeds), ``TASK.kK.low``, ``TASK.kK.high``, ``TASK.majority``, ``TASK.random``."""
    records: list[dict[str, Any]]
    """One for each task, k, seed, order, template and scoring method: the accuracy ``value``, its 95 % interval, and
    what it was measured with."""
    choices: list[ChoiceRecord]
    """One for each of these, but for the method, and each choice of each question."""
    method: str = "raw"
    """The scoring method of the figures."""

    @property
    def documents(self) -> list[dict[str, Any]]:
        """Each question of each evaluation with its right and its given answer."""
        return documents_of(self.choices, self.method)


@dataclass(frozen=True)
class _Fitted:
    """A question that fits into the model, and what is to be scored for it: its choices, then what methods want."""

    index: int
    asked: Asked
    requests: list[Request]
    wanted: dict[str, int]
    """For each method so many requests a choice, in this order."""


def evaluate_prompts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: TaskData | PromptTask,
    *,
    k: Sequence[int],
    seeds: Sequence[int],
    template: Template | Sequence[Template] = (),
    orders: int = 1,
    method: str = "raw",
    methods: Sequence[str] = (),
    limit: int = 0,
    compute: Compute | None = None,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = warnings.warn,
) -> PromptResult:
    """Measure how often the right label is the most probable continuation, after ``k`` examples in the prompt.

    Nothing is trained. Of labelled data the shots come from ``train`` and the questions from the test sets; a document
    is never its own shot. Where a prompt is longer than the model's positions it loses whole shots, the last first,
    so it is the same prompt as for a smaller k; ``shots_dropped`` counts such documents. A document whose best choices
    are equally probable counts as its share of a hit, so a model that tells nothing apart is at chance.

    An interval of a record is Wilson's, over documents. That of a figure is over seeds, and never narrower than
    Wilson's: shots and documents are both drawn, and either may dominate. ``majority`` is the share of the most
    frequent right choice, the accuracy of one who knows only that; ``random`` that of one who knows nothing.

    Args:
        model: A causal language model with a stock forward, on its device.
        tokenizer: The tokenizer it was pretrained with.
        task: Labelled data, or an in-context task that makes its own prompts.
        k: Numbers of shots, each at least 0.
        seeds: Seeds of the shots, each at least 0; for one seed the shots of a smaller k begin those of a larger.
        template: Forms and label words for labelled data; none is :func:`default_template`.
        orders: In how many orders the shots of each seed are shown; the first is that in which they were drawn.
        method: The scoring method of the figures.
        methods: Those of the records; none is all that apply but the channel, which costs as much as all others.
        limit: How many documents to ask about, the same for each k and seed; 0 is all.
        compute: The processes that share the work; None is this one alone.
        progress: Called with the number of questions asked and in all.
        say: Told once why beginnings of prompts are not shared, where they are not.

    Raises:
        CheckpointError: The model is not a causal language model or has unusable weights.
        RecipeError: ``k``, ``seeds``, ``orders``, ``limit``, a method or a template is not usable.
        DataError: There are too few shots, no test rows, or documents that do not fit even without shots.

    Paper: Brown et al. 2020, arXiv 2005.14165. Differs: fixed shots for a seed instead of new ones for each document.
    """
    ways = check_prompts(
        tokenizer, task, k=k, seeds=seeds, template=template, orders=orders, method=method, methods=methods, limit=limit
    )
    check_decoder(model, tokenizer)
    choices: list[ChoiceRecord] = []
    total = sum(len(_numbers(questions, limit)) for questions, _, _ in ways) * len(ways[0][1])
    done = 0
    for questions, shown, scorers in ways:
        numbers = _numbers(questions, limit)
        found: dict[Shown, list[ChoiceRecord]] = {one: [] for one in shown}
        waiting: list[tuple[Shown, _Fitted]] = []
        for start in range(0, len(numbers), _QUESTIONS_AT_ONCE):
            for one in shown:
                some = numbers[start : start + _QUESTIONS_AT_ONCE]
                waiting += [(one, fitted) for fitted in _fitted(model, tokenizer, questions, some, one, scorers)]
            is_last = start + _QUESTIONS_AT_ONCE >= len(numbers)
            if is_last or _tokens(waiting) > _TOKENS_AT_ONCE:
                requests = [request for _, fitted in waiting for request in fitted.requests]
                scored = iter(score_requests(model, requests, compute=compute, say=say))
                for one, fitted in waiting:
                    found[one] += _recorded(questions, one, fitted, scored)
                done += len(waiting)
                waiting = []
                if progress is not None:
                    progress(done, total)
        choices += [record for records in found.values() for record in records]
    figures, records = summarise(choices, method, [scorer.name for scorer in ways[0][2]])
    return PromptResult(figures, records, choices, method)


def check_prompts(
    tokenizer: PreTrainedTokenizerBase,
    task: TaskData | PromptTask,
    *,
    k: Sequence[int],
    seeds: Sequence[int],
    template: Template | Sequence[Template] = (),
    orders: int = 1,
    method: str = "raw",
    methods: Sequence[str] = (),
    limit: int = 0,
) -> list[tuple[Questions, list[Shown], list[Method]]]:
    """Refuse what :func:`evaluate_prompts` would refuse, without a model; too few shots are found before any scoring.

    Returns:
        The sets of questions, each with the ways to ask and to score them.

    Raises:
        RecipeError: As there.
        DataError: As there, but for documents that do not fit into the model's positions.
    """
    for name, values in (("k", k), ("seeds", seeds)):
        if not values or min(values) < 0 or len(set(values)) < len(values):
            raise RecipeError(f"{name} is {list(values)!r}; give one or more different integers, each at least 0")
    if limit < 0:
        raise RecipeError(f"limit is {limit!r}; give the number of documents to ask about, or 0 for all")
    if orders < 1 or (orders > 1 and isinstance(task, PromptTask)):
        allowed = "1, since the task shows its shots in an order of its own" if orders > 1 else "at least 1"
        raise RecipeError(f"orders is {orders!r}; allowed: {allowed}")
    templates = [template] if isinstance(template, Template) else list(template)
    shown = [Shown(*one) for one in product(k, seeds, range(orders))]
    ways = []
    for questions in questions_of(task, templates, tokenizer):
        first = questions.ask([0], Shown(max(k), seeds[0])) if questions.size else []
        if not first:
            raise DataError(f"the task {questions.name!r} makes no prompts; give it at least one row")
        ways.append((questions, shown, _scorers(questions.name, first[0], tokenizer, method, methods)))
    return ways


def _scorers(
    task: str, asked: Asked, tokenizer: PreTrainedTokenizerBase, method: str, methods: Sequence[str]
) -> list[Method]:
    """The methods whose references are scored beside the questions."""
    wanted = dict.fromkeys([method, *methods])
    for name in wanted:
        if not METHODS[name]().applies(asked):
            raise RecipeError(
                f"the scoring method {name!r} does not apply to {task!r}: {METHODS[name].summary}; it needs a template "
                "with labels (and, for domain_pmi, words after its last field); leave it out"
            )
    if not methods:
        can_begin = tokenizer.bos_token_id is not None or tokenizer.eos_token_id is not None
        wanted |= dict.fromkeys(
            name
            for name, other in METHODS.items()
            if name not in _COSTLY and other().applies(asked) and (can_begin or not other.needs_beginning)
        )
    return [METHODS[name]() for name in wanted]


def _numbers(questions: Questions, limit: int) -> list[int]:
    """Which questions are asked."""
    if not 0 < limit < questions.size:
        return list(range(questions.size))
    return sorted(rng.permuted(np.arange(limit), questions.size, _LIMIT).tolist())


def _tokens(waiting: Sequence[tuple[Shown, _Fitted]]) -> int:
    """About how many tokens wait: the choices of a question share its context."""
    return sum(len(fitted.requests[0].context_ids) for _, fitted in waiting)


def _fitted(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Questions,
    numbers: Sequence[int],
    shown: Shown,
    scorers: Sequence[Method],
) -> list[_Fitted]:
    """Some questions, each with as many shots as fit."""
    fitted: dict[int, _Fitted] = {}
    left = list(numbers)
    for k in range(shown.k, -1, -1):
        made = _encoded(tokenizer, questions, left, Shown(k, shown.seed, shown.order), scorers)
        lengths = [max(request.num_inputs for request in one.requests) for one in made]
        fitted |= {one.index: one for one, length in zip(made, lengths, strict=True) if length <= num_positions(model)}
        left = [number for number in left if number not in fitted]
        if not left:
            return [fitted[number] for number in numbers]
    raise DataError(
        f"{len(left)} of {len(numbers)} documents of {questions.name!r} do not fit into the model's "
        f"{num_positions(model)} positions even without shots (the longest has {max(lengths)} tokens); use shorter "
        "texts or a model with more positions"
    )


def _encoded(
    tokenizer: PreTrainedTokenizerBase,
    questions: Questions,
    numbers: Sequence[int],
    shown: Shown,
    scorers: Sequence[Method],
) -> list[_Fitted]:
    pairs: list[Pair] = []
    parts: list[tuple[int, Asked, int, dict[str, int]]] = []
    for number, asked in zip(numbers, questions.ask(numbers, shown), strict=True):
        before = len(pairs)
        pairs += [(asked.item.context, choice) for choice in asked.item.choices]
        wanted: dict[str, int] = {}
        for scorer in scorers:
            for wants in scorer.wants(asked):
                wanted[scorer.name] = len(wants)
                pairs += wants
        parts.append((number, asked, len(pairs) - before, wanted))
    requests = iter(encode_pairs(tokenizer, pairs))
    return [_Fitted(number, asked, list(islice(requests, size)), wanted) for number, asked, size, wanted in parts]


def _recorded(questions: Questions, shown: Shown, fitted: _Fitted, scored: Iterator[Scored]) -> list[ChoiceRecord]:
    asked, item = fitted.asked, fitted.asked.item
    answers = list(islice(scored, len(item.choices)))
    references = {
        name: [[one.log_likelihood for one in islice(scored, size)] for _ in item.choices]
        for name, size in fitted.wanted.items()
    }
    shots = [short_hash(shot.text, shot.text_b, str(shot.label)) for shot in asked.shots]
    example = asked.example
    return [
        ChoiceRecord(
            task=questions.name,
            template=questions.template,
            protocol=PROTOCOL,
            k=shown.k,
            seed=shown.seed,
            order=shown.order,
            index=fitted.index,
            choice=asked.labels[place] if asked.labels else choice.strip(),
            is_gold=place == item.gold,
            log_likelihood=answer.log_likelihood,
            is_greedy=answer.is_greedy,
            characters=length_of(choice, "characters"),
            bytes=length_of(choice, "bytes"),
            continuation_ids=list(answer.continuation_ids),
            context_tokens=len(answer.context_ids),
            shots=shots or ["own"] * item.shots,
            prompt=short_hash(item.context),
            document=short_hash(item.context) if example is None else short_hash(example.text, example.text_b),
            references={name: values[place] for name, values in references.items()},
        )
        for place, (choice, answer) in enumerate(zip(item.choices, answers, strict=True))
    ]
