"""Zero-, one- and few-shot accuracy of a causal model on a task, for several numbers of shots and seeds in one call."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft import rng
from ptft.compute import Compute
from ptft.errors import DataError, RecipeError
from ptft.prompting.asking import Asker, MaskedAsker
from ptft.prompting.cloze import ClozeTemplate
from ptft.prompting.decoder import check_decoder
from ptft.prompting.lm_eval.prompts import Sampler
from ptft.prompting.masked import check_masked
from ptft.prompting.method import Asked, Method
from ptft.prompting.methods import METHODS
from ptft.prompting.protocol import PTFT, Protocol, protocol_of
from ptft.prompting.questions import Questions, Shown, questions_of
from ptft.prompting.records import ChoiceRecord
from ptft.prompting.results import documents_of, summarise
from ptft.prompting.shots import check_shown
from ptft.prompting.template import Template
from ptft.tasks.prompt_task import PromptTask
from ptft.tasks.task import TaskData

_OF_LM_EVAL = ("raw", "per_character", "per_byte", "pmi")
_OF_MASKED = ("raw", "per_character", "per_byte", "per_token", "batch_calibration")
Form = Template | ClozeTemplate
_LIMIT = rng.key_of("prompting.limit")
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


def evaluate_prompts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: TaskData | PromptTask,
    *,
    k: Sequence[int],
    seeds: Sequence[int],
    template: Form | Sequence[Form] = (),
    protocol: str = "ptft",
    sampler: Sampler = "default",
    orders: int = 1,
    method: str = "raw",
    methods: Sequence[str] = (),
    limit: int = 0,
    compute: Compute | None = None,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = warnings.warn,
) -> PromptResult:
    """Measure how often the right label is the most probable continuation, after ``k`` examples in the prompt.

    A masked model is asked with a :class:`ClozeTemplate`: how often the right label's word fills its gap best.

    Nothing is trained. Of labelled data the shots come from ``train`` and the questions from the test sets; a document
    is never its own shot. Where a prompt is longer than the model's positions it loses whole shots, the last first,
    so it is the same prompt as for a smaller k; ``shots_dropped`` counts such documents. A document whose best choices
    are equally probable counts as its share of a hit, so a model that tells nothing apart is at chance.

    An interval of a record is Wilson's, over documents; that of a figure is of shots and documents, which are both
    drawn (:func:`~ptft.prompting.statistics.accuracy_interval`). ``majority`` is the share of the most frequent right
    choice, the accuracy of one who knows only that, ``random`` that of one who knows nothing, and ``prior`` that of one
    who guesses as often as each is right.

    Args:
        model: A causal or masked language model with a stock forward, on its device.
        tokenizer: The tokenizer it was pretrained with.
        task: Labelled data, or an in-context task that makes its own prompts.
        k: Numbers of shots, each at least 0.
        seeds: Seeds of the shots, each at least 0; for one seed the shots of a smaller k begin those of a larger.
        template: Forms and label words for labelled data, for a masked model with a gap; none is
            :func:`default_template`.
        protocol: ``ptft``, or ``lm_eval-0.4.13`` for its prompts, ids, truncation and figures.
        sampler: Under the latter, how shots are chosen: ``default`` draws them for each document, ``first_n`` takes the
            first.
        orders: In how many orders the shots of each seed are shown; the first is that in which they were drawn.
        method: The scoring method of the figures.
        methods: Those of the records; none is all that apply but the channel, which costs as much as all others.
        limit: How many documents to ask about, the same for each k and seed; 0 is all.
        compute: The processes that share the work; None is this one alone.
        progress: Called with the number of questions asked and in all.
        say: Told once why beginnings of prompts are not shared, where they are not.

    Raises:
        CheckpointError: The model is no causal one, or with a gap in the form no masked one, or has unusable weights.
        RecipeError: ``k``, ``seeds``, ``orders``, ``limit``, a method or a template is not usable.
        DataError: There are too few shots, no test rows, or documents that do not fit even without shots.

    Paper: Brown et al. 2020, arXiv 2005.14165. Differs: fixed shots for a seed instead of new ones for each document.
    """
    ways = check_prompts(
        tokenizer, task, k=k, seeds=seeds, template=template, protocol=protocol, sampler=sampler, orders=orders,
        method=method, methods=methods, limit=limit,
    )  # fmt: skip
    rules, is_masked = protocol_of(protocol), _has_gap(template)
    (check_masked if is_masked else check_decoder)(model, tokenizer)
    choices: list[ChoiceRecord] = []
    plan = [(questions, _numbers(questions, limit, rules), shown, scorers) for questions, shown, scorers in ways]
    total = sum(len(numbers) * len(shown) for _, numbers, shown, _ in plan)
    done = 0
    for questions, numbers, shown, scorers in plan:
        asker = (MaskedAsker if is_masked else Asker)(model, tokenizer, rules, questions, scorers)
        found: dict[Shown, list[ChoiceRecord]] = {one: [] for one in shown}
        for batch in asker.batches(numbers, shown):
            for one, records_of_one in asker.answered(batch, compute, say):
                found[one] += records_of_one
            done += len(batch)
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
    template: Form | Sequence[Form] = (),
    protocol: str = "ptft",
    sampler: Sampler = "default",
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
    check_shown(k, seeds, limit, "documents")
    is_ours = protocol_of(protocol) is PTFT
    if is_ours and sampler != "default":
        raise RecipeError(f"sampler is {sampler!r} but has no effect under protocol=ptft; leave it out")
    if not is_ours and orders > 1:
        raise RecipeError(f"orders is {orders!r}; allowed: 1 under protocol={protocol}, which has one order")
    if orders < 1 or (orders > 1 and isinstance(task, PromptTask)):
        allowed = "1, since the task shows its shots in an order of its own" if orders > 1 else "at least 1"
        raise RecipeError(f"orders is {orders!r}; allowed: {allowed}")
    templates = _listed(template)
    if _has_gap(template) and not (is_ours and all(isinstance(form, ClozeTemplate) for form in templates)):
        raise RecipeError(
            "template: a form with a gap goes with protocol=ptft and others with a gap only; leave one out"
        )
    known = _OF_MASKED if _has_gap(template) else _OF_LM_EVAL if not is_ours else tuple(METHODS)
    shown = [Shown(*one) for one in product(k, seeds, range(orders))]
    ways = []
    for questions in questions_of(task, templates, tokenizer, "" if is_ours else sampler):
        first = questions.ask([0], Shown(max(k), seeds[0])) if questions.size else []
        if not first:
            raise DataError(f"the task {questions.name!r} makes no prompts; give it at least one row")
        ways.append((questions, shown, _scorers(questions.name, first[0], tokenizer, known, method, methods)))
    return ways


def _listed(template: Form | Sequence[Form]) -> list[Form]:
    return [template] if isinstance(template, Form) else list(template)


def _has_gap(template: Form | Sequence[Form]) -> bool:
    return any(isinstance(form, ClozeTemplate) for form in _listed(template))


def _scorers(
    task: str,
    asked: Asked,
    tokenizer: PreTrainedTokenizerBase,
    known: Sequence[str],
    method: str,
    methods: Sequence[str],
) -> list[Method]:
    """The methods whose references are scored beside the questions."""
    wanted = dict.fromkeys([method, *methods])
    for name in wanted:
        if name in METHODS and name not in known:
            raise RecipeError(
                f"the scoring method {name!r} does not go with this protocol and kind of model; {', '.join(known)} do; "
                "name one of them"
            )
        if not METHODS[name]().applies(asked):
            raise RecipeError(
                f"the scoring method {name!r} does not apply to {task!r}: {METHODS[name].summary}; it needs a template "
                "with labels (and, for domain_pmi, words after its last field); leave it out"
            )
    if not methods:
        can_begin = tokenizer.bos_token_id is not None or tokenizer.eos_token_id is not None
        wanted |= dict.fromkeys(
            name
            for name in known
            if name not in _COSTLY
            and METHODS[name]().applies(asked)
            and (can_begin or not METHODS[name].needs_beginning)
        )
    return [METHODS[name]() for name in wanted]


def _numbers(questions: Questions, limit: int, rules: Protocol) -> list[int]:
    """Which questions are asked: drawn over all, or the first as lm_eval does."""
    if not 0 < limit < questions.size:
        return list(range(questions.size))
    if rules is not PTFT:
        return list(range(limit))
    return sorted(rng.permuted(np.arange(limit), questions.size, _LIMIT).tolist())
