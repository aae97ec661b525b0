"""The ``ptft`` command: one grammar, ``ptft VERB [RECIPE.yaml] [key=value ...]``, and the only file that prints.

Whatever imports torch is imported when a verb needs it, so that help and lists come at once.
"""

import atexit
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ptft.display import Display, Silent
from ptft.errors import RecipeError, UserError
from ptft.family import nearest
from ptft.inspection.arguments import GRAMMAR, read_arguments, recipe_of, run_folder_of, subject_of_check, verb_of
from ptft.inspection.members import members, near
from ptft.layout import columns, page_width, unmarked, verb_page
from ptft.peers import fails_first, has_peers, is_main
from ptft.terminal import RichDisplay, complain, last_words
from ptft.training.aside import NO_ROOM
from ptft.training.interruption import Interrupted, ending, exit_code

if TYPE_CHECKING:
    from ptft.config import Settings
    from ptft.inspection.lineage import Lineage

_QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "DATASETS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "true",
}

_HARNESS = "[run|ls|validate] [--tasks TASK --model_args KEY=VALUE ...]"
_STOPPED = 128  # and the number of the signal that asked
_DIFFERS = 3  # neither a mistake nor a bug: what verify=true is there to find


@dataclass(frozen=True)
class Verb:
    """One verb.

    Attributes:
        name: As it is typed.
        group: Title of the verbs it stands with in the overview.
        summary: One line.
        grammar: What may follow it.
        do: Does it with the arguments after the verb; gives an exit code other than 0, or None.
        settings: The settings class, whose keys its help lists; called only when help is asked for.
    """

    name: str
    group: str
    summary: str
    grammar: str
    do: Callable[[list[str]], int | None]
    settings: "Callable[[], type[Settings]] | None" = None


