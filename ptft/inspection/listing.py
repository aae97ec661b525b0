"""What there is to choose from: objectives, tasks, presets and the other families, recipes and corpora."""

from collections.abc import Callable

from ptft.errors import RecipeError
from ptft.family import nearest
from ptft.inspection.members import PACKAGE, Row, members
from ptft.inspection.recipes import recipe_rows


def _tasks() -> list[Row]:
    from ptft.tasks import TASKS

    return TASKS.rows()


def _prompts() -> list[Row]:
    from ptft.tasks import PROMPT_TASKS

    return PROMPT_TASKS.rows()


def _filters() -> list[Row]:
    from ptft.corpus.filters import FILTERS

    return FILTERS.rows()


def _presets() -> list[Row]:
    from ptft.models.presets import PRESETS

    return PRESETS.rows()


def _optimizers() -> list[Row]:
    from ptft.optim.optimizers import OPTIMIZERS

    return OPTIMIZERS.rows()


def _schedules() -> list[Row]:
    from ptft.optim.schedules import SCHEDULES

    return SCHEDULES.rows()


def _corpora() -> list[Row]:
    folder = PACKAGE / "corpus" / "embedded"
    return [
        ("embedded", "generated reviews, stories and summaries in simple English; for an encoder", folder / "prose.py"),
        ("embedded:lists", "generated lists of labelled things, and some prose; for a decoder", folder / "lists.py"),
    ]


FAMILIES: dict[str, Callable[[], list[Row]]] = {
    "steps": lambda: members("steps"),
    "objectives": lambda: members("objectives"),
    "masking": lambda: members("objectives/policies"),
    "policies": lambda: members("finetuning/policies"),
    "methods": lambda: members("prompting/methods"),
    "presets": _presets,
    "schedules": _schedules,
    "tasks": _tasks,
    "problems": lambda: members("tasks/problems"),
    "prompts": _prompts,
    "corpora": _corpora,
    "filters": _filters,
    "recipes": recipe_rows,
    "optimizers": _optimizers,
}
"""Rows of each family; the optimizers come last, since reading them imports torch."""


def rows_of(family: str) -> list[Row]:
    """Return name, one line and file of each member of a family of :data:`FAMILIES`.

    Raises:
        RecipeError: There is no such family.
    """
    if family not in FAMILIES:
        raise RecipeError(f"unknown family {family!r}{nearest(family, FAMILIES)}")
    return FAMILIES[family]()
