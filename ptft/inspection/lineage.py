"""The chain behind a result, as a tree: what a run was made from, and what that was made from."""

from pathlib import Path
from typing import Any

from ptft.config import Settings
from ptft.errors import CheckpointError
from ptft.report.folder import flat, read_object

_APART = ("step", "parents", "versions")


class Lineage(Settings):
    """Show what a run was made from, or whether it can be had again.

    With verify=true the last steps of a finished pretraining or fine-tuning are made again from its newest checkpoint,
    in a temporary folder, and compared with it: tensors bit by bit, the log and the figures but for times. Of an
    unfinished run those between its two newest checkpoints are, of a recipe's run each step that keeps checkpoints. The
    command ends with code 0 if all bits are equal, 3 if some differ, 2 if nothing can be verified. Other versions,
    another device or another number of processes or threads may be why bits differ; what is not as it was is said.
    """

    run: str
    """The run folder; the name alone does as well."""
    verify: bool = False
    """Whether to make its last steps again and compare bits."""


def lineage_tree(run: Path) -> list[str]:
    """Lay out the manifest of a run folder, or of each step below it, as lines of a tree.

    Raises:
        CheckpointError: There is no manifest, or it cannot be read.
    """
    files = [run / "manifest.json"] if (run / "manifest.json").is_file() else sorted(run.glob("*/manifest.json"))
    if not files:
        raise CheckpointError(
            f"{str(run)!r}: holds no manifest.json, which a step writes when it is finished; give the folder of a "
            "finished run, its out="
        )
    lines: list[str] = []
    for file in files:
        lines += _node(str(file.parent), read_object(file))
    return lines


def _node(path: str, manifest: dict[str, Any], above: tuple[str, ...] = ()) -> list[str]:
    step, versions, parents = manifest.get("step"), manifest.get("versions"), manifest.get("parents")
    nodes = [
        _node(str(parent["path"]), _manifest_of(parent, (*above, path)), (*above, path))
        for parent in (parents if isinstance(parents, list) else [])
        if isinstance(parent, dict) and "path" in parent
    ]
    facts = [fact for fact in flat({key: manifest[key] for key in manifest if key not in _APART}) if fact[1]]
    if isinstance(versions, dict):
        facts.append(("versions", ", ".join(f"{library} {number}" for library, number in versions.items())))
    if not manifest:
        facts.append(("manifest", "none: not made by ptft, or no longer there when this was made from it"))
    bar = "│ " if nodes else "  "
    lines = [f"{path}  ({step})" if step else path, *(f"{bar}{name}: {text}" for name, text in facts)]
    for number, node in enumerate(nodes, 1):
        first, rest = ("└─ ", "   ") if number == len(nodes) else ("├─ ", "│  ")
        lines += [first + node[0], *(rest + line for line in node[1:])]
    return lines


def _manifest_of(parent: dict[str, Any], above: tuple[str, ...]) -> dict[str, Any]:
    """The manifest that was kept of a parent, or else the one in its folder: a recipe's steps are only named."""
    kept = parent.get("manifest")
    if isinstance(kept, dict):
        return kept
    return {} if parent["path"] in above else read_object(Path(str(parent["path"])) / "manifest.json")
