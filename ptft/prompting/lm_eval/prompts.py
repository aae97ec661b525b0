"""Prompts of labelled rows, letter for letter those of a lm_eval 0.4.13 task with the same form."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from ptft.prompting.lm_eval.shots import SEED, first_shots, random_shots
from ptft.prompting.shots import check_labels
from ptft.prompting.template import Template, filled
from ptft.tasks.prompt_task import PromptItem
from ptft.tasks.task import Example


def prompt_item(
    row: Example,
    labels: Sequence[str],
    template: Template,
    shots: Sequence[Example],
    *,
    target_delimiter: str = " ",
    description: str = "",
) -> PromptItem:
    """The prompt that asks for the label of ``row`` after ``shots``.

    The context is the description, then form, target delimiter, word and the template's separator of each shot, then
    the form of the row; a choice is the target delimiter and a word. Forms and words are taken as they stand, white
    space at their ends included, and nothing follows a description but what is written in it. A shot whose word is
    empty ends with its form. It is as if the filled form were a column of lm_eval's data: a form of nothing but digits
    stays text, where a rendered ``doc_to_text`` would become a number.

    Args:
        row: What is asked.
        labels: All labels.
        template: Form, words and separator (lm_eval's ``fewshot_delimiter``).
        shots: Solved rows, in order.
        target_delimiter: What stands between form and word.
        description: What the prompt begins with.

    Raises:
        DataError: A label is unknown.
    """
    check_labels([row, *shots], labels)
    words = {label: template.words.get(label, label) for label in labels}

    def shown(shot: Example) -> str:
        word = words[str(shot.label)]
        return filled(template.text, shot) + (target_delimiter + word + template.separator if word else "")

    return PromptItem(
        context=description + "".join(map(shown, shots)) + filled(template.text, row),
        choices=tuple(target_delimiter + words[label] for label in labels),
        gold=labels.index(str(row.label)),
        shots=len(shots),
    )


Sampler = Literal["default", "first_n"]


def shots_for(
    rows: Sequence[Example],
    pool: Sequence[Example],
    k: int,
    *,
    sampler: Sampler = "default",
    excludes: bool = False,
    seed: int = SEED,
) -> list[list[Example]]:
    """The shots that lm_eval gives each row; see :func:`prompt_items`.

    Raises:
        DataError: The pool has too few rows.
    """
    asked, drawn_from = ([replace(row, where="") for row in part] for part in (rows, pool))
    if sampler == "first_n":
        return first_shots(asked, drawn_from, k, excludes=excludes)
    return random_shots(asked, drawn_from, k, excludes=excludes, seed=seed)


def prompt_items(
    rows: Sequence[Example],
    pool: Sequence[Example],
    labels: Sequence[str],
    template: Template,
    k: int,
    *,
    sampler: Sampler = "default",
    excludes: bool = False,
    seed: int = SEED,
    target_delimiter: str = " ",
    description: str = "",
) -> list[PromptItem]:
    """The prompts of all rows, with the shots that lm_eval gives each; see :func:`prompt_item`.

    Rows are equal if their texts and labels are, wherever they stand.

    Args:
        rows: What is asked, in order.
        pool: Rows to take shots from.
        labels: All labels.
        template: Form, words and separator.
        k: Number of shots.
        sampler: ``default`` draws shots for each row (:func:`ptft.prompting.lm_eval.shots.random_shots`), ``first_n``
            takes the first.
        excludes: Keep a row from being its own shot, in lm_eval's way.
        seed: Of the draws.
        target_delimiter: What stands between form and word.
        description: What each prompt begins with.

    Raises:
        DataError: A label is unknown, or the pool has too few rows.
    """
    chosen = shots_for(rows, pool, k, sampler=sampler, excludes=excludes, seed=seed)
    return [
        prompt_item(row, labels, template, shots, target_delimiter=target_delimiter, description=description)
        for row, shots in zip(rows, chosen, strict=True)
    ]
