"""Where each step lies in a training, from 0 at its begin to 1 at its end: by its number, or by the clock."""

import math
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import ClassVar, NamedTuple

import torch

from ptft.compute import Compute
from ptft.training.logbook import Logbook, read_log

_RECENT_STEPS = 20
_FIRST_SHARE = 1e-3  # how long a step takes is not known before one was made; the warm-up needs some share


class Stopwatch:
    """Seconds of training: interruptions and what happens while it is paused are left out.

    Args:
        seconds: Spent before.
        clock: Gives the time in seconds, for tests.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._zero = clock() - seconds

    @property
    def seconds(self) -> float:
        """Seconds of training until now."""
        return self._clock() - self._zero

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A context whose time does not count."""
        began = self._clock()
        try:
            yield
        finally:
            self._zero += self._clock() - began


class Position(NamedTuple):
    """Where one step lies.

    Attributes:
        begin: Share of the training that lies before it, in [0, 1).
        share: Share that it takes itself.
        is_last: Whether the training ends with it.
    """

    begin: float = 0.0
    share: float = 0.0
    is_last: bool = False


class Positions(ABC):
    """The positions of all steps of one training."""

    unit: ClassVar[str] = ""
    """What :meth:`done` counts, where it needs to be said."""
    now = Position()
    """That of the step that was asked for last."""

    @abstractmethod
    def at(self, step: int) -> Position:
        """The position of the update from ``step`` to ``step + 1``; all processes ask together and in order."""

    @abstractmethod
    def stop(self, start: int) -> int:
        """The number of updates at which a training that has made ``start`` ends, or more if that is not known."""

    @abstractmethod
    def done(self, step: int) -> tuple[int, int]:
        """How much was done after ``step`` updates, and of how much, for people."""

    @abstractmethod
    def words(self, step: int) -> str:
        """The same as words."""


class CountedPositions(Positions):
    """A training of so many steps: the position is a function of the step alone."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def at(self, step: int) -> Position:
        """All steps take the same share."""
        self.now = Position(step / self._steps, 1 / self._steps, step + 1 == self._steps)
        return self.now

    def stop(self, start: int) -> int:
        """The number of steps."""
        return self._steps

    def done(self, step: int) -> tuple[int, int]:
        """Steps."""
        return step, self._steps

    def words(self, step: int) -> str:
        """Steps."""
        return f"step {step} of {self._steps}"


class TimedPositions(Positions):
    """A training of so many seconds: the main process reads the clock, the others are told.

    Each position is written to ``positions.jsonl`` before its step is made and taken from there if the step is made
    again, so that a continued run makes the steps of the interrupted one. The step at whose end the least time is
    missing or too much, by the median of the steps before it, is the last one, and lies one step's share before 1:
    schedules reach their end. Where a step took so long that the time is up before any was the last, one more is made.

    Args:
        seconds: Length of the training.
        watch: Its clock.
        compute: The processes.
        path: ``positions.jsonl``, or None to keep nothing.
    """

    unit = ", seconds"

    def __init__(self, seconds: float, watch: Stopwatch, compute: Compute, path: Path | None) -> None:
        self._seconds = seconds
        self._watch = watch
        self._compute = compute
        lines = read_log(path) if path is not None and compute.is_main else []
        self._known = {line["step"]: Position(line["begin"], line["share"], line["is_last"]) for line in lines}
        self._book = Logbook(path, sys.maxsize) if path is not None and compute.is_main else None
        former = [position.share * seconds for step, position in self._known.items() if step > 1]
        self._durations = deque(former[-1:], _RECENT_STEPS)
        self._asked: float | None = None

    def at(self, step: int) -> Position:
        """As it was written, or else by the clock."""
        position = Position()
        if self._compute.is_main:
            elapsed = self._watch.seconds
            if self._asked is not None:
                self._durations.append(elapsed - self._asked)
            self._asked = elapsed
            position = self._known.get(step + 1) or self._measured(elapsed)
            if self._book is not None and step + 1 not in self._known:
                self._book.write({"step": step + 1, **position._asdict()})
        begin, share, is_last = self._compute.sum(torch.tensor([*position], dtype=torch.float64)).tolist()
        self.now = Position(begin, share, bool(is_last))
        return self.now

    def _measured(self, elapsed: float) -> Position:
        step_seconds = median(self._durations) if self._durations else 0.0
        share = min(1.0, step_seconds / self._seconds)
        is_known = len(self._durations) > 2  # the first step is often far slower than the others
        if elapsed + (1.5 * step_seconds if is_known else 0.0) >= self._seconds:
            begin = max(self.now.begin, 1 - (share or _FIRST_SHARE))
            return Position(begin, 1 - begin, True)
        return Position(max(self.now.begin, elapsed / self._seconds), share or _FIRST_SHARE, False)

    def stop(self, start: int) -> int:
        """Where it is only if the last step was made."""
        former = self._known.get(start)
        is_over = self._compute.any(former is not None and former.is_last)
        return start if is_over else sys.maxsize

    def done(self, step: int) -> tuple[int, int]:
        """Seconds."""
        total = math.ceil(self._seconds)
        return total if self.now.is_last else min(int(self._watch.seconds), total - 1), total

    def words(self, step: int) -> str:
        """Seconds."""
        done, total = self.done(step)
        return f"step {step}, {done} of {total} seconds"
