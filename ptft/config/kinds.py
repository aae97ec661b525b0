"""Settings, choices from a family, and what a field's type means in words, on the command line and as plain data."""

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import pydantic
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from ptft.config.source import FLOAT, INTEGER
from ptft.errors import RecipeError
from ptft.family import Family

_TEXT_KINDS = (str, Path)
_WORDS: dict[Any, tuple[str, str]] = {
    str: ("text", "texts"),
    Path: ("a path", "paths"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false"),
    Any: ("a value", "values"),
}


class Settings(pydantic.BaseModel):
    """Frozen, strict settings that live beside the code that reads them; the docstring under a field is its help.

    A stored recipe gives every key, so a check for an ignored setting compares it with its default, not with
    ``model_fields_set``. No field is optional in the sense of None: name the choice instead.
    """

    model_config = pydantic.ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    def changed(self, *names: str) -> list[str]:
        """Those of some fields that are not as by default."""
        return [name for name in names if getattr(self, name) != type(self).model_fields[name].default]


class Choice:
    """Marks a field whose value is the settings of one member of a family.

    In a recipe it is a bare name, or a mapping with ``name`` and the member's settings; on the command line
    ``optimizer=muon optimizer.lr=0.02``. Naming another member drops what was given for the former one.

    Args:
        family: Subclasses of :class:`Settings`, each with a ``name``.

    Example:
        ``optimizer: Annotated[OptimizerSettings, Choice(OPTIMIZERS)] = AdamW()``
    """

    def __init__(self, family: Family[Any]) -> None:
        self.family = family

    def member(self, data: object) -> type[Settings] | None:
        """Return the class that plain data names, or None where it names none."""
        name = data.get("name") if isinstance(data, Mapping) else None
        if not isinstance(name, str) or name not in self.family:
            return None
        member: type[Settings] = self.family[name]
        return member

    def __get_pydantic_core_schema__(self, source: Any, handler: pydantic.GetCoreSchemaHandler) -> CoreSchema:
        """Build the tagged union of the members, each in an envelope of ``name`` and ``settings``.

        A validator function around a member would hand it Python objects, for which strict mode refuses lists as
        tuples and text as paths; the envelope keeps the whole way in JSON.
        """
        members: dict[str, CoreSchema] = {}
        for name, member in self.family.items():
            envelope = core_schema.typed_dict_schema(
                {
                    "name": core_schema.typed_dict_field(core_schema.literal_schema([name])),
                    "settings": core_schema.typed_dict_field(handler.generate_schema(member)),
                }
            )
            members[name] = core_schema.no_info_after_validator_function(lambda value: value["settings"], envelope)
        return core_schema.json_or_python_schema(
            json_schema=core_schema.tagged_union_schema(members, "name"),
            python_schema=core_schema.is_instance_schema(source),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: {"name": value.name, **plain(value)}
            ),
        )


class Slot(NamedTuple):
    """A place for a value: its type and, where the default is settings, a mapping or a list, that default as data."""

    annotation: Any
    default: dict[str, Any] | list[Any] | None = None


def annotation_of(field: FieldInfo) -> Any:
    """Return a field's type with the marks that pydantic keeps apart."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def bare(annotation: Any) -> Any:
    """Return a type without its marks."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def branches(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type itself as the only one."""
    kind = bare(annotation)
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (annotation,)


def choice_of(annotation: Any) -> Choice | None:
    """Return the family choice that a type, or one branch of a union, is marked with."""
    for branch in branches(annotation):
        marks = get_args(branch)[1:] if get_origin(branch) is Annotated else ()
        for mark in marks:
            if isinstance(mark, Choice):
                return mark
    return None


def member_of(annotation: Any) -> Any:
    """Return the type of an item where a type is a list of family members, or None."""
    item = child(annotation, 0, []) if get_origin(bare(annotation)) is tuple else None
    return item.annotation if item and choice_of(item.annotation) else None


def literals(annotation: Any) -> dict[str, Any]:
    """Return the literal values that a type allows, by how they are written."""
    kinds = [bare(branch) for branch in branches(annotation)]
    values = [value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]
    return {str(value).lower() if isinstance(value, bool) else str(value): value for value in values}


def settings_kind(annotation: Any, data: object) -> type[Settings] | None:
    """Return the settings class that data of this type is read by; for a choice, the member it names."""
    for branch in branches(annotation):
        choice = choice_of(branch)
        kind = choice.member(data) if choice else bare(branch)
        if isinstance(kind, type) and issubclass(kind, Settings):
            return kind
    return None


