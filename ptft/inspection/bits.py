"""What differs between a run and its repetition: bits of tensors, lines of the log, figures, circumstances."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from ptft.report.folder import flat, read_object
from ptft.training.logbook import read_log
from ptft.training.meters import TIMES

_TIMES = frozenset({"seconds", *TIMES})
_CIRCUMSTANCES = ("versions", "commit", "processes", "device", "threads", "precision")
_MOST_SHOWN = 5


@dataclass
class Verdict:
    """What verifying one run came to.

    Attributes:
        title: The run folder and its step.
        reason: Why it could not be verified; nothing if it was.
        compared: What was made again and compared, in sentences.
        differences: What differs, in sentences.
        circumstances: What is not as it was when the run was made, in sentences.
    """

    title: str
    reason: str = ""
    compared: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    circumstances: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For people: a title, and sentences below it."""
        if self.reason:
            return [self.title, f"  not verified: {self.reason}"]
        found = [f"differs: {sentence}" for sentence in self.differences] or ["equal, bit for bit"]
        around = [f"not as in the run: {sentence}" for sentence in self.circumstances]
        return [self.title, *(f"  {sentence}" for sentence in (*self.compared, *found, *around))]

    def note(self, what: str, differences: Iterable[str]) -> None:
        """Add what was compared, and of its differences the first and how many more there are."""
        self.compared.append(f"compared: {what}")
        found = [sentence for sentence in differences if sentence]
        more = len(found) - _MOST_SHOWN
        self.differences += found[:_MOST_SHOWN] + ([f"... and {more} more"] if more > 0 else [])


@dataclass(frozen=True)
class Comparison:
    """A run beside its repetition.

    Attributes:
        run, again: Their folders.
        verdict: Takes what is found.
    """

    run: Path
    again: Path
    verdict: Verdict

    def models(self) -> None:
        """The tensors of ``model/`` and of every other model that was made again, such as milestones."""
        made = [path.relative_to(self.again) for path in self.again.rglob("*.safetensors")]
        kept = [path.relative_to(self.run) for path in self.run.glob("model/*.safetensors")]
        files = {file for file in (*made, *kept) if "checkpoints" not in file.parts}
        for folder in sorted({file.parent for file in files}):
            self._tensors(folder, sorted(file.name for file in files if file.parent == folder))

    def checkpoint(self, name: str) -> None:
        """The weights and the optimizer's state of a checkpoint."""
        self._tensors(Path("checkpoints", name), ["optimizer.safetensors", "weights.safetensors"])

    def log(self, training: str, begin: int, end: int) -> None:
        """The lines of a log for the steps behind ``begin`` until ``end``, all but times."""
        name = Path(training, "metrics.jsonl")
        former, now = (
            {line["step"]: line for line in read_log(folder / name) if begin < line["step"] <= end}
            for folder in (self.run, self.again)
        )
        found = []
        for step in sorted({*former, *now}):
            old, new = former.get(step, {}), now.get(step, {})
            keys = [key for key in {**old, **new} if key not in _TIMES]
            found += [_difference(f"{name}, step {step}: {key}", _text(old, key), _text(new, key)) for key in keys]
        self.verdict.note(f"{_count(len({*former, *now}), 'line')} of {name}, without times", found)

    def figures(self) -> None:
        """The figures of ``result.json``, all but times."""
        former, now = (dict(flat(read_object(folder / "result.json"))) for folder in (self.run, self.again))
        names = [name for name in {**former, **now} if name.rpartition(".")[2] not in _TIMES]
        found = [_difference(f"result.json: {n}", former.get(n, "none"), now.get(n, "none")) for n in names]
        self.verdict.note(f"{_count(len(names), 'value')} of result.json, without times", found)

    def circumstances(self) -> None:
        """What else differs between the manifests, and may explain other bits; what a run has not recorded is left out.

        Of what a run was made from only the manifests are compared: its weights are taken over from the checkpoint.
        """
        old, new = (read_object(folder / "manifest.json") for folder in (self.run, self.again))
        former, now = (dict(flat({key: side[key] for key in _CIRCUMSTANCES if key in side})) for side in (old, new))
        found = [
            f"{name}: was {text or 'none'}, is {now.get(name) or 'none'}"
            for name, text in former.items()
            if text != now.get(name)
        ]
        parents = zip(_parents(old), _parents(new), strict=False)
        found += [f"{was['path']}, which it was made from, has another manifest" for was, new in parents if was != new]
        self.verdict.circumstances += found

    def _tensors(self, folder: Path, files: list[str]) -> None:
        count, found = 0, []
        for file in files:
            sides = [_names(side / folder / file) for side in (self.run, self.again)]
            names = sorted({*sides[0], *sides[1]})
            count += len(names)
            if all(sides):
                found += [self._tensor(folder / file, name) for name in names]
            else:
                found.append(f"{folder / file}: {_missing(not sides[0])}")
        self.verdict.note(f"{_count(count, 'tensor')} of {folder}/", found)

    def _tensor(self, file: Path, name: str) -> str:
        """In which way two tensors differ, as a sentence; nothing if all their bits are equal."""
        former, now = _tensor(self.run / file, name), _tensor(self.again / file, name)
        if former is None or now is None:
            return f"{file}: {name}: {_missing(former is None)}"
        if (former.shape, former.dtype) != (now.shape, now.dtype):
            return _difference(f"{file}: {name}", *(f"{tensor.dtype} {[*tensor.shape]}" for tensor in (former, now)))
        if torch.equal(_bytes(former), _bytes(now)):
            return ""
        distances = (former.double() - now.double()).abs()
        unequal = int((_bytes(former) != _bytes(now)).any(1).sum())
        return (
            f"{file}: {name}: largest absolute difference {distances.max().item():.3g}; {unequal:,} of "
            f"{former.numel():,} values"
        )


def _parents(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    parents = manifest.get("parents")
    return [parent for parent in parents if isinstance(parent, dict)] if isinstance(parents, list) else []


def _difference(what: str, former: str, now: str) -> str:
    return "" if former == now else f"{what}: {former} in the run, {now} again"


def _text(line: Mapping[str, Any], key: str) -> str:
    return json.dumps(line[key]) if key in line else "none"


def _missing(in_run: bool) -> str:
    return f"is missing {'in the run' if in_run else 'among what was made again'}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _bytes(tensor: Tensor) -> Tensor:
    """The bytes of each value, shaped (values, bytes)."""
    return tensor.contiguous().reshape(-1, 1).view(torch.uint8)


def _names(file: Path) -> set[str]:
    if not file.is_file():
        return set()
    with safe_open(file, "pt") as content:
        return set(content.keys())


def _tensor(file: Path, name: str) -> Tensor | None:
    if name not in _names(file):
        return None
    with safe_open(file, "pt") as content:
        tensor: Tensor = content.get_tensor(name)
    return tensor
