"""A recipe of several steps: read as a whole, done in the order of their needs, side by side where cores allow."""

import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ptft.compute import num_cores, num_processes
from ptft.config import Choice, Settings, dump, load, plain
from ptft.config.source import read_yaml
from ptft.corpus.files import content_hash
from ptft.display import Display, Silent
from ptft.errors import RecipeError, UserError
from ptft.family import nearest
from ptft.report.page import write_report
from ptft.run import execute, read_result
from ptft.steps import STEPS
from ptft.steps.folder import begun, check_new, finish, same_settings, undo
from ptft.steps.step import Step
from ptft.training.aside import write_text
from ptft.training.interruption import SIGNALS, Interrupted, listening, pass_on, passing_on

_REFERENCE = "step:"
_LONGEST_PATH = 4096


class Run(Settings):
    """Several steps and what to report of them."""

    out: str
    """The run folder; each step works in a folder of its own below it."""
    seed: int = Field(0, ge=0)
    """Seed of every step that does not give its own."""
    jobs: int = Field(0, ge=0)
    """Steps worked on at the same time; 0 for as many as there are cores."""
    steps: dict[str, Annotated[Step, Choice(STEPS)]]
    """Steps by name; ``step:NAME`` as a value stands for that step's run folder, and makes it wait for it."""
    figures: dict[str, str] = {}
    """What ``result.json`` shows: a name and STEP.FIGURE, or a prefix and STEP.PREFIX, each ending in ``.*``."""


def run(path: Path, overrides: Sequence[str] = (), display: Display | None = None) -> dict[str, Any]:
    """Do every step of a recipe that is not done yet, and gather their figures.

    A step is done again if its own settings or what it takes from another step changed; its former folder is kept
    under another name.

    Raises:
        UserError: Of the recipe, or of any step; nothing has been written then if it can be known beforehand.
    """
    display = display or Silent()
    if num_processes() > 1:
        raise RecipeError(
            f"run: starts a process for each step, which a launcher of {num_processes()} processes cannot share; "
            "launch the steps one by one (ptft pretrain ...), or this without a launcher"
        )
    recipe = load(Run, path, overrides).settings
    steps = resolve(recipe)
    folder = Path(recipe.out)
    check_folder(folder)
    for name, step in steps.items():
        if not _needs(recipe.steps[name]):  # what waits for another step's model can be checked only then
            with named(name):
                step.check()
    began = time.perf_counter()
    with begun(recipe, folder) as made:
        for name in steps:
            _own_recipe(folder / name).unlink(missing_ok=True)  # a killed process left it
        try:
            num_done = _carry_out(recipe, steps, display)
        except UserError:
            if made:
                undo(folder, made)
            raise
        figures = _figures(recipe, folder)
        former = read_result(folder) if (folder / "result.json").exists() else {}
        seconds = time.perf_counter() - began
        figures["seconds.total"] = seconds if num_done else former.get("seconds.total", seconds)
        finish(folder, figures, [], {"step": "run", "parents": [{"path": str(folder / name)} for name in steps]})
        write_report(folder)
    return read_result(folder)


@contextmanager
def named(name: str) -> Iterator[None]:
    """Put the name of a step before what is wrong with it."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"steps.{name}: {error}") from None


def resolve(recipe: Run) -> dict[str, Step]:
    """The steps with their folders, the recipe's seed and their references filled in.

    Raises:
        RecipeError: A reference or a figure names no step, or the steps wait for each other in a circle.
    """
    for target, source in recipe.figures.items():
        wanted = source.partition(".")[0]
        if wanted not in recipe.steps:
            raise RecipeError(f"figures.{target}: there is no step {wanted!r}{nearest(wanted, recipe.steps)}")
    steps = {}
    for name, step in recipe.steps.items():
        given = plain(step, given_only=True)
        if step.out:
            raise RecipeError(f"steps.{name}.out: a step of a recipe works in a folder below the run's; leave it out")
        for other in _needs(step):
            if other not in recipe.steps:
                raise RecipeError(f"steps.{name}: there is no step {other!r}{nearest(other, recipe.steps)}")
        values: dict[str, Any] = {
            "seed": recipe.seed,
            **_with_folders(given, recipe.out),
            "out": f"{recipe.out}/{name}",
        }
        values.pop("name", None)
        steps[name] = load(type(step), base=values, base_origin=f"steps.{name}").settings
    try:
        _graph(recipe).prepare()
    except CycleError as error:
        raise RecipeError(f"steps wait for each other in a circle: {' -> '.join(error.args[1])}") from None
    return steps


def check_folder(folder: Path) -> None:
    """Refuse a run folder that is another's, or that cannot be made.

    Raises:
        RecipeError: It is so.
    """
    recipe = folder / "recipe.yaml"
    if not recipe.exists():
        check_new(folder)
    elif "steps" not in read_yaml(recipe).data:
        raise RecipeError(f"out: {str(folder)!r} holds the run of a single step; name another folder")


def _with_folders(value: Any, out: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _with_folders(inner, out) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_with_folders(inner, out) for inner in value]
    if isinstance(value, str) and value.startswith(_REFERENCE):
        return f"{out}/{value.removeprefix(_REFERENCE)}"
    return value


def _needs(step: Step) -> set[str]:
    texts = _texts(plain(step))
    return {text.removeprefix(_REFERENCE).split("/")[0] for text in texts if text.startswith(_REFERENCE)}


def _texts(value: Any) -> Iterator[str]:
    """Every text among plain values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)


