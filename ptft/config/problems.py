"""What pydantic finds wrong, said in one sentence a problem, with the key, the value and where it was given."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

from ptft.config.kinds import Choice, bare, branches, child, choice_of, literals, settings_kind, words
from ptft.config.source import KeyPath, Place
from ptft.family import nearest

_LONGEST_VALUE_SHOWN = 60

_BOUNDS: dict[str, tuple[str, str]] = {
    "greater_than": ("gt", "greater than {}"),
    "greater_than_equal": ("ge", "at least {}"),
    "less_than": ("lt", "less than {}"),
    "less_than_equal": ("le", "at most {}"),
    "multiple_of": ("multiple_of", "a multiple of {}"),
    "string_pattern_mismatch": ("pattern", "text that matches {}"),
}
_LENGTHS: dict[str, tuple[str, str, str]] = {
    "too_short": ("min_length", "at least", "item"),
    "too_long": ("max_length", "at most", "item"),
    "string_too_short": ("min_length", "at least", "character"),
    "string_too_long": ("max_length", "at most", "character"),
}


def dotted(path: KeyPath) -> str:
    """Write a key as it is typed on the command line."""
    return ".".join(str(part) for part in path)


def shown(value: object) -> str:
    """Write a value as a recipe does, cut where it is long."""
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST_VALUE_SHOWN else text[: _LONGEST_VALUE_SHOWN - 3] + "..."


def known_keys(annotation: Any, data: object) -> list[str]:
    """Return the keys that settings of this type have."""
    kind = settings_kind(annotation, data)
    return [*(["name"] if choice_of(annotation) else []), *(kind.model_fields if kind else [])]


class _Found(NamedTuple):
    """One pydantic error in the user's terms: its key, its type, and where a union was entered, if it was."""

    path: KeyPath
    annotation: Any
    value: Any
    union: KeyPath | None
    error: Mapping[str, Any]


class Reporter:
    """Says what is wrong with one set of values.

    Args:
        kind: The settings class the values are meant for.
        data: The values as the user gave them.
        places: Where each was given.
        file: The recipe, if there is one.
    """

    def __init__(self, kind: Any, data: dict[str, Any], places: Mapping[KeyPath, Place], file: Path | None) -> None:
        self.kind = kind
        self.data = data
        self.places = places
        self.file = file

    def sentences(self, errors: list[Any]) -> list[str]:
        """Return one sentence a problem; the errors of a union's branches are one problem."""
        groups: dict[tuple[str, KeyPath], list[_Found]] = {}
        for error in errors:
            if error["type"] == "default_factory_not_called":
                continue  # follows from another problem
            found = self._locate(error)
            at = ("union", found.union) if found.union is not None else ("key", found.path)
            groups.setdefault(at, []).append(found)
        sentences = []
        for (group, path), members in groups.items():
            chosen = self._deepest(path, members) if group == "union" else members
            sentences += [self._sentence(found) for found in chosen]
        return list(dict.fromkeys(sentences))

    def _locate(self, error: Mapping[str, Any]) -> _Found:
        """Follow pydantic's location through the types, dropping the labels of unions, tags and envelopes."""
        annotation, value, union = self.kind, self.data, None
        path: KeyPath = ()
        rest = list(error["loc"])
        while rest:
            if len(branches(annotation)) > 1:
                union = path if union is None else union
                rest.pop(0)
            if rest and choice_of(annotation):
                rest = rest[2:]  # the member's name and "settings"
            if not rest or rest[0] == "[key]":
                break
            key = rest.pop(0)
            below = child(annotation, key, value)
            if error["type"] == "missing" and isinstance(key, int) and not rest:
                break  # a list of fixed length that is too short: the problem is the list's
            path = (*path, key)
            annotation = below.annotation if below else Any
            value = _item(value, key)
            if below is None:
                break
        return _Found(path, annotation, value, union, error)

    def _deepest(self, path: KeyPath, members: list[_Found]) -> list[_Found]:
        """Choose among a union's branches: the one that got furthest; there, a bound rather than a wrong kind."""
        depth = max(len(found.path) for found in members)
        deepest = [found for found in members if len(found.path) == depth]
        said = [found for found in deepest if not _is_kind_error(found.error)]
        if depth > len(path):
            return said or deepest[:1]
        return said[:1] or deepest[:1]

    def _sentence(self, found: _Found) -> str:
        error = found.error
        if error["type"] == "missing" and found.value is None:
            return self._missing(found.path)
        is_name = error["type"].startswith("union_tag") and isinstance(found.value, Mapping)
        prefix, typed = self._prefix((*found.path, "name") if is_name else found.path)
        if error["type"] == "value_error":
            message = str(error["ctx"]["error"])
        elif error["type"] == "extra_forbidden":
            parent = self._at(found.path[:-1])
            message = f"unknown key{nearest(str(found.path[-1]), known_keys(*parent))}"
        else:
            message = _message(found)
        named = dotted(tuple(part for part in found.path if isinstance(part, str)))  # a list is given as one argument
        key = "" if typed.partition("=")[0].removesuffix(".name") == named and typed else dotted(found.path)
        return ": ".join(part for part in (prefix, key, message) if part)

    def _at(self, path: KeyPath) -> tuple[Any, Any]:
        annotation, value = self.kind, self.data
        for key in path:
            below = child(annotation, key, value)
            annotation, value = (below.annotation if below else Any), _item(value, key)
        return annotation, value

    def _prefix(self, path: KeyPath) -> tuple[str, str]:
        """Return where a key, or what it lies in, was given, and the argument if it was typed."""
        for length in range(len(path), 0, -1):
            place = self.places.get(path[:length])
            if place:
                return place.prefix, place.typed
        return (str(self.file) if self.file else ""), ""

    def _missing(self, path: KeyPath) -> str:
        prefix, _ = self._prefix(path)
        key, last = dotted(path), path[-1]
        under = f" under '{dotted(path[:-1])}'" if len(path) > 1 else ""
        if any(isinstance(part, int) for part in path):
            fix = f"add '{last}: ...' there"
        elif self.file:
            fix = f"add '{last}: ...'{under} or give {key}=... on the command line"
        else:
            fix = f"give {key}=..., or name a recipe that sets it"
        return ": ".join(part for part in (prefix, key, f"is required; {fix}") if part)