def child(annotation: Any, key: str | int, data: object) -> Slot | None:
    """Return what lies under a key of a mapping or list of this type, or None if nothing can."""
    kind = settings_kind(annotation, data)
    if kind is not None and key in kind.model_fields:
        return _slot(kind.model_fields[str(key)])
    if kind is not None or choice_of(annotation):
        return Slot(str) if key == "name" and choice_of(annotation) else None
    for branch in branches(annotation):
        inner = bare(branch)
        arguments = get_args(inner)
        if get_origin(inner) is dict and isinstance(key, str):
            return Slot(arguments[1])
        if get_origin(inner) in (tuple, list) and isinstance(key, int):
            fixed = get_origin(inner) is tuple and arguments[-1] is not ...
            return Slot(arguments[min(key, len(arguments) - 1)] if fixed else arguments[0])
    return None


def _slot(field: FieldInfo) -> Slot:
    annotation = annotation_of(field)
    if field.is_required() or (field.default_factory and field.default_factory_takes_validated_data):
        return Slot(annotation)
    default = as_data(field.get_default(call_default_factory=True), annotation, given_only=True)
    return Slot(annotation, default if isinstance(default, dict | list) else None)


def plain(settings: Settings, *, given_only: bool = False) -> dict[str, Any]:
    """Return settings as what YAML and JSON can hold: text, numbers, lists and mappings.

    Args:
        settings: Any settings; a choice from a family becomes a mapping with ``name`` first.
        given_only: Leave out what was not given when the settings were made.
    """
    fields = type(settings).model_fields
    return {
        key: as_data(getattr(settings, key), annotation_of(field), given_only=given_only)
        for key, field in fields.items()
        if not given_only or key in settings.model_fields_set
    }


def as_data(value: Any, annotation: Any, *, given_only: bool = False) -> Any:
    """Return a Python value of the given type as plain data; see :func:`plain`.

    Raises:
        RecipeError: The value is of a type that no recipe can hold.
    """
    if isinstance(value, Settings):
        name = {"name": getattr(value, "name", type(value).__name__)} if choice_of(annotation) else {}
        return {**name, **plain(value, given_only=given_only)}
    if isinstance(value, Mapping):
        slots = {key: child(annotation, key, value) or Slot(Any) for key in value}
        return {str(key): as_data(item, slots[key].annotation, given_only=given_only) for key, item in value.items()}
    if isinstance(value, list | tuple):
        inner = [(child(annotation, index, value) or Slot(Any)).annotation for index in range(len(value))]
        return [as_data(item, kind, given_only=given_only) for item, kind in zip(value, inner, strict=True)]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise RecipeError(f"a setting must be text, a number, a list or a mapping, got {value!r} of type {type(value)!r}")


def parse(annotation: Any, text: str) -> Any:
    """Read a value of the command line by its key's type; what does not fit stays text, for validation to refuse."""
    known = literals(annotation)
    if text in known:
        return known[text]
    kinds = [bare(branch) for branch in branches(annotation)]
    lists = [kind for kind in kinds if get_origin(kind) in (tuple, list)]
    if lists and (len(kinds) == 1 or "," in text or not text):
        items = text.split(",") if text else []
        return [parse((child(lists[0], index, []) or Slot(str)).annotation, item) for index, item in enumerate(items)]
    if bool in kinds and text in ("true", "false"):
        return text == "true"
    if int in kinds and INTEGER.fullmatch(text):
        return int(text)
    if float in kinds and (INTEGER.fullmatch(text) or FLOAT.fullmatch(text)):
        return float(text)
    if lists and not any(kind in _TEXT_KINDS for kind in kinds) and not choice_of(annotation):
        inner = (child(lists[0], 0, []) or Slot(str)).annotation
        item = parse(inner, text)
        takes_text = any(bare(branch) in _TEXT_KINDS for branch in branches(inner))
        return [item] if takes_text or not isinstance(item, str) or item in literals(inner) else text
    return text


def words(annotation: Any, *, plural: bool = False) -> str:
    """Say in plain words what a value of this type is, such as ``a whole number or a list of whole numbers``."""
    options = branches(annotation)
    if len(options) > 1:
        return " or ".join(words(option, plural=plural) for option in options)
    choice = choice_of(annotation)
    if choice:
        return f"{'any' if plural else 'one'} of {', '.join(choice.family)}"
    kind = bare(annotation)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        names = list(literals(kind))
        return f"{'any' if plural else 'one'} of {', '.join(names)}" if len(names) > 1 else repr(names[0])
    listed = "lists" if plural else "a list"
    if origin is tuple and arguments[-1] is not ...:
        return f"{listed} of {len(arguments)} {words(arguments[0], plural=True)}"
    if origin in (tuple, list):
        return f"{listed} of {words(arguments[0], plural=True)}"
    if origin is dict:
        return f"{'mappings' if plural else 'a mapping'} of names to {words(arguments[1], plural=True)}"
    if kind in _WORDS:
        return _WORDS[kind][plural]
    return "mappings of settings" if plural else "a mapping of settings"