def _graph(recipe: Run) -> TopologicalSorter[str]:
    return TopologicalSorter({name: _needs(step) for name, step in recipe.steps.items()})


def _carry_out(recipe: Run, steps: Mapping[str, Step], display: Display) -> int:
    """Do the steps that are not done; returns their number."""
    jobs = recipe.jobs or num_cores()
    graph = _graph(recipe)
    num_done = 0
    if jobs == 1:  # in this thread, which is the one that hears signals
        for name in graph.static_order():
            if _is_to_do(name, recipe, steps[name], display):
                with named(name):
                    execute(steps[name], display)
                num_done += 1
        return num_done
    graph.prepare()
    stopped = []
    with listening() as request, ThreadPoolExecutor(jobs) as pool:
        waiting: dict[Future[None], str] = {}
        while graph.is_active() and (waiting or not request.asked):
            for name in () if request.asked else graph.get_ready():
                if _is_to_do(name, recipe, steps[name], display):
                    waiting[pool.submit(_in_process, name, steps[name], display)] = name
                    num_done += 1
                else:
                    graph.done(name)
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                name = waiting.pop(future)
                try:
                    future.result()
                    graph.done(name)
                except Interrupted as stop:
                    stopped.append(f"{name}: {stop}")
                    if not request.asked:  # the step alone was told
                        request.hear(stop.signal_number)
                        pass_on(stop.signal_number)
    if request.asked:
        raise Interrupted(", ".join(stopped) or "stopped", request.signal_number)
    return num_done


def _is_to_do(name: str, recipe: Run, step: Step, display: Display) -> bool:
    """Whether a step has to be done or continued; one whose settings or inputs changed is put aside first."""
    folder = Path(step.out)
    marker = folder.with_name(f".{name}.inputs")
    inputs = _inputs(step, Path(recipe.out), _needs(recipe.steps[name]))
    if (folder / "recipe.yaml").exists():
        if same_settings(step, folder) and marker.exists() and marker.read_text() == inputs:
            if (folder / "result.json").exists():
                display.say(f"{name}: already done")
                return False
        else:
            _put_aside(folder, display)
    write_text(marker, inputs)
    return True


def _inputs(step: Step, out: Path, needs: set[str]) -> str:
    """A hash of what a step builds on: the results of other steps, and the files that its settings name."""
    digest = hashlib.sha256()
    for name in sorted(needs):
        digest.update((out / name / "result.json").read_bytes())
    for text in _texts(plain(step)):
        path = Path(text)
        if text and len(text) < _LONGEST_PATH and path.is_file():
            digest.update(content_hash([path]).encode())
    return digest.hexdigest()


def _put_aside(folder: Path, display: Display) -> None:
    number = 1
    while (aside := folder.with_name(f"{folder.name}.former-{number}")).exists():
        number += 1
    folder.rename(aside)
    display.say(f"{folder} is done again, since its settings or inputs changed; the former one is {aside}")


def _own_recipe(folder: Path) -> Path:
    """The recipe of a step while it works in a process of its own."""
    return folder.with_name(f".{folder.name}.yaml")


def _in_process(name: str, step: Step, display: Display) -> None:
    folder = Path(step.out)
    folder.parent.mkdir(parents=True, exist_ok=True)
    recipe = _own_recipe(folder)
    write_text(recipe, dump(step))
    command = [sys.executable, "-m", "ptft", step.name, str(recipe)]
    with tempfile.TemporaryFile("w+") as errors:  # not a pipe: a full one would stop the process
        # In a process group of its own it hears a terminal's Ctrl-C once, from here.
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, process_group=0) as process,
            passing_on(process),
        ):
            for line in process.stdout or ():
                display.say(f"{name}: {line.rstrip()}")
            process.wait()
        errors.seek(0)
        complaint = errors.read().strip()
    recipe.unlink(missing_ok=True)
    if process.returncode == 2:
        raise UserError(f"steps.{name}: {complaint.replace('ptft: ', '')}")
    signal_number = -process.returncode if process.returncode < 0 else process.returncode - 128
    if signal_number in SIGNALS:
        sentence = complaint.removeprefix("ptft: ").partition("; the same command")[0]
        raise Interrupted(sentence if complaint.startswith("ptft: ") else "stopped", signal_number)
    if process.returncode:
        raise RuntimeError(f"step {name} ended with code {process.returncode}\n{complaint}")


def _figures(recipe: Run, out: Path) -> dict[str, float]:
    results = {name: read_result(out / name) for name in recipe.steps}
    figures: dict[str, float] = {}
    for target, source in (recipe.figures or {f"{name}.*": f"{name}.*" for name in recipe.steps}).items():
        step, _, key = source.partition(".")
        if key.endswith("*"):
            prefix = key.removesuffix("*")
            for name, value in results[step].items():
                if name.startswith(prefix) and name != "records":
                    figures[target.removesuffix("*") + name.removeprefix(prefix)] = value
        elif key in results[step]:
            figures[target] = results[step][key]
        else:
            raise RecipeError(f"figures.{target}: {step} has no figure {key!r}{nearest(key, results[step])}")
    return figures
