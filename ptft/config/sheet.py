"""Lays defaults, a caller's values, recipes and arguments over each other, and validates what comes out."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, get_origin

import pydantic

from ptft.config.kinds import (
    Settings,
    Slot,
    as_data,
    bare,
    child,
    choice_of,
    literals,
    member_of,
    parse,
    settings_kind,
    words,
)
from ptft.config.problems import Reporter, dotted, known_keys, shown
from ptft.config.source import KeyPath, Place
from ptft.errors import RecipeError
from ptft.family import nearest


class Sheet:
    """The values gathered so far, where each was given, and the problems found on the way."""

    def __init__(self, kind: type[Settings], file: Path | None) -> None:
        self.kind = kind
        self.file = file
        self.data: dict[str, Any] = {}
        self.places: dict[KeyPath, Place] = {}
        self.problems: list[str] = []

    def add(self, data: dict[str, Any], places: Mapping[KeyPath, Place], *, typed: bool = False) -> None:
        """Lay values over those gathered so far."""
        replaced = {path for path in places if not isinstance(_value_at(data, path), dict)}
        kept: dict[KeyPath, Place] = {}
        for path, place in self.places.items():
            if not any(path[:length] in replaced for length in range(len(path))):
                kept[path] = place
        self.places = {**kept, **places}
        self.data = self._merged(Slot(self.kind), self.data, data, (), typed=typed)
        self.places = {path: place for path, place in self.places.items() if _value_at(self.data, path) is not _ABSENT}

    def _merged(self, slot: Slot, lower: Any, upper: Any, path: KeyPath, *, typed: bool) -> Any:
        if get_origin(bare(slot.annotation)) is tuple and isinstance(upper, str | int | float | dict):
            upper = [upper]  # a lone item stands for a list of one
        choice = choice_of(slot.annotation)
        if choice and isinstance(upper, str) and upper not in literals(slot.annotation):
            upper = {"name": upper}
            if path in self.places:
                self.places[(*path, "name")] = self.places[path]
        if isinstance(upper, list):
            slots = [child(slot.annotation, index, upper) or Slot(Any) for index in range(len(upper))]
            return [
                self._merged(below, None, item, (*path, index), typed=typed)
                for index, (below, item) in enumerate(zip(slots, upper, strict=True))
            ]
        if not isinstance(upper, dict):
            return upper
        if not isinstance(lower, dict):
            # A mapping of free names replaces the default one; a dotted key on the command line adds to it.
            is_settings = choice is not None or settings_kind(slot.annotation, None) is not None
            lower = (slot.default or {}) if typed or is_settings else {}
        if choice and upper.get("name", lower.get("name")) != lower.get("name"):
            lower = {}
            self._forget_below(path, kept=upper)
        merged, both = dict(lower), {**lower, **upper}
        for key, value in upper.items():
            below = child(slot.annotation, key, both) or Slot(Any)
            merged[key] = self._merged(below, lower.get(key), value, (*path, key), typed=typed)
        return merged

    def _forget_below(self, path: KeyPath, kept: Mapping[str, Any]) -> None:
        length = len(path)
        self.places = {
            place: said
            for place, said in self.places.items()
            if place[:length] != path or len(place) == length or place[length] in kept
        }

    def add_base(self, base: Mapping[str, Any], origin: str | Mapping[str, str]) -> None:
        """Lay a caller's values over those gathered so far."""
        data: dict[str, Any] = {}
        for key, value in base.items():
            slot = child(self.kind, key, base) or Slot(Any)
            try:
                data[key] = as_data(value, slot.annotation)
            except RecipeError as error:
                self.problems.append(f"{key}: {error}")
        by_key = origin if isinstance(origin, Mapping) else {}
        usual = "recipe" if isinstance(origin, Mapping) else origin
        self.add(data, {path: Place(by_key.get(dotted(path), usual)) for path in _paths(data)})

    def add_overrides(self, overrides: Sequence[str]) -> None:
        """Lay arguments over those gathered so far, short keys first: ``optimizer=muon`` before ``optimizer.lr``."""
        seen: dict[str, str] = {}
        for item in sorted(overrides, key=lambda item: item.partition("=")[0].count(".")):
            key, sign, text = item.partition("=")
            if not sign or not all(key.split(".")):
                self.problems.append(f"command line: {item!r}: must be key=value, such as seed=1")
            elif key in seen or key.removesuffix(".name") in seen:
                first = seen.get(key) or seen[key.removesuffix(".name")]
                self.problems.append(f"command line: {item}: is given twice, first as {first}; keep one of them")
            else:
                seen[key] = item
                self._override(item, key.split("."), text)

    def _override(self, item: str, keys: list[str], text: str) -> None:
        annotation: Any = self.kind
        value: Any = self.data
        default: Any = None
        path: KeyPath = ()
        lists: dict[KeyPath, list[Any]] = {}
        for index, key in enumerate(keys):
            member = member_of(annotation)
            if member:  # a list of family members: a key is the name of one
                items = value if isinstance(value, list) else default or []
                names = [item.get("name") if isinstance(item, dict) else None for item in items]
                if key not in names:
                    self.problems.append(f"command line: {item}: {_absent(member, key, names, dotted(path))}")
                    return
                lists[path] = items
                path, annotation, value, default = (*path, names.index(key)), member, items[names.index(key)], None
                continue
            data = value if isinstance(value, dict) else default if isinstance(default, dict) else {}
            choice = choice_of(annotation)
            slot = child(annotation, key, data)
            if value is not None and not isinstance(value, dict):
                slot = None
            if choice and "name" in data and choice.member(data) is None and key != "name":
                return  # validation says that the name is unknown
            if slot is None:
                self.problems.append(f"command line: {item}: {_unknown(annotation, value, data, path, key)}")
                return
            is_free = settings_kind(annotation, data) is None and not choice
            if is_free and child(slot.annotation, "x", {}) is None and not _is_settings(slot.annotation):
                path, annotation = (*path, ".".join(keys[index:])), slot.annotation  # a name may hold dots: cased.txt
                break
            path, annotation, default = (*path, key), slot.annotation, slot.default
            value = data.get(key)
        layer = parse(annotation, text)
        for depth, part in reversed(list(enumerate(path))):
            if isinstance(part, int):
                items = list(lists[path[:depth]])
                items[part] = self._merged(Slot(Any), items[part], layer, path[: depth + 1], typed=True)
                layer = items
            else:
                layer = {part: layer}
        self.add(layer, {path: Place("command line", item)}, typed=True)

    def validated(self) -> Any:
        """Return the settings, or raise what is wrong, all of it."""
        reporter = Reporter(self.kind, self.data, self.places, self.file)
        try:
            settings = self.kind.model_validate_json(json.dumps(_enveloped(self.kind, self.data)))
        except pydantic.ValidationError as error:
            errors = error.errors(include_url=False)
            if errors[0]["type"] == "json_invalid":
                self._raise([f"{self._broken_text()}: holds characters that are not valid Unicode text"])
            self._raise(reporter.sentences(errors))
        if self.problems:
            self._raise([])
        return settings

    def _raise(self, more: list[str]) -> NoReturn:
        raise RecipeError("\n".join([*self.problems, *more])) from None

    def _broken_text(self) -> str:
        """Find the text that JSON refuses: half of a surrogate pair, from a YAML escape or an undecodable argument."""
        broken = [path for path, value in leaves(self.data) if re.search("[\ud800-\udfff]", f"{dotted(path)}{value}")]
        path = broken[0] if broken else ()
        return f"{self.origin(path)}: {ascii(dotted(path))[1:-1]}"

    def origin(self, path: KeyPath) -> str:
        """Return where a setting was given, or ``default``."""
        place = self.places.get(path)
        return place.origin if place else "default"


