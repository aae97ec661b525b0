"""Every recipe that comes with ptft loads, says what it is for, and survives being written and read again."""

import re
from pathlib import Path

import pytest

from ptft.config import RECIPE_KEYS, describe, dump, load
from ptft.inspection.recipes import read_verb, recipe_folder
from ptft.recipe import Run, resolve
from ptft.steps import STEPS

RECIPES = sorted(recipe_folder().rglob("*.yaml"))
NAMES = [path.relative_to(recipe_folder()).as_posix() for path in RECIPES]
SEVERAL_STEPS = [name for name, path in zip(NAMES, RECIPES, strict=True) if read_verb(path) == "run"]
HEADINGS = ("goal", "data", "cost", "expect", "paper")
OF_PUBLISHED = "differs"  # what is not as published, after the others


@pytest.fixture(params=RECIPES, ids=NAMES)
def recipe(request):
    return request.param


def header(path: Path) -> dict[str, str]:
    """The comment lines on top by their heading; a line without one goes on with the line before."""
    entries: dict[str, str] = {}
    heading = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.removeprefix("#").strip()
        if match := re.match(r"([a-z]+): ", text):
            heading, text = match[1], text[match.end() :]
        entries[heading] = f"{entries.get(heading, '')} {text}".strip()
    return entries


def kind_of(path):
    verb = read_verb(path)
    return Run if verb == "run" else STEPS[verb]


def loaded(path):
    """The settings, with placeholders for what the recipe leaves to the command line."""
    kind = kind_of(path)
    required = [key for key, _, default, _ in describe(kind) if default == "required" and "." not in key]
    given = path.read_text(encoding="utf-8")
    missing = [key for key in required if not re.search(rf"^{key}:", given, re.MULTILINE)]
    return load(kind, path, [f"{key}=placeholder" for key in missing], ignore=RECIPE_KEYS).settings, missing


def test_there_are_recipes():
    assert "quickstart.yaml" in NAMES
    assert len(RECIPES) == len({*RECIPES}) > 3


def test_it_loads(recipe):
    settings, _ = loaded(recipe)
    assert isinstance(settings, kind_of(recipe))


def test_header_is_complete_and_in_order(recipe):
    entries = header(recipe)
    is_published = recipe.parent.name == "published"
    assert tuple(entries) == ((*HEADINGS, OF_PUBLISHED) if is_published else HEADINGS)
    assert all(len(text) > 10 for text in entries.values())


def test_what_it_leaves_to_the_command_line_is_in_its_header(recipe):
    _, missing = loaded(recipe)
    for key in missing:
        assert f"{key}=" in header(recipe)["data"]


def test_it_survives_being_written_and_read(recipe, tmp_path):
    settings, _ = loaded(recipe)
    (tmp_path / "stored.yaml").write_text(dump(settings), encoding="utf-8")
    assert load(type(settings), tmp_path / "stored.yaml").settings == settings


@pytest.mark.parametrize("name", SEVERAL_STEPS)
def test_steps_and_references_fit_together(name):
    settings, _ = loaded(recipe_folder() / name)
    for step_name, step in resolve(settings).items():
        assert step.out == f"{settings.out}/{step_name}"
        assert not re.search(r"\bstep:\w", dump(step).replace("_per_step:", ""))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SEVERAL_STEPS])
def test_it_repeats_no_default(name):
    """A recipe says what differs; what it repeats would go stale. (Steps beside each other may, to be compared.)"""
    path = recipe_folder() / name
    defaults = {key: default for key, _, default, _ in describe(kind_of(path))}
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(": ")
        if not line.startswith((" ", "#")) and key in defaults:
            assert value != defaults[key], key