def _item(value: Any, key: str | int) -> Any:
    if isinstance(value, Mapping):
        return value.get(key)
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return value[key]
    return None


def _is_kind_error(error: Mapping[str, Any]) -> bool:
    kind = error["type"]
    return kind.endswith(("_type", "_parsing")) or kind in ("literal_error", "int_from_float", "union_tag_not_found")


def _message(found: _Found) -> str:
    """Say what a value must be and what it is."""
    kind, context, got = found.error["type"], found.error.get("ctx", {}), shown(found.value)
    choice = choice_of(found.annotation)
    if choice and (kind.startswith("union_tag") or (found.union is None and _is_kind_error(found.error))):
        return _unknown_member(choice, found.value)
    if kind in _BOUNDS:
        key, phrase = _BOUNDS[kind]
        return f"must be {phrase.format(_number(context[key]))}, got {got}"
    if kind in _LENGTHS and not _is_fixed(found.annotation):
        key, bound, noun = _LENGTHS[kind]
        return f"must have {bound} {context[key]} {noun}{'' if context[key] == 1 else 's'}, got {got}"
    if kind == "finite_number":
        return f"must be a finite number, got {got}"
    if _is_kind_error(found.error) or kind in ("missing", "too_long"):
        return f"must be {words(found.annotation)}, got {got}{_hint(found)}"
    reason = str(found.error["msg"]).replace("Input should", "must", 1)
    return f"{reason[:1].lower()}{reason[1:]}, got {got}"


def _unknown_member(choice: Choice, value: Any) -> str:
    name = value.get("name") if isinstance(value, Mapping) else value
    known = ", ".join(choice.family)
    if isinstance(name, str):
        return f"unknown {choice.family.noun} {name!r}{nearest(name, choice.family)}"
    if isinstance(value, Mapping) and name is None:
        return f"needs the name of the {choice.family.noun}: one of {known}; add 'name: ...'"
    return f"must be one of {known}, or a mapping with 'name' and its settings, got {shown(name)}"


def _hint(found: _Found) -> str:
    """Add what to do, where it can be known: the nearest allowed word, or quotes around what is meant as text."""
    if isinstance(found.value, str):
        match = difflib.get_close_matches(found.value, literals(found.annotation), n=1, cutoff=0.5)
        return f"; did you mean {match[0]!r}?" if match else ""
    is_text = any(bare(branch) in (str, Path) for branch in branches(found.annotation))
    return "; put it in quotes" if is_text and isinstance(found.value, int | float) else ""


def _is_fixed(annotation: Any) -> bool:
    kinds = [bare(branch) for branch in branches(annotation)]
    return any(get_origin(kind) is tuple and get_args(kind)[-1] is not ... for kind in kinds)


def _number(bound: Any) -> str:
    is_whole = isinstance(bound, float) and bound.is_integer() and abs(bound) < 1e15
    return str(int(bound)) if is_whole else str(bound)
