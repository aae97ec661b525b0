"""What ``ptft check`` says: every setting with its origin, whether it can work, and what a pretraining would take."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptft.actions import ACTIONS
from ptft.actions.action import Action
from ptft.config import RECIPE_KEYS, Loaded, Settings, load, plain
from ptft.config.problems import dotted
from ptft.config.sheet import leaves
from ptft.corpus.sources import describe
from ptft.inspection.estimates import pretraining_facts
from ptft.recipe import Run, check_folder, named, resolve
from ptft.steps import STEPS
from ptft.steps.folder import standing
from ptft.steps.pretrain import Pretrain
from ptft.steps.step import Step


@dataclass(frozen=True)
class Checked:
    """What is known of a step that could be done.

    Attributes:
        title: The verb, and the step's name in a recipe of several.
        settings: Dotted key, value and origin of each setting.
        facts: Name and text of what was found out.
    """

    title: str
    settings: list[tuple[str, str, str]]
    facts: list[tuple[str, str]] = field(default_factory=list)


def check(verb: str, path: Path | None, overrides: Sequence[str]) -> Checked:
    """Read the settings of a verb and check them as the verb itself would; nothing is written.

    Raises:
        UserError: A setting, a file or the folder is not as it must be.
    """
    kind: type[Settings] = STEPS[verb] if verb in STEPS else ACTIONS[verb]
    loaded = load(kind, path, overrides, ignore=RECIPE_KEYS)
    facts: list[tuple[str, str]] = []
    if isinstance(loaded.settings, Step):
        folder = _folder(loaded.settings)
        loaded.settings.check()
        facts = [*_facts(loaded.settings), ("out", folder)]
    elif isinstance(loaded.settings, Action):
        loaded.settings.check()
    return Checked(verb, origins(loaded), facts)


def check_steps(path: Path, overrides: Sequence[str]) -> list[Checked]:
    """Read a recipe of several steps and check each step that waits for no other.

    Raises:
        UserError: A setting or a file is not as it must be.
    """
    loaded = load(Run, path, overrides, ignore=RECIPE_KEYS)
    check_folder(Path(loaded.settings.out))
    checked = []
    for name, step in resolve(loaded.settings).items():
        waits = _waits(loaded.settings.steps[name])
        if not waits:
            with named(name):
                step.check()
        facts = [("waits", "for another step: checked when that is done")] if waits else _facts(step)
        own = Loaded(step, {key: loaded.origin.get(f"steps.{name}.{key}", "default") for key, _ in _leaves(step)})
        checked.append(Checked(f"{name} ({step.name})", origins(own), facts))
    return checked


def _waits(step: Step) -> bool:
    values = [value for _, value in _leaves(step)]
    return any(
        str(item).startswith("step:") for value in values for item in (value if isinstance(value, list) else [value])
    )


def _leaves(settings: Settings) -> list[tuple[str, Any]]:
    return [(dotted(path), value) for path, value in leaves(plain(settings))]


def origins(loaded: Loaded[Any]) -> list[tuple[str, str, str]]:
    """Dotted key, value as it is typed, and origin of each setting."""
    return [(key, _typed(value), loaded.origin.get(key, "default")) for key, value in _leaves(loaded.settings)]


def _typed(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(str(item) for item in value) or "(none)"
    return (value or "''") if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _folder(step: Step) -> str:
    stand = standing(step)
    if stand.is_finished:
        return f"{stand.folder} is finished: the step would only say so"
    if stand.is_continued:
        return f"{stand.folder} was interrupted: the step would go on"
    return f"{stand.folder} would be made"


def _facts(step: Step) -> list[tuple[str, str]]:
    if not isinstance(step, Pretrain):
        return []
    return [("corpus", describe(step.corpus)), *pretraining_facts(step)]
