"""YAML in and out: strict plain values, the file and line of every key, and sentences for what cannot be read."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ptft.errors import RecipeError

INTEGER = re.compile(r"[-+]?(?:0|[1-9](?:_?[0-9]){0,300})")
# A point or an exponent is needed, so that 007 is no number. PyYAML's own pattern takes 1e-3 for text.
FLOAT = re.compile(r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|nan)", re.IGNORECASE)
_BOOLEAN = re.compile(r"true|false", re.IGNORECASE)
_NOTHING = re.compile(r"|~|null", re.IGNORECASE)

_DEEPEST = 50

KeyPath = tuple[str | int, ...]


class Place(NamedTuple):
    """Where a value was given: ``origin`` is a file and line or ``command line``, ``typed`` the argument as typed."""

    origin: str
    typed: str = ""

    @property
    def prefix(self) -> str:
        """The beginning of a sentence about this value."""
        return f"{self.origin}: {self.typed}" if self.typed else self.origin


class Source(NamedTuple):
    """What one file says: its values, the place of each key, and what is wrong with it, one sentence each."""

    data: dict[str, Any]
    places: dict[KeyPath, Place]
    problems: list[str]


class _Loader(yaml.SafeLoader):
    """The safe loader with YAML 1.2's idea of a number: 1e-3 is one; yes, 1:30, 010 and 2024-01-01 are text."""

    yaml_implicit_resolvers = {}


for _tag, _pattern, _first in (
    ("null", _NOTHING, ["~", "n", "N", ""]),
    ("bool", _BOOLEAN, list("tTfF")),
    ("int", INTEGER, list("-+0123456789")),
    ("float", re.compile(f"{FLOAT.pattern}|{_NOT_FINITE.pattern}", re.IGNORECASE), list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern.pattern})\Z", re.I), _first)

_SCALARS: dict[str, tuple[re.Pattern[str], Callable[[str], Any]]] = {
    "null": (_NOTHING, lambda text: None),
    "bool": (_BOOLEAN, lambda text: text.lower() == "true"),
    "int": (INTEGER, int),
    "float": (re.compile(f"{INTEGER.pattern}|{FLOAT.pattern}"), float),
    "str": (re.compile(r".*", re.DOTALL), str),
}


