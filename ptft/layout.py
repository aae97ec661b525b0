"""Text for a terminal: columns, paragraphs, and the settings of a class as a page of help."""

import inspect
import re
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ptft.config import Settings

_OF_MEMBER = re.compile(r"(?P<kind>.*) \(with (?P<member>[^()]+)\)")
_NARROWEST = 24


def page_width() -> int:
    """Characters of a line of the terminal, between 60 and 120; 80 where there is none."""
    return min(max(shutil.get_terminal_size((80, 24)).columns, 60), 120)


def unmarked(text: str) -> str:
    """Write the code marks of a docstring as plain quotes."""
    return text.replace("``", "'").replace("`", "'")


def paragraphs(text: str) -> str:
    """Wrap a docstring to the page, its paragraphs kept apart."""
    return "\n\n".join(_filled(unmarked(part), page_width()) for part in text.split("\n\n"))


def _filled(text: str, width: int) -> str:
    return textwrap.fill(text, width, break_on_hyphens=False)


def columns(rows: Sequence[Sequence[str]], *, width: int = 0, flexible: int = -1, widest: int = 28) -> str:
    """Lay rows out in aligned columns, two spaces in and two between.

    Args:
        rows: Cells; all rows of one length.
        width: Characters of a line; 0 puts every row on one line.
        flexible: The column that is wrapped to what the others leave of the width.
        widest: Other columns are wrapped to this.

    Example:
        >>> print(columns([("lr", "0.1", "Peak rate."), ("seed", "0", "Of draws.")]))
          lr    0.1  Peak rate.
          seed  0    Of draws.
    """
    widths = _widths(rows, width, flexible, widest)
    return "\n".join(_laid_out(row, widths, wrap=width > 0) for row in rows)


def _widths(rows: Sequence[Sequence[str]], width: int, flexible: int = -1, widest: int = 28) -> list[int]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    if width and widths:
        flexible %= len(widths)
        widths = [size if index == flexible else min(size, widest) for index, size in enumerate(widths)]
        room = width - sum(size + 2 for index, size in enumerate(widths) if index != flexible) - 2
        widths[flexible] = min(widths[flexible], max(room, _NARROWEST))
    return widths


def _laid_out(row: Sequence[str], widths: Sequence[int], *, wrap: bool) -> str:
    parts = [_filled(cell, size).splitlines() if wrap else [cell] for cell, size in zip(row, widths, strict=True)]
    lines = []
    for cells in zip_longest(*parts, fillvalue=""):
        text = "  ".join(cell.ljust(size) for cell, size in zip(cells, widths, strict=True))
        lines.append(f"  {text}".rstrip())
    return "\n".join(lines)


def verb_page(verb: str, grammar: str, kind: "type[Settings]", arguments: Sequence[str]) -> str:
    """Lay out the help of a verb with settings: what may follow it, the class's docstring, and its settings.

    Args:
        verb: As it is typed.
        grammar: What may follow it.
        kind: The settings class.
        arguments: ``optimizer=muon`` among them shows that member's settings, not the default's.
    """
    chosen = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    page, other = settings_page(kind, chosen)
    hint = f"Settings of another choice: ptft {verb} --help {other}" if other else ""
    about = paragraphs(inspect.getdoc(kind) or "")
    return "\n\n".join(part for part in (f"usage: ptft {verb} {grammar}", about, page, hint) if part)


def settings_page(kind: "type[Settings]", chosen: Mapping[str, str]) -> tuple[str, str]:
    """Lay out the settings of a class: key, default and type in columns, the help text beneath.

    Args:
        kind: The settings class.
        chosen: Names of family members by key, such as ``optimizer`` to ``muon``: their settings are shown in place
            of those of the default member.

    Returns:
        The page, and a choice whose settings it does not show, such as ``optimizer=sgd``; empty if there is none.
    """
    from ptft.config import describe  # brings pydantic, which the list of verbs can do without

    rows = describe(kind)
    chosen = {**{key: default for key, _, default, _ in rows}, **chosen}
    sections: dict[str, list[tuple[str, str, str, str]]] = {"": []}
    for key, words, default, text in rows:
        match = _OF_MEMBER.fullmatch(words)
        section, words = (match["member"], match["kind"]) if match else ("", words)
        sections.setdefault(section, []).append((key, default, words, unmarked(text)))
    hidden = [member for member in sections if member and not _is_chosen(member, chosen)]
    parts = [_section(sections.pop(""), with_titles=True)]
    parts += [f"with {member}:\n{_section(rows)}" for member, rows in sections.items() if member not in hidden]
    return "\n\n".join(parts), hidden[-1] if hidden else ""


def _is_chosen(member: str, chosen: Mapping[str, str]) -> bool:
    key, _, name = member.partition("=")
    return name in chosen.get(key, "").split(",")


def _section(rows: list[tuple[str, str, str, str]], *, with_titles: bool = False) -> str:
    titles = [("SETTING", "DEFAULT", "TYPE")] if with_titles else []
    heads = [*titles, *(row[:3] for row in rows)]
    widths = _widths(heads, page_width())
    lines = [_laid_out(head, widths, wrap=True) for head in heads]
    for index, (*_, text) in enumerate(rows, len(titles)):
        lines[index] += "\n" + textwrap.indent(_filled(text, page_width() - 6), "      ") if text else ""
    return "\n".join(lines)
