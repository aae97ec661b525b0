"""A family is a folder of files, each of which adds one member; the folder is the registry."""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar, cast

from ptft.errors import RecipeError

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known names there are and, if one is near, which was probably meant.

    Example:
        >>> nearest("mml", ["causal_lm", "mlm"])
        "; did you mean 'mlm'? Known: causal_lm, mlm"
    """
    names = sorted(known)
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if not match:  # a short form with its letters in another order: mml for masked_lm
        mixed = {"".join(sorted(long)): long for long in names if len(long) > len(name)}
        match = [mixed[m] for m in difflib.get_close_matches("".join(sorted(name)), mixed, n=1, cutoff=0.5)]
    hint = f"; did you mean {match[0]!r}? Known: " if match else "; known: "
    return hint + ", ".join(names)


class Family(Mapping[str, T], Generic[T]):
    """The members of one package, by name: classes derived from ``kind``, or instances of it.

    A member carries a ``name``; its module is imported when the family is first looked at.

    Args:
        noun: What a member is called in messages, such as ``objective``.
        package: Dotted name of the package whose modules are searched.
        kind: The interface: its subclasses and its instances are members, itself is not.
    """

    def __init__(self, noun: str, package: str, kind: type) -> None:
        self.noun = noun
        self.package = package
        self.kind = kind

    @cached_property
    def _members(self) -> dict[str, tuple[T, Path]]:
        found: dict[str, tuple[T, Path]] = {}
        package = importlib.import_module(self.package)
        for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
            module = importlib.import_module(f"{self.package}.{info.name}")
            for member in vars(module).values():
                if not self._belongs(member, module.__name__):
                    continue
                path = Path(inspect.getfile(module))
                if member.name in found and found[member.name][0] is not member:  # one may import another's
                    raise RuntimeError(
                        f"two {self.noun} members are named {member.name!r}: {found[member.name][1]} and {path}"
                    )
                found.setdefault(member.name, (cast("T", member), path))
        return dict(sorted(found.items()))

    def _belongs(self, member: object, module: str) -> bool:
        if inspect.isclass(member):
            mine = issubclass(member, self.kind) and member is not self.kind and member.__module__ == module
            return mine and bool(getattr(member, "name", ""))  # a shared base class has no name
        return isinstance(member, self.kind)

    def __getitem__(self, name: str) -> T:
        """Return the member, or raise a :class:`RecipeError` that lists the family and the nearest name."""
        if name not in self._members:
            raise RecipeError(f"unknown {self.noun} {name!r}{nearest(name, self._members)}")
        return self._members[name][0]

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def rows(self) -> list[tuple[str, str, Path]]:
        """Name, first line of the description and file of each member, for ``ptft list``."""
        return [
            (name, (getattr(member, "summary", None) or inspect.getdoc(member) or "").partition("\n")[0], path)
            for name, (member, path) in self._members.items()
        ]