class _Reader:
    """Turns the nodes of one file into plain values and notes where each key stands."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.places: dict[KeyPath, Place] = {}
        self.problems: list[str] = []
        self.open_nodes: list[yaml.Node] = []

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node in self.open_nodes:
            self._refuse(node, path, "refers to itself; write the value out")
            return None
        if len(self.open_nodes) == _DEEPEST:
            self._refuse(node, path[:1], f"is nested more than {_DEEPEST} levels deep; write it flatter")
            return None
        self.open_nodes.append(node)
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            value: Any = self._mapping(node, path)
        elif isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            value = []
            for index, item in enumerate(node.value):
                self.places[(*path, index)] = self._place(item)
                value.append(self.value(item, (*path, index)))
        else:
            value = None
            self._refuse_tag(node, path)
        self.open_nodes.pop()
        return value

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, path, "a key must be plain text, got a list or a mapping")
                continue
            key = key_node.value
            if key == "<<" and key_node.style is None:
                self._refuse(key_node, path, "'<<' is not read; write the settings out, or use 'extends: other.yaml'")
            elif key in mapping:
                first = self.places[(*path, key)].origin.rpartition(":")[2]
                self._refuse(key_node, (*path, key), f"is given twice, first in line {first}; keep one of them")
            else:
                self.places[(*path, key)] = self._place(key_node)
                mapping[key] = self.value(value_node, (*path, key))
        return mapping

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        pattern, convert = _SCALARS.get(node.tag.rpartition(":")[2], (None, str))
        if _NOT_FINITE.fullmatch(node.value) and node.tag.endswith(":float"):
            return float(node.value.replace(".", ""))
        if pattern is None or not pattern.fullmatch(node.value) or not node.tag.startswith("tag:yaml.org,2002:"):
            self._refuse_tag(node, path)
            return None
        return convert(node.value)

    def _refuse_tag(self, node: yaml.Node, path: KeyPath) -> None:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        self._refuse(node, path, f"the tag {tag!r} is not read; write plain text, numbers, lists or mappings")

    def _refuse(self, node: yaml.Node, path: KeyPath, problem: str) -> None:
        key = "".join(f"{part}." for part in path)[:-1]
        self.problems.append(f"{self._place(node).origin}: {key}{': ' if key else ''}{problem}")

    def _place(self, node: yaml.Node) -> Place:
        return Place(f"{self.file}:{node.start_mark.line + 1}")


def _read_text(file: Path, asked_by: str) -> str:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise RecipeError(f"{asked_by}no recipe at {str(file)!r}; check the path") from None
    except OSError as error:
        raise RecipeError(f"{asked_by}cannot read the recipe {str(file)!r}: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RecipeError(f"{file}:{line}: is not UTF-8 text; save the file as UTF-8") from None


def read_yaml(file: Path, *, asked_by: str = "") -> Source:
    """Read a file of settings into plain values with the line of each key.

    Args:
        file: The recipe; its path appears in messages as it is given here.
        asked_by: Beginning of the sentence if the file cannot be read: who named it.

    Raises:
        RecipeError: The file is missing, is not UTF-8, is not YAML, or is no mapping of settings.
    """
    text = _read_text(file, asked_by)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RecipeError(f"{file}:{line}: holds the character {chr(error.character)!r}, which YAML forbids") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        line = mark.line + 1 if mark else 1
        raise RecipeError(f"{file}:{line}: is not YAML: {reason}; check indentation, colons and quotes") from None
    except RecursionError:
        raise RecipeError(f"{file}: is nested more than {_DEEPEST} levels deep; write it flatter") from None
    reader = _Reader(file)
    if node is None or (isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")):
        return Source({}, {}, [])
    if not isinstance(node, yaml.MappingNode):
        line = node.start_mark.line + 1
        got = "a list" if isinstance(node, yaml.SequenceNode) else repr(node.value)
        raise RecipeError(f"{file}:{line}: a recipe must be a mapping of settings such as 'seed: 1', got {got}")
    data = reader.value(node, ())
    return Source(data if isinstance(data, dict) else {}, reader.places, reader.problems)


def read_recipe(file: Path) -> list[Source]:
    """Read a recipe and the file that its ``extends`` names, the extended one first.

    Raises:
        RecipeError: One of the files cannot be read, or the extended one extends a third.
    """
    source = read_yaml(file)
    if "extends" not in source.data:
        return [source]
    name = source.data.pop("extends")
    place = source.places.pop(("extends",)).origin
    if not isinstance(name, str) or not name:
        raise RecipeError(f"{place}: extends: must be the path of one recipe, got {name!r}")
    below = read_yaml(file.parent / name, asked_by=f"{place}: extends: ")
    if "extends" in below.data:
        other = below.places[("extends",)].origin
        raise RecipeError(f"{other}: extends: {name!r} is extended by {str(file)!r} and may not extend another recipe")
    return [below, source]


class _Dumper(yaml.SafeDumper):
    """The safe dumper, which also quotes text that our loader would take for a number."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(rf"(?:{FLOAT.pattern})\Z", re.IGNORECASE), list("-+.0123456789")
)


def _represent_list(dumper: _Dumper, items: list[Any]) -> yaml.Node:
    short = not any(isinstance(item, list | dict) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=short)


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    # PyYAML writes U+0085 as it is and reads it back as a line feed.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "\x85" in text else None)


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(str, _represent_text)


def write_yaml(data: dict[str, Any]) -> str:
    """Write plain values as YAML that :func:`read_yaml` reads back to the same values."""
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=False)
    return str(text)
