"""Where recipes lie, how one is found by name, and which verb it is for."""

import re
import textwrap
from pathlib import Path

from ptft.config.source import read_recipe
from ptft.errors import RecipeError
from ptft.family import nearest
from ptft.inspection.members import PACKAGE, Row, near

_HEADING = re.compile(r"[a-z]+:")
_LONGEST_GOAL = 120


def recipe_folder() -> Path:
    """The folder of the recipes that come with ptft: inside an installed package, beside it in a checkout."""
    inside = PACKAGE / "recipes"
    return inside if inside.is_dir() else PACKAGE.parent / "recipes"


def packaged_recipes() -> dict[str, Path]:
    """The recipes that come with ptft by name: their path below the folder, without the ending."""
    folder = recipe_folder()
    files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.yaml")}
    return dict(sorted(files.items()))


def recipe_rows() -> list[Row]:
    """Name, goal and file of each recipe that comes with ptft."""
    return [(name, _goal(path), path) for name, path in packaged_recipes().items()]


def _goal(path: Path) -> str:
    """The ``# goal:`` of a recipe's header, lines that go on with it included, cut to one line."""
    goal: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if not line.startswith("#") or (goal and _HEADING.match(text)):
            break
        if goal or text.startswith("goal:"):
            goal.append(text.removeprefix("goal:"))
    return textwrap.shorten(" ".join(goal), _LONGEST_GOAL, placeholder=" ...")


def find_recipe(name: str) -> Path:
    """Find a recipe by its path, or by the name of one that comes with ptft.

    Raises:
        RecipeError: There is neither.
    """
    if Path(name).exists():
        return Path(name)
    known = packaged_recipes()
    if name not in known:
        what = "no recipe file, and no recipe of that name comes with ptft"
        raise RecipeError(f"{name!r}: {what}{nearest(name, known)}; a setting is given as key=value, without spaces")
    return near(known[name])


def read_verb(path: Path) -> str:
    """Say which verb a recipe is for: ``run`` for one with ``steps``, else its ``verb``, else nothing.

    Raises:
        RecipeError: The file cannot be read, or ``verb`` is no text.
    """
    verb = ""
    for source in read_recipe(path):
        if "steps" in source.data:
            return "run"
        verb = source.data.get("verb", verb)
        if not isinstance(verb, str) or (not verb and "verb" in source.data):
            place = source.places[("verb",)].origin
            raise RecipeError(f"{place}: verb: must name a step such as pretrain, got {verb!r}; write verb: pretrain")
    return verb
