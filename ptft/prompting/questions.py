"""What is asked: the questions of a test set as a function of the number of shots, their seed and their order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from ptft import rng
from ptft.errors import DataError, RecipeError
from ptft.prompting.cloze import ClozeTemplate
from ptft.prompting.lm_eval.prompts import Sampler, prompt_item, shots_for
from ptft.prompting.method import Asked
from ptft.prompting.shots import check_labels, first_shots, shot_order
from ptft.prompting.template import Template, default_template
from ptft.tasks.prompt_task import PromptItem, PromptTask
from ptft.tasks.task import Example, TaskData

OWN_TEMPLATE = "the task's own"
_ORDER = rng.key_of("prompting.order")


@dataclass(frozen=True)
class Shown:
    """How a question is asked: after how many shots, which ones, in which order."""

    k: int
    seed: int
    order: int = 0
    """0 is the order in which they were drawn."""


@dataclass(frozen=True)
class Questions:
    """The questions of one test set in one form."""

    name: str
    template: str
    size: int
    ask: Callable[[Sequence[int], Shown], list[Asked]]
    """The questions of some numbers."""


def questions_of(
    task: TaskData | PromptTask,
    templates: Sequence[Template | ClozeTemplate],
    tokenizer: PreTrainedTokenizerBase,
    sampler: Sampler | Literal[""] = "",
) -> list[Questions]:
    """One set of questions for an in-context task, one for each test set and template of labelled data.

    Args:
        task: What is asked about.
        templates: Forms, for a masked model with a gap; none is :func:`default_template`.
        tokenizer: Must tell the label words apart.
        sampler: How lm_eval would choose shots; none is our own way.

    Raises:
        DataError: There are no test rows, or one has an unknown label.
        RecipeError: A template does not go with the task.
    """
    if isinstance(task, PromptTask):
        if templates:
            raise RecipeError(f"the task {task.name!r} makes its own prompts; leave out the template")
        return [_own(task)]
    rows = [row for test in task.tests.values() for row in test]
    if not task.tests or not all(task.tests.values()):
        raise DataError(f"the task {task.name!r} has no test rows to ask about; give it a test file")
    own_choices = task.problem == "multiple_choice"
    if own_choices and sampler:
        raise RecipeError(
            f"protocol: prompts of {task.name!r}, whose rows bring choices of their own, are made under protocol=ptft "
            "only; leave protocol out, or use `ptft lm_eval`"
        )
    if not own_choices:
        check_labels(rows, task.labels)
    templates = templates or [default_template(rows)]
    for template in templates:
        if own_choices and isinstance(template, ClozeTemplate):
            raise RecipeError(
                f"template: each row of {task.name!r} brings choices of its own, and a masked model is asked for words "
                "of labels only; ask a decoder, or give rows with labels"
            )
        if not own_choices:
            template.check(task.labels, tokenizer)
        elif template.words:
            raise RecipeError(
                f"words have no effect: each row of {task.name!r} brings choices of its own; leave them out"
            )
        if "text_b" in template.fields and not any(row.text_b for row in rows):
            raise RecipeError(
                f"the template uses {{text_b}} but no row of {task.name!r} has a second text; leave it out"
            )
    found = []
    for name, test in task.tests.items():
        title = task.name if len(task.tests) == 1 else f"{task.name}.{name}"
        for template in templates:
            if sampler and isinstance(template, Template):
                found.append(_drawn(task, title, test, template, sampler))
            else:
                found.append(_templated(task, title, test, template))
    return found


def _own(task: PromptTask) -> Questions:
    made: Callable[[int, int], list[PromptItem]] = cache(task.items)

    def ask(numbers: Sequence[int], shown: Shown) -> list[Asked]:
        items = made(shown.k, shown.seed)
        return [Asked(items[number]) for number in numbers]

    return Questions(task.name, OWN_TEMPLATE, len(made(0, 0)), ask)


def _templated(task: TaskData, name: str, rows: Sequence[Example], template: Template | ClozeTemplate) -> Questions:
    order_of: Callable[[int], list[Example]] = cache(lambda seed: shot_order(task.train, task.labels, seed))

    def ask(numbers: Sequence[int], shown: Shown) -> list[Asked]:
        found = []
        for row in (rows[number] for number in numbers):
            shots = first_shots(order_of(shown.seed), shown.k, row)
            if shown.order:
                places = np.argsort(rng.bits(_ORDER, shown.seed, shown.order, np.arange(len(shots))), kind="stable")
                shots = [shots[place] for place in places]
            item = template.item(row, task.labels, shots)
            form = template if isinstance(template, Template) else None
            found.append(Asked(item, form, row, tuple(shots), () if row.choices else task.labels))
        return found

    return Questions(name, template.text, len(rows), ask)


def _drawn(task: TaskData, name: str, rows: Sequence[Example], template: Template, sampler: Sampler) -> Questions:
    """Questions with shots as lm_eval chooses them: they depend on the rows before."""

    @cache
    def chosen(k: int, seed: int) -> list[list[Example]]:
        return shots_for(rows, task.train, k, sampler=sampler, seed=seed)

    def ask(numbers: Sequence[int], shown: Shown) -> list[Asked]:
        found = []
        for number in numbers:
            shots = chosen(shown.k, shown.seed)[number]
            item = prompt_item(rows[number], task.labels, template, shots)
            found.append(Asked(item, template, rows[number], tuple(shots), task.labels))
        return found

    return Questions(name, template.text, len(rows), ask)
