"""A recipe of several steps: read as a whole, done in the order of their needs, side by side where cores allow."""

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ptft.compute import num_cores
from ptft.config import Choice, Settings, dump, load, plain
from ptft.display import Display, Silent
from ptft.errors import RecipeError, UserError
from ptft.family import nearest
from ptft.report.page import write_report
from ptft.run import execute, read_result
from ptft.steps import STEPS
from ptft.steps.folder import finish, same_settings, write_text
from ptft.steps.step import Step

_REFERENCE = "step:"


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
    recipe = load(Run, path, overrides).settings
    steps = resolve(recipe)
    for name, step in steps.items():
        if not _needs(recipe.steps[name]):  # what waits for another step's model can be checked only then
            step.check()
    begin = time.perf_counter()
    folder = Path(recipe.out)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "recipe.yaml", dump(recipe))
    _carry_out(recipe, steps, display)
    figures = _figures(recipe, folder)
    figures["seconds.total"] = time.perf_counter() - begin
    finish(folder, figures, [], {"step": "run", "parents": [{"path": str(folder / name)} for name in steps]})
    write_report(folder)
    return read_result(folder)


def resolve(recipe: Run) -> dict[str, Step]:
    """The steps with their folders, the recipe's seed and their references filled in.

    Raises:
        RecipeError: A reference names no step.
    """
    steps = {}
    for name, step in recipe.steps.items():
        given = plain(step, given_only=True)
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
    return steps


def _with_folders(value: Any, out: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _with_folders(inner, out) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_with_folders(inner, out) for inner in value]
    if isinstance(value, str) and value.startswith(_REFERENCE):
        return f"{out}/{value.removeprefix(_REFERENCE)}"
    return value


def _needs(step: Step) -> set[str]:
    def references(value: Any) -> Iterator[str]:
        if isinstance(value, Mapping):
            value = list(value.values())
        if isinstance(value, list | tuple):
            for inner in value:
                yield from references(inner)
        elif isinstance(value, str) and value.startswith(_REFERENCE):
            yield value.removeprefix(_REFERENCE).split("/")[0]

    return set(references(plain(step)))


def _carry_out(recipe: Run, steps: Mapping[str, Step], display: Display) -> None:
    sorter = TopologicalSorter({name: _needs(step) for name, step in recipe.steps.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        raise RecipeError(f"steps wait for each other in a circle: {' -> '.join(error.args[1])}") from None
    jobs = recipe.jobs or num_cores()
    with ThreadPoolExecutor(jobs) as pool:
        waiting: dict[Future[None], str] = {}
        while sorter.is_active():
            for name in sorter.get_ready():
                inputs = _inputs(Path(recipe.out), _needs(recipe.steps[name]))
                _put_aside_changed(steps[name], inputs, display)
                waiting[pool.submit(_one, name, steps[name], inputs, jobs, display)] = name
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
                sorter.done(waiting.pop(future))


def _inputs(out: Path, needs: set[str]) -> str:
    """A hash of the results that a step builds on."""
    digest = hashlib.sha256()
    for name in sorted(needs):
        digest.update((out / name / "result.json").read_bytes())
    return digest.hexdigest()


def _put_aside_changed(step: Step, inputs: str, display: Display) -> None:
    folder = Path(step.out)
    marker = folder / "inputs"
    if not (folder / "recipe.yaml").exists():
        return
    if same_settings(step, folder) and marker.exists() and marker.read_text() == inputs:
        return
    number = 1
    while (aside := folder.with_name(f"{folder.name}.former-{number}")).exists():
        number += 1
    folder.rename(aside)
    display.say(f"{folder} is done again, since its settings or inputs changed; the former one is {aside}")


def _one(name: str, step: Step, inputs: str, jobs: int, display: Display) -> None:
    folder = Path(step.out)
    if (folder / "result.json").exists():
        display.say(f"{name}: already done")
        return
    if jobs == 1:
        execute(step, display)
    else:
        _in_process(name, step, display)
    write_text(folder / "inputs", inputs)


def _in_process(name: str, step: Step, display: Display) -> None:
    folder = Path(step.out)
    folder.parent.mkdir(parents=True, exist_ok=True)
    recipe = folder.parent / f".{name}.yaml"
    write_text(recipe, dump(step))
    command = [sys.executable, "-m", "ptft", step.name, str(recipe)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            display.say(f"{name}: {line.rstrip()}")
        complaint = (process.stderr.read() if process.stderr else "").strip()
    recipe.unlink(missing_ok=True)
    if process.returncode == 2:
        raise UserError(f"steps.{name}: {complaint.removeprefix('ptft: ')}")
    if process.returncode:
        raise RuntimeError(f"step {name} ended with code {process.returncode}\n{complaint}")


def _figures(recipe: Run, out: Path) -> dict[str, float]:
    results = {name: read_result(out / name) for name in recipe.steps}
    figures: dict[str, float] = {}
    for target, source in (recipe.figures or {f"{name}.*": f"{name}.*" for name in recipe.steps}).items():
        step, _, key = source.partition(".")
        if step not in results:
            raise RecipeError(f"figures.{target}: there is no step {step!r}{nearest(step, results)}")
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
