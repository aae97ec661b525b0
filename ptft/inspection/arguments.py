"""The arguments after a verb: names and ``key=value``, and what a named recipe is for."""

from collections.abc import Sequence
from pathlib import Path

from ptft.errors import RecipeError
from ptft.family import nearest
from ptft.inspection.members import members

GRAMMAR = "[RECIPE.yaml] [key=value ...]"


def settings_verbs() -> list[str]:
    """The verbs whose settings a recipe can hold: the steps and the actions."""
    return [name for package in ("steps", "actions") for name, _, _ in members(package)]


def read_arguments(verb: str, arguments: Sequence[str], most: int = 1) -> tuple[list[str], list[str]]:
    """Part the arguments of a verb into names and overrides.

    Args:
        verb: For messages.
        arguments: What follows the verb.
        most: How many names there may be.

    Raises:
        RecipeError: There are more names, or an option.
    """
    for argument in arguments:
        if argument.startswith("-"):
            example = f"write {argument.lstrip('-')}" if "=" in argument else "settings are key=value, such as seed=1"
            raise RecipeError(f"{verb}: {argument!r}: there are no options but --help; {example}")
    names = [argument for argument in arguments if "=" not in argument]
    if len(names) > most:
        before = " and ".join(map(repr, names[:most]))
        raise RecipeError(
            f"{verb}: {names[most]!r}: is one name too many after {before}; settings are key=value, without spaces"
        )
    return names, [argument for argument in arguments if "=" in argument]


def recipe_of(verb: str, arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Find the recipe of a verb, if one is named, and the overrides.

    Raises:
        RecipeError: There is no such recipe, or it is for another verb.
    """
    from ptft.inspection.recipes import find_recipe, read_verb

    names, overrides = read_arguments(verb, arguments)
    if not names:
        return None, overrides
    path = find_recipe(names[0])
    found = read_verb(path)
    if found not in ("", verb):
        what = "has several steps" if found == "run" else f"is a recipe for {verb_of(path)}"
        raise RecipeError(f"{path}: {what}, not for {verb}; do it with: ptft {found} {names[0]}")
    return path, overrides


def verb_of(path: Path) -> str:
    """Say which verb a recipe is for.

    Raises:
        RecipeError: It does not say, or names no verb.
    """
    from ptft.inspection.recipes import read_verb

    verb, known = read_verb(path), ["run", *settings_verbs()]
    if not verb:
        raise RecipeError(f"{path}: says neither verb: nor steps:; add a line such as 'verb: pretrain'")
    if verb not in known:
        raise RecipeError(f"{path}: verb: unknown verb {verb!r}{nearest(verb, known)}")
    return verb


def subject_of_check(arguments: Sequence[str]) -> tuple[str, Path | None, list[str]]:
    """Read ``VERB [RECIPE.yaml]`` or ``RECIPE.yaml``, and overrides, as verb, recipe and overrides.

    Raises:
        RecipeError: The arguments name neither a verb with settings nor a recipe.
    """
    from ptft.inspection.recipes import find_recipe, packaged_recipes

    names, overrides = read_arguments("check", arguments, most=2)
    kinds = settings_verbs()
    if names[:1] == ["run"]:
        names = names[1:]  # a recipe of several steps says so itself
    if not names:
        raise RecipeError(f"check: what to check is missing; name a recipe, or one of {', '.join(kinds)}")
    if names[0] in kinds:
        return names[0], recipe_of(names[0], names[1:])[0], overrides
    known = packaged_recipes()
    if len(names) > 1 or not (Path(names[0]).exists() or names[0] in known):
        hint = nearest(names[0], [*kinds, *known])
        raise RecipeError(f"check: {names[0]!r}: neither a recipe nor a verb with settings{hint}")
    path = find_recipe(names[0])
    return verb_of(path), path, overrides


def run_folder_of(verb: str, arguments: Sequence[str]) -> Path:
    """The one argument of a verb that looks at a run.

    Raises:
        RecipeError: There is none, or more.
    """
    names, overrides = read_arguments(verb, arguments)
    if overrides or not names:
        raise RecipeError(
            f"{verb}: got {' '.join(map(repr, arguments)) or 'nothing'}; give the folder of a run, such as runs/x"
        )
    return Path(names[0])
