"""What the terminal shows while a step works, and what is said when it cannot go on."""

import errno
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Self, TextIO

from ptft.peers import fails_first, has_peers
from ptft.report.tables import format_value
from ptft.training.aside import NO_ROOM

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_OF_SPEED = 600.0  # rich's 30 are less than two logged steps of a large model are apart


def complain(sentences: str) -> None:
    """Say what a user can mend, in the one process that speaks for all."""
    if not has_peers() or fails_first():
        for sentence in sentences.splitlines():
            print(f"ptft: {sentence}", file=sys.stderr)


def last_words(sentence: str) -> None:
    """Of a process that is ended from a thread, which leaves a display no time to put the terminal in order."""
    if sys.stdout.isatty():
        print("\x1b[?25h", end="", flush=True)  # the cursor
    complain(sentence)


def figures_text(figures: Mapping[str, float] | None) -> str:
    """Write the few figures that say how a training goes: loss, accuracies, speed.

    Example:
        >>> figures_text({"loss": 5.25, "lr": 1e-4, "tokens_per_second": 12345.6})
        'loss 5.250, 12,346 tokens/s'
    """
    figures = figures or {}
    names = [name for name in figures if name == "loss" or name.rpartition(".")[2] == "accuracy"][:3]
    parts = [f"{name} {format_value(figures[name])}" for name in names]
    if "tokens_per_second" in figures:
        parts.append(f"{figures['tokens_per_second']:,.0f} tokens/s")
    return ", ".join(parts)


@dataclass
class _Track:
    """One thing that is under way: how much of it was done, and when, as it was first heard of."""

    first_done: int
    began: float
    bar: "TaskID | None" = None


class RichDisplay:
    """Shows bars on a terminal; elsewhere, in a log file say, a line each 10 seconds at most.

    Several things may be under way, one inside another: what ends inside another leaves no bar and no line behind.

    Args:
        stream: Where to write.
        clock: Seconds, for tests.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console

        class Speaker(Console):
            def on_broken_pipe(self) -> None:
                """Rich would end the process; a training goes on without a reader."""

        self._console = Speaker(file=stream or sys.stdout, markup=False, highlight=False, emoji=False)
        self._is_live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._clock = clock
        self._spoke = clock()
        self._tracks: dict[str, _Track] = {}
        self._bars: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def say(self, sentence: str) -> None:
        """Print a sentence, above the bars if there are any."""
        try:
            self._console.print(sentence, soft_wrap=True)
        except OSError as error:  # a log file on a full disk or a reader that has gone ends no training
            if error.errno not in (*NO_ROOM, errno.EIO):
                raise

    def progress(self, what: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        """Move a bar, or write a line if it is time."""
        track = self._tracks.setdefault(what, _Track(done, self._clock()))
        is_finished = done >= total
        if is_finished:
            del self._tracks[what]
        is_last = is_finished and not self._tracks
        if self._is_live:
            self._draw(track, what, done, total, figures_text(figures), is_finished)
            if is_last:
                self._stop()
        elif is_last or self._clock() - self._spoke >= _SECONDS_BETWEEN_LINES:
            self.say(self._line(track, what, done, total, figures_text(figures)))
            self._spoke = self._clock()

    def _draw(self, track: _Track, what: str, done: int, total: int, figures: str, is_finished: bool) -> None:
        if self._bars is None:
            self._bars = self._new_bars()
            self._bars.start()
        if track.bar is None:
            track.bar = self._bars.add_task(what, total=total, completed=done, figures=figures)
        self._bars.update(track.bar, total=total, completed=done, figures=figures)
        if is_finished and self._tracks:
            self._bars.remove_task(track.bar)

    def _new_bars(self) -> "Progress":
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=self._console,
            speed_estimate_period=_SECONDS_OF_SPEED,
            refresh_per_second=2,
        )

    def _line(self, track: _Track, what: str, done: int, total: int, figures: str) -> str:
        parts = [f"{what} {done:,}/{total:,}", figures]
        seconds, made = self._clock() - track.began, done - track.first_done
        if made > 0 and done < total:
            parts.append(f"{timedelta(seconds=round(seconds / made * (total - done)))} left")
        return ", ".join(part for part in parts if part)

    def _stop(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
        self._tracks.clear()