def main() -> None:
    """Run the command line of this process and end it.

    The code is 0, 2 for a user's mistake, 1 for a bug, 3 if a verified run differs, and 128 + the signal's number if
    stopped: 130, 143 or 138. One of several processes that fails ends at once, whatever the others wait for: the
    launcher then ends them.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)  # read by the libraries when they are imported
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what a user can mend is said in an error; -W shows the others
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        with ending(last_words):
            code = command(sys.argv[1:])
            sys.stdout.flush()
    except OSError as error:  # as in `ptft list | head`, or a full disk; nobody reads what is left
        if not isinstance(error, BrokenPipeError) and error.errno not in NO_ROOM:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except KeyboardInterrupt as stop:  # asked while it was ending: a launcher asks when another process has ended
        code = exit_code(stop)
    except Exception:
        if not has_peers():
            raise
        code = 1
        if fails_first():
            traceback.print_exc()
    if (code and has_peers()) or code > _STOPPED:  # Python's own end may wait for others, or last longer than is given
        if not has_peers():
            atexit._run_exitfuncs()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def command(arguments: Sequence[str]) -> int:
    """Carry out one command line and return its exit code; a bug raises."""
    try:
        call = typer.main.get_command(_app())(list(arguments), prog_name="ptft", standalone_mode=False)
        if callable(call):
            code: int | None = call()
            return code or 0
    except UserError as error:
        complain(str(error))
        return 2
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        complain(f"cannot write {error.filename or 'everything'}: {error.strerror}; make room and try again")
        return 2
    except KeyboardInterrupt as error:
        complain(str(error) or "stopped")
        return exit_code(error)
    return 0


def _app() -> typer.Typer:
    """The typer application; it only reads the command line: each verb returns what is to be called."""
    app = typer.Typer(cls=_Verbs, add_completion=False, rich_markup_mode=None)
    lenient = {"ignore_unknown_options": True, "allow_extra_args": True}

    @app.callback(invoke_without_command=True, context_settings=lenient)
    def overview(
        context: typer.Context, version: Annotated[bool, typer.Option("--version")] = False
    ) -> Callable[[], None] | None:
        if version:
            return _print_version
        return None if context.invoked_subcommand else lambda: _print(_overview())

    for verb in verbs().values():
        app.command(verb.name, context_settings=lenient, add_help_option=False)(_reader(verb))
    return app


class _Verbs(TyperGroup):
    """The group of verbs, with our own overview and our own sentence for a verb that does not exist."""

    def format_help(self, context: Any, formatter: Any) -> None:
        formatter.write(f"{_overview()}\n")

    def resolve_command(self, context: Any, arguments: list[str]) -> Any:
        if arguments[0] not in self.commands:
            options = "; there are no options but --help and --version" if arguments[0].startswith("-") else ""
            raise RecipeError(f"unknown verb {arguments[0]!r}{options}{nearest(arguments[0], self.commands)}")
        return super().resolve_command(context, arguments)


def _reader(verb: Verb) -> Callable[[typer.Context], Callable[[], int | None]]:
    def read(context: typer.Context) -> Callable[[], int | None]:
        arguments = [argument for argument in context.args if argument != "--help"]
        if len(arguments) < len(context.args):
            return lambda: _print(_help(verb, arguments))
        return lambda: verb.do(arguments)

    return read


def verbs() -> dict[str, Verb]:
    """All verbs by name, in the order of the overview."""
    recipe, corpus, run = "RECIPE.yaml [key=value ...]", "[CORPUS|TASK] [key=value ...]", "RUN"
    a_run = f"{run} [key=value ...]"
    found = [
        *(_step_verb(name, summary) for name, summary, _ in members("steps")),
        Verb("run", "Steps", "Do the steps of a recipe that are not done yet.", recipe, _run),
        *(_action_verb(name, summary) for name, summary, _ in members("actions")),
        Verb(
            "lm_eval", "Use a model", "Run lm-eval's own command line on a model of ours.", _HARNESS, _lm_eval, _asked
        ),
        Verb("list", "Look", "Show what there is to choose from.", "[FAMILY]", _list),
        Verb("head", "Look", "Show the first documents, rows or prompts.", corpus, _head, _looks),
        Verb("check", "Look", "Show all settings and their origin; do nothing.", f"VERB|{recipe}", _check),
        Verb("lineage", "Look", "Show what a run was made from, or verify it.", a_run, _lineage, _chain),
        Verb("report", "Look", "Write the page of a run again.", run, _report),
    ]
    return {verb.name: verb for verb in found}


def _step_verb(name: str, summary: str) -> Verb:
    def kind() -> "type[Settings]":
        from ptft.steps import STEPS

        return STEPS[name]

    return Verb(name, "Steps", summary, GRAMMAR, lambda arguments: _step(name, arguments), kind)


def _action_verb(name: str, summary: str) -> Verb:
    def kind() -> "type[Settings]":
        from ptft.actions import ACTIONS

        return ACTIONS[name]

    return Verb(name, "Use a model", summary, GRAMMAR, lambda arguments: _act(name, arguments), kind)


# What the verbs do


def _step(name: str, arguments: list[str]) -> None:
    from ptft.config import RECIPE_KEYS, load
    from ptft.run import execute
    from ptft.steps import STEPS
    from ptft.steps.folder import standing

    path, overrides = recipe_of(name, arguments)
    step = load(STEPS[name], path, overrides, ignore=RECIPE_KEYS).settings
    folder = standing(step).folder
    same = "the same command" if step.resume else f"the same command with out={folder} instead of resume=false"
    with _display() as display, _going_on(same):
        result = execute(step, display)
    _print_figures(result)
    _print(f"report: {folder / 'report.html'}")


def _run(arguments: list[str]) -> int | None:
    from ptft.inspection.recipes import find_recipe, packaged_recipes

    names, overrides = read_arguments("run", arguments)
    if not names:
        raise RecipeError(f"run: no recipe given; name a file, or one of {', '.join(packaged_recipes())}")
    path = find_recipe(names[0])
    verb = verb_of(path)
    if verb != "run":
        return verbs()[verb].do(arguments)
    from ptft.config import load
    from ptft.recipe import Run, run

    folder = Path(load(Run, path, overrides).settings.out)
    with _display() as display, _going_on("the same command"):
        _print_figures(run(path, overrides, display))
    _print(f"report: {folder / 'report.html'}")
    return None


def _act(name: str, arguments: list[str]) -> None:
    from ptft.actions import ACTIONS
    from ptft.config import RECIPE_KEYS, load

    path, overrides = recipe_of(name, arguments)
    action = load(ACTIONS[name], path, overrides, ignore=RECIPE_KEYS).settings
    with _display() as display:
        text = action.do(display)
    if text:
        _print(text)


def _lm_eval(arguments: list[str]) -> int:
    if not arguments:
        _print(_help(verbs()["lm_eval"], []))
        return 0
    from ptft.prompting.lm_eval.adapter import run

    return run(arguments)


def _asked() -> "type[Settings]":
    from ptft.prompting.lm_eval.respondent import ModelArguments

    return ModelArguments


def _list(arguments: list[str]) -> None:
    from ptft.inspection.listing import FAMILIES, rows_of

    names, overrides = read_arguments("list", arguments)
    if overrides:
        raise RecipeError(f"list: {overrides[0]!r}: takes no settings; give the name of a family, or nothing")
    for family in names or FAMILIES:
        rows = rows_of(family)
        lines = columns([(n, unmarked(text), str(near(file))) for n, text, file in rows], width=_width(), flexible=1)
        _print(lines if names else f"{family} ({len(rows)})\n{lines}\n" if rows else f"{family} (0)\n")


def _head(arguments: list[str]) -> None:
    from ptft.config import load
    from ptft.inspection.samples import Head, head

    names, overrides = read_arguments("head", arguments)
    _print(head(load(Head, None, [*(f"corpus.path={name}" for name in names), *overrides])))


def _looks() -> "type[Settings]":
    from ptft.inspection.samples import Head

    return Head


def _check(arguments: list[str]) -> None:
    verb, path, overrides = subject_of_check(arguments)
    from ptft.inspection.checking import check, check_steps

    for checked in check_steps(path, overrides) if path and verb == "run" else [check(verb, path, overrides)]:
        settings = columns(checked.settings, width=_width(), flexible=1)
        _print(
            "\n\n".join([f"{checked.title}\n{settings}", *filter(None, [columns(checked.facts, width=_width())])])
            + "\n"
        )
    _print("checked; nothing was written")


def _lineage(arguments: list[str]) -> int:
    from ptft.config import load
    from ptft.inspection.lineage import lineage_tree

    names, overrides = read_arguments("lineage", arguments)
    settings = load(_chain(), None, [*(f"run={name}" for name in names), *overrides]).settings
    if not settings.verify:
        _print("\n".join(lineage_tree(Path(settings.run))))
        return 0
    from ptft.inspection.verification import verify

    with _display() as display:
        verdicts = verify(Path(settings.run), display)
    _print("\n".join(line for verdict in verdicts for line in verdict.lines()))
    return _DIFFERS if any(verdict.differences for verdict in verdicts) else 0


def _chain() -> "type[Lineage]":
    from ptft.inspection.lineage import Lineage

    return Lineage


def _report(arguments: list[str]) -> None:
    from ptft.report.page import write_report

    _print(str(write_report(run_folder_of("report", arguments))))


# Showing


def _display() -> AbstractContextManager["Display"]:
    return RichDisplay() if is_main() else nullcontext(Silent())


@contextmanager
def _going_on(same: str) -> Iterator[None]:
    """Say how to go on with what is stopped inside the context."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Interrupted(f"{str(stop) or 'stopped'}; {same} goes on from there", exit_code(stop) - 128) from None


