"""Settings from a recipe, the command line and a caller: read strictly, and every problem reported in one sentence."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic.fields import FieldInfo

from ptft.config.kinds import (
    Choice,
    Settings,
    annotation_of,
    as_data,
    branches,
    child,
    choice_of,
    member_of,
    plain,
    settings_kind,
    words,
)
from ptft.config.problems import dotted, shown
from ptft.config.sheet import Sheet, leaves
from ptft.config.source import KeyPath, read_recipe, write_yaml

__all__ = ["RECIPE_KEYS", "Choice", "Loaded", "Settings", "describe", "differences", "dump", "load", "plain"]

RECIPE_KEYS = ("verb",)
"""Keys of a recipe file that say what it is for and are no settings."""

S = TypeVar("S", bound=Settings)

_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """Settings and where each came from."""

    settings: S
    """The validated settings."""
    origin: dict[str, str]
    """For each dotted key ``default``, a file and line such as ``recipes/x.yaml:4``, or ``command line``."""


def load(
    kind: type[S],
    path: Path | None = None,
    overrides: Sequence[str] = (),
    *,
    base: Mapping[str, Any] | None = None,
    base_origin: str | Mapping[str, str] = "recipe",
    ignore: Collection[str] = (),
) -> Loaded[S]:
    """Read settings; what comes later wins: defaults, ``base``, the recipe it extends, the recipe, ``overrides``.

    Mappings are merged key by key, except that a mapping replaces a field's default mapping, and that naming another
    member of a family replaces all that was said about the former one. Everything else is replaced.

    Args:
        kind: The settings class.
        path: The recipe, a YAML file, which may extend one other: ``extends: other.yaml``.
        overrides: Arguments ``key=value``; a value is read by its key's type: text verbatim, lists by commas.
        base: Values of a caller, as Python or plain values.
        base_origin: Where those come from, for all or by dotted key.
        ignore: Top-level keys of the recipe that are not for ``kind``, such as ``verb``.

    Raises:
        RecipeError: Something is wrong; the message has one line for each problem.
    """
    sheet = Sheet(kind, path)
    if base:
        sheet.add_base(base, base_origin)
    for source in read_recipe(path) if path else []:
        sheet.problems += source.problems
        data = {key: value for key, value in source.data.items() if key not in ignore}
        sheet.add(data, {path: place for path, place in source.places.items() if path[0] not in ignore})
    sheet.add_overrides(overrides)
    settings = sheet.validated()
    origin = {dotted(leaf): sheet.origin(leaf) for leaf, _ in leaves(plain(settings))}
    return Loaded(settings, origin)


def dump(settings: Settings) -> str:
    """Write every setting, resolved, as YAML text that :func:`load` reads back to equal settings."""
    return write_yaml(plain(settings))


def differences(old: Settings, new: Settings) -> list[str]:
    """Say which settings differ, one sentence each, such as ``lr: 0.001 before, 0.01 now``."""
    before, now = ({path: value for path, value in leaves(plain(side)) if value != {}} for side in (old, new))
    keys = list(dict.fromkeys([*before, *now]))
    # Where another member of a family was named, its settings are others: saying the name is enough.
    families = {*_families(type(old), plain(old), ()), *_families(type(new), plain(new), ())}
    renamed = [path for path in families if before.get((*path, "name")) != now.get((*path, "name"))]
    sentences = []
    for key in keys:
        if any(key[: len(family)] == family and key[len(family) :] != ("name",) for family in renamed):
            continue
        was, is_now = (shown(side[key]) if key in side else "not set" for side in (before, now))
        if was != is_now:
            sentences.append(f"{dotted(key)}: {was} before, {is_now} now")
    return sentences


def _families(annotation: Any, data: Any, path: KeyPath) -> Iterator[KeyPath]:
    """Yield where members of families stand."""
    if isinstance(data, Mapping) and choice_of(annotation):
        yield path
    items = data.items() if isinstance(data, Mapping) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        slot = child(annotation, key, data)
        if slot:
            yield from _families(slot.annotation, value, (*path, key))


def describe(kind: type[Settings]) -> list[tuple[str, str, str, str]]:
    """Return dotted key, type in plain words, default (or ``required``) and help text of every setting.

    The settings of a family's members follow their field; their type says which member they belong to.
    """
    return list(_describe(kind, (), "", {}))


def _describe(
    kind: type[Settings], path: KeyPath, member: str, defaults: Mapping[str, Any]
) -> Iterator[tuple[str, str, str, str]]:
    """Describe one class; ``defaults`` are values of the instance that is the default of the field it stands in."""
    for name, field in kind.model_fields.items():
        annotation, key = annotation_of(field), (*path, name)
        choice, nested = choice_of(annotation), settings_kind(annotation, None)
        default = defaults.get(name, _default(annotation, field))
        inner = default if isinstance(default, Mapping) else {}
        if nested is None or len(branches(annotation)) > 1:
            of_member = f" (with {member})" if member else ""
            text = " ".join((field.description or "").split())
            yield dotted(key), _type_words(annotation, field) + of_member, _default_words(default), text
        if nested is not None:
            yield from _describe(nested, key, member, inner)
        for other, settings in choice.family.items() if choice else []:
            yield from _describe(settings, key, f"{dotted(key)}={other}", inner if inner.get("name") == other else {})
        listed = choice_of(member_of(annotation))
        for other, settings in listed.family.items() if listed else []:
            yield from _describe(settings, (*key, other), f"{dotted(key)}={other}", {})


def _type_words(annotation: Any, field: FieldInfo) -> str:
    marks = [(name, sign, mark) for mark in field.metadata for name, sign in _SIGNS.items() if hasattr(mark, name)]
    bounds = [f" {sign} {getattr(mark, name)}" for name, sign, mark in marks]
    return words(annotation).removeprefix("a ") + " and".join(bounds)


class _Word(str):
    """A default that is no value: ``required`` or ``derived``."""


def _default(annotation: Any, field: FieldInfo) -> Any:
    if field.is_required():
        return _Word("required")
    if field.default_factory and field.default_factory_takes_validated_data:
        return _Word("derived")
    return as_data(field.get_default(call_default_factory=True), annotation)


def _default_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value["name"]) if "name" in value else json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return ",".join(_default_words(item) if isinstance(item, Mapping) else str(item) for item in value) or "[]"
    return (str(value) or "''") if isinstance(value, str) else shown(value)
