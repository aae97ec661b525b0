"""Checkpoints after so many words seen: stock models below ``milestones/``, for evaluations along a training."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, count, takewhile
from pathlib import Path
from typing import Any, Literal

from ptft.display import Display
from ptft.training.aside import discard, remove_leftovers, write_aside
from ptft.training.loop import StepReport
from ptft.training.totals import Totals

Mark = float | Literal["babylm"]
_FACTS = "milestone.json"
_M = 10**6


class Milestones:
    """The checkpoints of a run at marks of words seen, each after the first step that reaches its mark.

    Args:
        folder: The run's ``milestones``.
        marks: Numbers of words; babylm for that challenge's own.
        words_per_token: Whitespace words of the corpus for each of its own tokens.
        write: Writes model and tokenizer into a folder.
        display: Is told of each.
    """

    def __init__(
        self,
        folder: Path,
        marks: tuple[Mark, ...],
        words_per_token: float,
        write: Callable[[Path], None],
        display: Display,
    ) -> None:
        self._folder = folder
        self._marks = marks
        self._words_per_token = words_per_token
        self._write = write
        self._display = display
        remove_leftovers(folder)

    def lie_between(self, before: int, tokens: int) -> bool:
        """Whether a step that leads from ``before`` tokens to ``tokens`` reaches one."""
        return bool(marks_between(self._marks, before * self._words_per_token, tokens * self._words_per_token))

    def forget_after(self, step: int) -> None:
        """Remove those of later steps, which a run that goes on from here makes again."""
        for path in self._folder.glob("words-*"):
            if milestone(path).get("step", step) > step:
                discard(path)

    def reached(self, report: StepReport, totals: Totals) -> None:
        """Write what a step reached, which led to these totals.

        Raises:
            CheckpointError: The disk is full or the folder cannot be written.
        """
        words = totals.num_text_tokens * self._words_per_token
        before = (totals.num_text_tokens - report.num_text_tokens) * self._words_per_token
        for mark in marks_between(self._marks, before, words):
            target = self._folder / f"words-{short(mark)}"
            facts = {"words": mark, "step": report.step, "tokens_seen": totals.num_tokens, "words_seen": round(words)}
            write_aside(target, "milestone", partial(self._write_all, facts))
            self._display.say(f"{target}: after step {report.step}, {round(words):,} words seen")

    def _write_all(self, facts: dict[str, Any], folder: Path) -> None:
        self._write(folder)
        (folder / _FACTS).write_text(json.dumps(facts))


def written_milestones(folder: Path) -> list[dict[str, Any]]:
    """What lies below a run's ``milestones``, by rising words, for its manifest."""
    paths = [path.parent for path in folder.glob(f"words-*/{_FACTS}")]
    found = [{"path": f"{folder.name}/{path.name}", **milestone(path)} for path in paths]
    return sorted(found, key=lambda facts: float(facts["words"]))


def milestone(folder: Path) -> dict[str, Any]:
    """What a milestone says of itself; nothing if the folder is none."""
    path = folder / _FACTS
    facts: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return facts


def marks_between(marks: tuple[Mark, ...], low: float, high: float) -> list[float]:
    """The marks above ``low`` and up to ``high``, rising.

    Example:
        >>> marks_between(("babylm", 2.5e6), 0, 4e6)
        [1000000.0, 2000000.0, 2500000.0, 3000000.0, 4000000.0]
    """
    known = {float(m) for mark in marks for m in (_babylm(high) if mark == "babylm" else [mark])}
    return sorted(mark for mark in known if low < mark <= high)


def _babylm(high: float) -> Iterator[int]:
    """Each million up to ten, each ten million up to a hundred, then each hundred million.

    Paper: Charpentier et al. 2025 (BabyLM Turns 3), arXiv 2502.10645.
    """
    marks = chain(range(_M, 10 * _M, _M), range(10 * _M, 100 * _M, 10 * _M), count(100 * _M, 100 * _M))
    return takewhile(lambda mark: mark <= high, marks)


def short(words: float) -> str:
    """A number of words for a folder's name.

    Example:
        >>> [short(words) for words in (1e6, 1.5e9, 2500, 12)]
        ['1M', '1500M', '2.5k', '12']
    """
    size, letter = next((pair for pair in ((1e6, "M"), (1e3, "k")) if words >= pair[0]), (1.0, ""))
    return f"{words / size:.10g}{letter}"