def _print(text: str) -> None:
    if is_main():
        print(text)


def _print_figures(result: dict[str, Any]) -> None:
    from ptft.report.scripts import script_rows
    from ptft.report.tables import final_table

    _print(columns(final_table(result), width=_width()))
    if rows := script_rows(result.get("records", [])):
        _print(f"\n{columns(rows, width=_width(), flexible=-1)}\n")


def _print_version() -> None:
    from importlib.metadata import version

    _print(f"ptft {version('ptft')}")


def _width() -> int:
    """Characters of a line on a terminal; elsewhere 0, for a file is searched by line."""
    return page_width() if sys.stdout.isatty() else 0


def _overview() -> str:
    parts = [f"usage: ptft VERB {GRAMMAR}"]
    known = verbs().values()
    for group in dict.fromkeys(verb.group for verb in known):
        rows = [(verb.name, unmarked(verb.summary)) for verb in known if verb.group == group]
        parts.append(f"{group}:\n{columns(rows, width=page_width())}")
    parts.append("ptft VERB --help shows the settings of a verb; ptft --version the version.")
    return "\n\n".join(parts)


def _help(verb: Verb, arguments: Sequence[str]) -> str:
    about = f"usage: ptft {verb.name} {verb.grammar}\n\n{verb.summary}"
    return verb_page(verb.name, verb.grammar, verb.settings(), arguments) if verb.settings else about
