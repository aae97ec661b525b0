"""Carry out steps: check first, write only then, continue what was interrupted, leave alone what is finished."""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

from ptft.compute import is_main, resolve_precision, wait_for_all
from ptft.config import RECIPE_KEYS, load
from ptft.display import Display, Silent
from ptft.errors import CheckpointError, UserError
from ptft.report import write_report
from ptft.report.card import write_card
from ptft.steps import STEPS
from ptft.steps.folder import Standing, begun, clear_lock, finish, standing, undo
from ptft.steps.pushing import Pushed, push_model
from ptft.steps.step import Place, Step
from ptft.training.checkpoint import kept_precision


def execute(step: Step, display: Display | None = None) -> dict[str, Any]:
    """Do one step in its run folder and return what its ``result.json`` holds.

    A finished run is only reported, and its model sent if ``push`` is given; an interrupted one goes on; a folder with
    another run's settings is refused.

    Raises:
        UserError: A setting, a file or the folder is not as it must be; nothing is left behind then, unless training
            had begun.
    """
    display = display or Silent()
    stand = standing(step)
    wait_for_all()  # each process has looked before one of them writes
    if stand.is_finished:
        if isinstance(step, Pushed):
            step.check_push()
        display.say(f"{stand.folder} is finished; nothing to do (resume=false runs it again in a new folder)")
        if is_main():
            clear_lock(stand.folder)
        if is_main() and not (stand.folder / "report.html").exists():  # killed or out of room at the very end
            with suppress(OSError):
                _describe(stand.folder)
        _push(step, stand.folder, display)
        return read_result(stand.folder)
    step.check()
    wait_for_all()  # none has found a mistake
    if stand.is_continued:
        display.say(f"{stand.folder} was interrupted; going on")
    beginning: AbstractContextManager[list[Path]] = begun(step, stand.folder) if is_main() else nullcontext([])
    with beginning as made:
        _work(step, stand, made, display)
    wait_for_all()
    _push(step, stand.folder, display)
    return read_result(stand.folder)


def _work(step: Step, stand: Standing, made: list[Path], display: Display) -> None:
    """Do the step in its folder, which was begun."""
    wait_for_all()
    try:
        result = step.work(Place(stand.folder, display))
    except UserError:
        if is_main() and not stand.is_continued:
            undo(stand.folder, made)
        raise
    if is_main():
        precision = resolve_precision(step.precision, kept_precision(stand.folder))
        lineage = {"precision": precision, **result.lineage}
        finish(stand.folder, result.figures, result.records, lineage)
        try:
            _describe(stand.folder)
        except OSError as error:
            raise CheckpointError(
                f"{stand.folder} is finished, but its page cannot be written: {error.strerror}; make room, then give "
                "the same command again"
            ) from error


def _describe(folder: Path) -> None:
    """Write the model's card and, last of all, the page of a finished run."""
    if (folder / "model" / "config.json").exists():
        write_card(folder / "model", folder)
    write_report(folder)


def _push(step: Step, folder: Path, display: Display) -> None:
    """Send the model of a finished run to the Hub, if that is asked for."""
    if isinstance(step, Pushed) and step.push and is_main():
        write_card(folder / "model", folder, step.push)
        display.say(f"sent to {push_model(folder, step.name, step, display)}")


def perform(
    verb: str,
    *,
    recipe: Path | None = None,
    overrides: Sequence[str] = (),
    display: Display | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Do one step from Python: the verb's settings as keywords, dotted keys as nested mappings.

    Example:
        >>> perform("tokenizer", corpus={"path": "embedded"}, out="runs/tokenizer")  # doctest: +SKIP

    Raises:
        UserError: As :func:`execute`.
    """
    step = load(STEPS[verb], recipe, overrides, base=settings, base_origin="the call", ignore=RECIPE_KEYS).settings
    return execute(step, display)


def read_result(folder: Path) -> dict[str, Any]:
    """What a finished run found: flat figures, and ``records``."""
    content: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return content
