"""The members of a family read off its files, so that naming them costs no import of torch."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1]

Row = tuple[str, str, Path]
"""Name, one line, file."""


def members(package: str) -> list[Row]:
    """Find the classes of one package whose body gives a literal ``name``, in order of their names.

    The result is that of :meth:`ptft.family.Family.rows` for a family of classes (a test compares them).

    Args:
        package: Name of a sub-package of ptft, such as ``steps``.
    """
    rows = []
    for path in sorted((PACKAGE / package).glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.ClassDef):
                continue
            texts = dict(_texts(node))
            if texts.get("name"):
                summary = texts.get("summary") or ast.get_docstring(node) or ""
                rows.append((texts["name"], summary.partition("\n")[0], path))
    return sorted(rows)


def near(path: Path) -> Path:
    """A path as one types it: relative if it lies below the working directory."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _texts(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Yield the attributes of a class body that are text literals."""
    for line in node.body:
        targets = (
            line.targets if isinstance(line, ast.Assign) else [line.target] if isinstance(line, ast.AnnAssign) else []
        )
        value = line.value if isinstance(line, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            for target in targets:
                if isinstance(target, ast.Name):
                    yield target.id, value.value