def leaves(data: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield each setting's path and value; a list of plain values is one setting."""
    if isinstance(data, dict) and (data or not path):
        for key, value in data.items():
            yield from leaves(value, (*path, key))
    elif isinstance(data, list) and any(isinstance(item, dict | list) for item in data):
        for index, item in enumerate(data):
            yield from leaves(item, (*path, index))
    else:
        yield path, data


_ABSENT = object()


def _value_at(data: Any, path: KeyPath) -> Any:
    for key in path:
        is_held = key in data if isinstance(data, dict) else isinstance(data, list) and key in range(len(data))
        if not is_held:
            return _ABSENT
        data = data[key]
    return data


def _paths(data: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _paths(value, (*path, key))


def _enveloped(annotation: Any, data: Any) -> Any:
    """Put each family member into the envelope that :class:`Choice` validates."""
    if isinstance(data, list):
        return [_enveloped(_below(annotation, index, data), item) for index, item in enumerate(data)]
    if not isinstance(data, dict):
        return data
    inner = {key: _enveloped(_below(annotation, key, data), item) for key, item in data.items()}
    if choice_of(annotation) and "name" in inner:
        return {"name": inner.pop("name"), "settings": inner}
    return inner


def _below(annotation: Any, key: str | int, data: object) -> Any:
    slot = child(annotation, key, data)
    return slot.annotation if slot else Any


def _is_settings(annotation: Any) -> bool:
    return choice_of(annotation) is not None or settings_kind(annotation, None) is not None


def _absent(member: Any, key: str, names: Sequence[str | None], path: str) -> str:
    """Say why a list of family members has none of this name."""
    choice = choice_of(member)
    if choice and key not in choice.family:
        return f"{path}: unknown {choice.family.noun} {key!r}{nearest(key, choice.family)}"
    given = ",".join(name for name in names if name)
    return f"{path} has no {key!r}; give {path}={given}{',' if given else ''}{key} too"


def _unknown(annotation: Any, value: object, data: dict[str, Any], path: KeyPath, key: str) -> str:
    """Say why a dotted key leads nowhere."""
    choice, parent = choice_of(annotation), dotted(path)
    is_given = value is not None and not isinstance(value, dict)
    if choice and not is_given and "name" not in data:
        return f"{parent} has no name yet; give {parent}=NAME too, one of {', '.join(choice.family)}"
    known = known_keys(annotation, data)
    if known and not is_given:
        return f"unknown key{nearest(key, known)}"
    what = shown(value) if is_given and known else words(bare(annotation))
    return f"{parent} is {what} and has no keys of its own; give {parent}=..."
